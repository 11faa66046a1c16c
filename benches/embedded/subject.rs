//! A process whose cost is measured: Mosquitto, or telemill with one of its topologies.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use telemill_services::Mosquitto;

use crate::cpu;
use crate::fleet::device;
use crate::scratch::{Bytes, Scratch};
use crate::topology;

const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const STORED_WITHIN: Duration = Duration::from_secs(180);
/// A process is at rest when it has used no more than `REST` of CPU time in `QUIET`.
const QUIET: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_millis(30);
const QUIET_WITHIN: Duration = Duration::from_secs(20);
/// Lines of a log that are shown when something goes wrong.
const SHOWN: usize = 20;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mosquitto with `config/mosquitto.conf`.
    Mosquitto,
    /// Endpoint, router and log; sessions, store and alerts off.
    Log,
    /// The quick start: sessions, store and alerts on.
    Full,
}

impl Kind {
    /// In the order of their turns.
    pub const ALL: [Kind; 3] = [Kind::Mosquitto, Kind::Log, Kind::Full];

    /// The name in the tables.
    pub fn title(self) -> &'static str {
        match self {
            Kind::Mosquitto => "Mosquitto, no subscriber",
            Kind::Log => "endpoint → log",
            Kind::Full => "endpoint → log → sessions, alerts, store",
        }
    }

    /// What it may cost, as a part of what Mosquitto does.
    pub fn target(self) -> Option<(f64, &'static str)> {
        match self {
            Kind::Mosquitto => None,
            Kind::Log => Some((1.0 / 3.0, "≤ 1/3")),
            Kind::Full => Some((2.0 / 3.0, "≤ 2/3")),
        }
    }
}

/// A running process. It is killed with its value, and with this process.
pub struct Subject {
    process: Process,
    mqtt: String,
}

enum Process {
    Mosquitto(Mosquitto),
    Telemill(Telemill),
}

/// `telemill run`. Its files go when nothing writes them any more: fields drop in order, behind the value's own end.
struct Telemill {
    child: Child,
    said: Said,
    api: String,
    scratch: Scratch,
}

/// The last lines that a process printed.
type Said = Arc<Mutex<VecDeque<String>>>;

impl Subject {
    /// Starts one with an empty data directory and waits until devices can connect.
    pub fn start(kind: Kind) -> anyhow::Result<Subject> {
        if kind == Kind::Mosquitto {
            let mosquitto = Mosquitto::start();
            let mqtt = mosquitto.address();
            return Ok(Subject { process: Process::Mosquitto(mosquitto), mqtt });
        }
        let scratch = Scratch::new()?;
        let topology = topology::write(&scratch, kind == Kind::Log)?;
        // With the thread that starts it, which is the one that ends last.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(env!("CARGO_BIN_EXE_telemill"));
        command.arg("run").arg(topology).args(["--listen", "127.0.0.1:0"]);
        command.env("TELEMILL_DATA", scratch.path().join("data")).env("MQTT_LISTEN", "127.0.0.1:0");
        command.env_remove("TELEMILL_LISTEN").env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("setpriv cannot be started")?;
        let (said, lines) = listen(&mut child);
        let mut telemill = Telemill { child, said, api: String::new(), scratch };
        let (mut api, mut mqtt, mut runs) = (None, None, false);
        let since = Instant::now();
        while !(runs && api.is_some() && mqtt.is_some()) {
            let Ok(line) = lines.recv_timeout(START_WITHIN.saturating_sub(since.elapsed())) else {
                bail!("telemill was not ready within {START_WITHIN:?}; the last that it said:\n{}", telemill.said());
            };
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            let address = || entry["address"].as_str().map(str::to_owned);
            match entry["code"].as_str() {
                Some("listening") => api = address(),
                Some("mqtt_endpoint::listening") => mqtt = address(),
                Some("running") => runs = true,
                _ => {}
            }
        }
        telemill.api = format!("http://{}", api.unwrap_or_default());
        Ok(Subject { process: Process::Telemill(telemill), mqtt: mqtt.unwrap_or_default() })
    }

