//! The embedded default, killed again and again while devices publish and repeat what was not acknowledged.

mod device;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use telemill_actors::embedded::disk::{Disk, DiskError, KeyRange, Read, Space};
use telemill_services::{unique_name, wait_until};

use crate::support::{DEADLINE, Telemill, by_night, let_pass};
use device::{Device, Fleet};

const DEVICES: u64 = 50;

#[test]
fn killed_again_and_again_every_acknowledged_record_is_there_in_order_and_a_repeat_is_marked() {
    let site = Site::new("embedded-crash", false);
    let log = site.killed_under_load();
    site.history_is(&log.into_iter().map(|(device, records)| (device, numbers(&records))).collect());
}

#[test]
fn killed_again_and_again_every_acknowledged_record_is_there_once_where_identity_names_its_id() {
    let site = Site::new("embedded-identity", true);
    let log = site.killed_under_load();
    let firsts = |records: &[Logged]| {
        let mut seen = HashSet::new();
        let mut numbers = numbers(records);
        numbers.retain(|(seq, _)| seen.insert(*seq));
        numbers
    };
    site.history_is(&log.into_iter().map(|(device, records)| (device, firsts(&records))).collect());
}

/// The running numbers and the event ids.
type Numbers = Vec<(u64, String)>;

fn numbers(records: &[Logged]) -> Numbers {
    records.iter().map(|record| (record.seq(), record.header("event-id").to_owned())).collect()
}

/// The quick start without its fleet, on a port that stays the same, in a directory of the test's own.
struct Site {
    dir: PathBuf,
    port: u16,
}

