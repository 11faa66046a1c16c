//! The embedded default under fire: one process, its data directory, and a proxy between it and its devices.

use std::path::PathBuf;
use std::process::Command;

use crate::engine::Engine;
use crate::proxy::Proxy;
use crate::rig::binary;
use crate::support::{Local, SmallDisk, Telemill};

/// See the module.
pub struct Nest {
    pub local: Local,
    /// On the way of the devices.
    pub proxy: Proxy,
    pub engine: Engine,
    binary: PathBuf,
    disk: Option<SmallDisk>,
}

impl Nest {
    /// The quick start without its fleet, with rules that depend on nothing but the records, and a session that knows a
    /// message by the device's own id. With its data on a disk, if one is given. Its engine is started.
    pub fn new(name: &str, disk: Option<SmallDisk>) -> Nest {
        let mut local = Local::without_fleet(name);
        local.edit("          for: 2s\n", "");
        local.edit("offline_after: 60s", "offline_after: 60s\n      identity: payload.mid");
        local.edit("  to_store:\n    kafka_source:", "  #");
        local.edit("inputs: [to_store]", "inputs: [sessions]");
        if disk.is_some() {
            local.keep_free("8MiB");
        }
        let proxy = Proxy::start(None);
        proxy.leads_to(&format!("127.0.0.1:{}", local.on_one_port()));
        let mut nest = Nest { local, proxy, engine: Engine::default(), binary: binary(), disk };
        nest.start(&[]);
        nest.engine.until_ready();
        nest
    }

    /// Starts the engine, with these orders from its first moment.
    pub fn start(&mut self, orders: &[String]) {
        let (command, data) = match &self.disk {
            Some(disk) => (disk.command(), disk.path().join("data")),
            None => (Command::new("env"), self.local.data()),
        };
        let mut variables = self.local.variables(&data).to_vec();
        variables.push(("TELEMILL_FAULTS", orders.join("\n")));
        self.engine.takes(Telemill::spawn(command, &self.binary, &self.local.file(), "quickstart", &variables));
    }

    pub fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("it was given")
    }

    /// Drains the engine. Then its data are where they can be read, also those that were on a disk of their own.
    pub fn drain(&mut self) {
        self.engine.drain();
        if let Some(disk) = &self.disk {
            let copied =
                disk.command().args(["cp", "-r"]).arg(disk.path().join("data")).arg(self.local.data()).status();
            assert!(copied.is_ok_and(|status| status.success()), "the data can be copied");
        }
    }
}