    /// Where devices connect, as `host:port`.
    pub fn mqtt(&self) -> &str {
        &self.mqtt
    }

    /// Where the API is. None with Mosquitto.
    pub fn api(&self) -> &str {
        match &self.process {
            Process::Mosquitto(_) => "",
            Process::Telemill(telemill) => &telemill.api,
        }
    }

    fn pid(&self) -> u32 {
        match &self.process {
            Process::Mosquitto(mosquitto) => mosquitto.pid(),
            Process::Telemill(telemill) => telemill.child.id(),
        }
    }

    /// CPU time so far.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::of(self.pid())
    }

    /// Its resident memory, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).context("the process is gone")?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next());
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).context("no memory in /proc/PID/status")?;
        Ok(kib << 10)
    }

    /// What its data directory takes. Of Mosquitto nothing is said: it keeps nothing that has no subscriber.
    pub fn disk(&self) -> anyhow::Result<Bytes> {
        match &self.process {
            Process::Mosquitto(_) => Ok(Bytes::default()),
            Process::Telemill(telemill) => Bytes::of(&telemill.scratch.path().join("data")),
        }
    }

    /// Waits until what a record leaves behind it (commits, checkpoints, tables) is done, too.
    pub fn settle(&self) -> anyhow::Result<()> {
        let since = Instant::now();
        let mut before = self.cpu()?;
        loop {
            std::thread::sleep(QUIET);
            let now = self.cpu()?;
            if now - before <= REST || since.elapsed() > QUIET_WITHIN {
                return Ok(());
            }
            before = now;
        }
    }

    /// Waits until the store has the last record of every device, by its number. Records of a device come in order.
    pub fn stored(&mut self, last: &[usize]) -> anyhow::Result<()> {
        let since = Instant::now();
        for (number, last) in last.iter().enumerate() {
            let url = format!("{}/api/v1/devices/{}?limit=1", self.api(), device(number));
            // A device that the store does not know yet is a 404.
            let newest = || ureq::get(&url).call().ok()?.body_mut().read_json::<Value>().ok();
            while newest().and_then(|shown| shown["state"]["payload"]["sequence"].as_u64()) != Some(*last as u64) {
                self.lives()?;
                ensure!(since.elapsed() < STORED_WITHIN, "record {last} is not in the store after {STORED_WITHIN:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn lives(&mut self) -> anyhow::Result<()> {
        let Process::Telemill(telemill) = &mut self.process else { return Ok(()) };
        match telemill.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("telemill ended with {status}; the last that it said:\n{}", telemill.said()),
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(self) -> anyhow::Result<()> {
        let mut telemill = match self.process {
            Process::Telemill(telemill) => telemill,
            Process::Mosquitto(mosquitto) => {
                mosquitto.terminate();
                return Ok(());
            }
        };
        kill_process(Pid::from_child(&telemill.child), Signal::TERM)?;
        let since = Instant::now();
        while since.elapsed() < STOP_WITHIN {
            if let Some(status) = telemill.child.try_wait()? {
                ensure!(status.success(), "telemill ended with {status}; the last it said:\n{}", telemill.said());
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("telemill did not end within {STOP_WITHIN:?}")
    }
}

impl Telemill {
    fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Telemill {
    fn drop(&mut self) {
        // Fails only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a child prints, to the end in any case: it must not wait for room in its pipe.
fn listen(child: &mut Child) -> (Said, Receiver<String>) {
    let (lines, heard) = channel();
    let said = Said::default();
    let outputs: [Option<Box<dyn Read + Send>>; 2] =
        [child.stdout.take().map(|out| Box::new(out) as _), child.stderr.take().map(|err| Box::new(err) as _)];
    for output in outputs.into_iter().flatten() {
        let (lines, said) = (lines.clone(), said.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_back(line.clone());
                if said.len() > SHOWN {
                    said.pop_front();
                }
                let _ = lines.send(line);
            }
        });
    }
    (said, heard)
}