impl Site {
    /// With `identity` the session knows a message by its `mid`, and the store is behind the session.
    fn new(test: &str, identity: bool) -> Site {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/quickstart.yaml");
        let mut text = fs::read_to_string(shipped).expect("the shipped topology is there");
        let mut edit = |from: &str, to: &str| {
            assert!(text.contains(from), "the shipped topology has no `{from}` any more");
            text = text.replace(from, to);
        };
        edit("simulate:", "# simulate:");
        if identity {
            edit("offline_after: 60s", "offline_after: 60s\n      identity: payload.mid");
            edit("  to_store:\n    kafka_source:", "  #");
            edit("inputs: [to_store]", "inputs: [sessions]");
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique_name(test));
        fs::create_dir_all(&dir).expect("the build directory can be written");
        fs::write(dir.join("topology.yaml"), text).expect("the build directory can be written");
        // Below the ports of outgoing connections, one of which could have it while nobody listens, and below those of
        // the services.
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let mut ports = std::iter::repeat_with(|| rand::rng().random_range(10_000..20_000));
        Site { dir, port: ports.find(free).expect("a port is free") }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn start(&self) -> Telemill {
        let (data, listen) = (self.data(), format!("127.0.0.1:{}", self.port));
        let data = data.to_str().expect("the build directory's name is text");
        let variables = [("TELEMILL_DATA", data), ("MQTT_LISTEN", &listen)];
        Telemill::start_file(&self.dir.join("topology.yaml"), "quickstart", &variables)
    }

    /// Kills Telemill again and again while a fleet publishes; the log of each device, which is as it must be.
    fn killed_under_load(&self) -> BTreeMap<String, Vec<Logged>> {
        let kills = by_night(3, 30);
        let share = by_night(3_000, 20_000) / DEVICES;
        let fleet = Fleet { port: self.port, share, open: AtomicU64::new(0), acknowledged: AtomicU64::new(0) };
        let sendings = self.run(&fleet, kills);
        let log = self.log("iot-data");
        assert!(self.log("iot-data-dlq").is_empty(), "a record is a dead letter");
        assert!(log.keys().eq(sendings.keys()), "{:?} instead of {:?}", log.keys(), sendings.keys());
        for (device, sendings) in &sendings {
            is_in_order(device, sendings, &log[device]);
        }
        let sent: u64 = sendings.values().flatten().map(|times| u64::from(*times)).sum();
        let (acknowledged, logged) = (DEVICES * share, log.values().map(Vec::len).sum::<usize>() as u64);
        let twice = logged - acknowledged;
        eprintln!("{kills} kills: {acknowledged} acknowledged, {sent} sendings, {logged} in the log, {twice} repeats");
        assert!(twice > 0, "no acknowledgement was lost, so there was nothing to recognise");
        log
    }

    /// Runs Telemill, killed so many times, until the fleet has published everything, and drains it. By device, how
    /// often each message was sent.
    fn run(&self, fleet: &Fleet, kills: u64) -> BTreeMap<String, Vec<u32>> {
        // What the fleet may send is opened in steps, each before it is needed, the last with the last kill: so there is
        // a load for every kill.
        let step = |step: u64| fleet.share * step / (kills + 2);
        fleet.open.store(step(2), Ordering::SeqCst);
        thread::scope(|scope| {
            let mut telemill = self.start();
            let publish = |number| scope.spawn(move || Device::new(fleet, number).publish());
            let devices: Vec<_> = (0..DEVICES).map(publish).collect();
            for kill in 1..=kills {
                if rand::rng().random_bool(0.7) {
                    let part = rand::rng().random_range(DEVICES * step(kill - 1)..DEVICES * step(kill));
                    eprintln!("kill {kill} when {part} are acknowledged");
                    wait_until(DEADLINE, "acknowledgements", || {
                        assert!(!devices.iter().any(|device| device.is_finished()), "a device gave up");
                        (fleet.acknowledged.load(Ordering::SeqCst) >= part).then_some(())
                    });
                } else {
                    let after = Duration::from_millis(rand::rng().random_range(0..1000));
                    eprintln!("kill {kill} after {after:?}");
                    let_pass(after);
                }
                // Devices that came to the end of what was open go on when they are connected again.
                fleet.open.store(step(kill + 2), Ordering::SeqCst);
                telemill.kill9();
                telemill = self.start();
            }
            let sendings = devices.into_iter().map(|device| device.join().expect("the device can publish")).collect();
            telemill.until_ready();
            telemill.ledgers_balance();
            telemill.drain();
            sendings
        })
    }

    /// All records of a topic, by key.
    fn log(&self, topic: &'static str) -> BTreeMap<String, Vec<Logged>> {
        let rows = async {
            let disk = Disk::open(&self.data(), 0).await?;
            disk.read(move |view| {
                let entry = view.get(Space("topics"), topic.as_bytes())?.expect("the topic is there");
                let entry: Value = serde_json::from_slice(&entry).expect("a topic is JSON");
                let number = u32::try_from(entry["number"].as_u64().expect("a number")).expect("of 32 bits");
                view.rows(Space("log"), KeyRange::prefix(number.to_be_bytes().to_vec())).collect::<Result<Vec<_>, _>>()
            })
            .await
        };
        let rows: Result<_, DiskError> = tokio::runtime::Runtime::new().expect("a runtime").block_on(rows);
        let mut by_key: BTreeMap<String, Vec<Logged>> = BTreeMap::new();
        for (_, frame) in rows.expect("the directory can be read") {
            let (key, record) = Logged::read(&frame);
            by_key.entry(key).or_default().push(record);
        }
        by_key
    }

    /// Starts Telemill again, and waits until the history of these devices is long enough; it is exactly this.
    fn history_is(&self, wanted: &BTreeMap<String, Numbers>) {
        let mut telemill = self.start();
        telemill.until_ready();
        for (device, wanted) in wanted {
            let found = wait_until(DEADLINE, &format!("{} messages of {device}", wanted.len()), || {
                let found = history(&telemill, device);
                (found.len() >= wanted.len()).then_some(found)
            });
            let part = found.iter().zip(wanted).find(|(found, wanted)| found != wanted);
            let (are, should) = (found.len(), wanted.len());
            assert!(&found == wanted, "{device}: {are} messages instead of {should}; the first that part: {part:?}");
        }
        telemill.ledgers_balance();
        telemill.drain();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("topology and data stay in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn history(telemill: &Telemill, device: &str) -> Numbers {
    let answer = telemill.http.get(&format!("/api/v1/devices/{device}?limit=10000")).json();
    let number = |message: &Value| {
        let event_id = message["event_id"].as_str().expect("it has an id").to_owned();
        (message["payload"]["seq"].as_u64().expect("it is numbered"), event_id)
    };
    answer["history"].as_array().into_iter().flatten().map(number).collect()
}

/// Asserts that a device's records are all there, each for the first time in the order of sending, and that one that is
/// there again was sent again and is marked so. `sendings`: how often each was sent; all of them were acknowledged.
fn is_in_order(device: &str, sendings: &[u32], records: &[Logged]) {
    let mut seen: Vec<(&Logged, u32)> = Vec::new();
    for record in records {
        let seq = record.seq();
        let times = *sendings.get(seq as usize - 1).unwrap_or_else(|| panic!("{device} never sent {seq}"));
        assert!(times > 1 || !record.headers.contains_key("dup"), "{device} sent {seq} once: {record:?}");
        let Some((first, there)) = seen.get_mut(seq as usize - 1) else {
            assert_eq!(seq, seen.len() as u64 + 1, "{device}: the next is missing or out of order");
            seen.push((record, 1));
            continue;
        };
        *there += 1;
        assert!(*there <= times, "{device} sent {seq} {times} times, it is there more often");
        assert_eq!(record.header("dup"), "1");
        for same in ["packet-id", "payload-hash"] {
            assert_eq!(record.header(same), first.header(same), "{device}: {seq}");
        }
        assert_eq!(record.message["payload"], first.message["payload"]);
        assert_ne!(record.header("event-id"), first.header("event-id"), "{device}: {seq} was taken twice");
    }
    assert_eq!(seen.len(), sendings.len(), "{device}: the last are missing");
}

/// A record as it is in the embedded log (`docs/formats.md`, "Embedded log").
#[derive(Debug)]
struct Logged {
    headers: BTreeMap<String, String>,
    message: Value,
}

impl Logged {
    /// Key and record.
    fn read(frame: &[u8]) -> (String, Logged) {
        let mut rest = frame;
        let mut take = |count: usize| rest.split_off(..count).expect("the record is whole");
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
        assert_eq!(take(9)[0], 1, "the version");
        let length = number(take(2));
        let key = text(take(length));
        let mut headers = BTreeMap::new();
        for _ in 0..number(take(2)) {
            let length = number(take(2));
            let name = text(take(length));
            let length = number(take(4));
            headers.insert(name, text(take(length)));
        }
        (key, Logged { headers, message: serde_json::from_slice(rest).expect("a message is JSON") })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name} on {self:?}"))
    }

    fn seq(&self) -> u64 {
        self.message["payload"]["seq"].as_u64().expect("it is numbered")
    }
}
