//! The embedded default as it is shipped (`topologies/quickstart.yaml`), in a directory of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::Rng;
use serde_json::Value;
use telemill_actors::embedded::disk::{Disk, DiskError, KeyRange, Read, Space};
use telemill_services::unique_name;

use super::local_record::page;
use super::{LocalRecord, SmallDisk, Telemill, Terminal};

/// The quick start's file, changed as the test needs it, and its data. Both go with it, and stay after a failed test.
pub struct Local {
    /// Where file and data are, and whatever else the test needs.
    pub dir: PathBuf,
    /// Where devices connect; a free port each time where it is port 0.
    pub listen: String,
    text: String,
}

impl Local {
    /// As shipped: with its fleet.
    pub fn new(test: &str) -> Local {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/quickstart.yaml");
        let text = fs::read_to_string(shipped).expect("the shipped topology is there");
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name(test));
        fs::create_dir_all(&dir).expect("the build directory can be written");
        Local { dir, listen: "127.0.0.1:0".to_owned(), text }
    }

    /// Nobody publishes but the test.
    pub fn without_fleet(test: &str) -> Local {
        let mut local = Local::new(test);
        local.edit("simulate:", "# simulate:");
        local
    }

    /// Changes the file; what is to be changed must be there.
    pub fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "the shipped topology has no `{from}` any more");
        self.text = self.text.replace(from, to);
    }

    /// What is to be left free on the disk.
    pub fn keep_free(&mut self, size: &str) {
        self.edit("mqtt_listen: ", &format!("min_free: {size}, mqtt_listen: "));
    }

    /// Has devices connect to a port that stays the same over restarts; the port.
    pub fn on_one_port(&mut self) -> u16 {
        // Below the ports of outgoing connections, one of which could have it while nobody listens, and below those of
        // the services.
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let mut ports = std::iter::repeat_with(|| rand::rng().random_range(10_000..20_000));
        let port = ports.find(free).expect("a port is free");
        self.listen = format!("127.0.0.1:{port}");
        port
    }

    /// The data directory, unless the test names another.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts Telemill on it, and waits until its API listens.
    pub fn start(&self) -> Telemill {
        Telemill::start_file(&self.file(), "quickstart", &self.variables(&self.data()))
    }

    /// As [`Local::run`], with the data on a small disk.
    pub fn run_on(&self, disk: &SmallDisk) -> Telemill {
        let variables = self.variables(&disk.path().join("data"));
        let mut telemill = Telemill::start_by(disk.command(), &self.file(), "quickstart", &variables);
        telemill.until_ready();
        telemill
    }

    /// Starts Telemill on it, and waits until everything runs.
    pub fn run(&self) -> Telemill {
        let mut telemill = self.start();
        telemill.until_ready();
        telemill
    }

    /// Starts Telemill on a terminal. `command` becomes what its arguments say, `data` is the data directory.
    pub fn on_a_terminal(&self, command: Command, data: &Path) -> Terminal {
        Terminal::start_by(command, &self.file(), &self.variables(data))
    }

    /// Writes the topology file; its path.
    pub fn file(&self) -> PathBuf {
        let path = self.dir.join("topology.yaml");
        fs::write(&path, &self.text).expect("the build directory can be written");
        path
    }

    /// What the file takes from its environment, with the data in `data`.
    pub fn variables(&self, data: &Path) -> [(&'static str, String); 2] {
        let data = data.to_str().expect("the build directory's name is text").to_owned();
        [("TELEMILL_DATA", data), ("MQTT_LISTEN", self.listen.clone())]
    }

    /// All records of a topic, by key, while no Telemill runs.
    pub fn log(&self, topic: &'static str) -> BTreeMap<String, Vec<LocalRecord>> {
        let mut by_key: BTreeMap<String, Vec<LocalRecord>> = BTreeMap::new();
        for frame in frames(&self.data(), topic) {
            let (key, record) = LocalRecord::read(&frame);
            by_key.entry(key).or_default().push(record);
        }
        by_key
    }
}

/// All records of a topic as they are in a data directory that no Telemill has.
pub fn frames(data: &Path, topic: &'static str) -> impl Iterator<Item = Vec<u8>> {
    let rows = async {
        let disk = Disk::open(data, 0).await?;
        disk.read(move |view| {
            let entry = view.get(Space("topics"), topic.as_bytes())?.expect("the topic is there");
            let entry: Value = serde_json::from_slice(&entry).expect("a topic is JSON");
            let number = u32::try_from(entry["number"].as_u64().expect("a number")).expect("of 32 bits");
            view.rows(Space("log"), KeyRange::prefix(number.to_be_bytes().to_vec())).collect::<Result<Vec<_>, _>>()
        })
        .await
    };
    let rows: Result<_, DiskError> = tokio::runtime::Runtime::new().expect("a runtime").block_on(rows);
    rows.expect("the directory can be read").into_iter().flat_map(|(_, row)| page(&row))
}

impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("topology and data stay in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
