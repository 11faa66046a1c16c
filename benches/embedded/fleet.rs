//! The load: devices with a connection each, which publish at QoS 1. Runs in this process, whose time is not counted.
//!
//! At full speed each device has a thread that fills its window, waits for PUBACKs and fills it again, so that what a
//! broker acknowledges together is answered together. At a steady rate one thread paces all devices, one record each in
//! turn, and each has one that counts its PUBACKs.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use crate::wire::{self, Acks};

/// How long a subject may say nothing while it owes an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// What is read at once: the PUBACKs of the widest window.
const CHUNK: usize = 4096;
/// More than one PUBLISH takes.
const SPACE: usize = 256;

/// Connected devices.
pub struct Fleet {
    devices: Vec<Device>,
}

struct Device {
    topic: String,
    stream: TcpStream,
    acks: Acks,
    /// What was published so far.
    sent: usize,
}

/// The id of a device, by number.
pub fn device(number: usize) -> String {
    format!("bench-{number}")
}

/// What a device says: some 110 bytes, no two alike.
pub fn payload(out: &mut String, number: usize) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        r#"{{"temperature":{}.{:02},"humidity":{},"battery":{},"rssi":-{},"firmware":"2.4.{}","sequence":{number}}}"#,
        15 + number % 20,
        number % 97,
        30 + number % 50,
        number % 101,
        40 + number % 50,
        number % 9,
    );
}

impl Fleet {
    /// Connects so many devices to `host:port`.
    pub fn connect(address: &str, count: usize) -> anyhow::Result<Fleet> {
        let devices = (0..count).map(|number| {
            Device::connect(address, number).with_context(|| format!("device {number} cannot connect to {address}"))
        });
        Ok(Fleet { devices: devices.collect::<Result<_, _>>()? })
    }

    /// How many devices there are.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Publishes `each` records of every device as fast as they are acknowledged, up to `window` of a device unacknowledged;
    /// how long it took until the last PUBACK.
    pub fn flood(&mut self, each: usize, window: usize) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let devices = self.devices.len();
        thread::scope(|scope| {
            let devices_and_indices = self.devices.iter_mut().enumerate();
            let threads = devices_and_indices.map(|(index, device)| {
                scope.spawn(move || device.flood(each, window, |number| number * devices + index))
            });
            // All of them run before the first is waited for.
            let threads: Vec<_> = threads.collect();
            threads.into_iter().try_for_each(|thread| joined(thread.join()))
        })?;
        Ok(began.elapsed())
    }

    /// Publishes `each` records of every device at `rate` records a second of all together; how late the latest left.
    pub fn pace(&mut self, each: usize, rate: usize, payload: impl Fn(&mut String, usize)) -> anyhow::Result<Duration> {
        let (devices, failed) = (self.devices.len(), AtomicBool::new(false));
        let began = Instant::now();
        thread::scope(|scope| {
            let mut writers = Vec::with_capacity(devices);
            let mut readers = Vec::with_capacity(devices);
            for Device { topic, stream, acks, sent } in &mut self.devices {
                let (first, failed) = (*sent, &failed);
                *sent += each;
                let owed = *sent;
                writers.push((stream.try_clone()?, &*topic, first));
                readers.push(scope.spawn(move || {
                    let read = (|| {
                        while acks.seen() < owed {
                            read(stream, acks)?;
                        }
                        Ok(())
                    })();
                    failed.fetch_or(read.is_err(), Ordering::Relaxed);
                    read
                }));
            }
            let mut latest = Duration::ZERO;
            let (mut text, mut packet) = (String::with_capacity(SPACE), Vec::with_capacity(SPACE));
            for number in 0..each * devices {
                let due = began + Duration::from_secs_f64(number as f64 / rate as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                latest = latest.max(due.elapsed());
                let (stream, topic, first) = &mut writers[number % devices];
                text.clear();
                packet.clear();
                payload(&mut text, number);
                wire::publish(&mut packet, topic, wire::packet_id(*first + number / devices), text.as_bytes());
                stream.write_all(&packet).context("a device cannot publish")?;
                if failed.load(Ordering::Relaxed) {
                    break;
                }
            }
            readers.into_iter().try_for_each(|thread| joined(thread.join()))?;
            Ok(latest)
        })
    }
}

impl Device {
    fn connect(address: &str, number: usize) -> anyhow::Result<Device> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let (name, mut packet, mut answer) = (device(number), Vec::new(), [0; wire::CONNACK.len()]);
        wire::connect(&mut packet, &name);
        stream.write_all(&packet)?;
        stream.read_exact(&mut answer).context("no CONNACK")?;
        ensure!(answer == wire::CONNACK, "refused with {answer:02x?}");
        Ok(Device { topic: format!("devices/{name}/data"), stream, acks: Acks::default(), sent: 0 })
    }

    fn flood(&mut self, each: usize, window: usize, number: impl Fn(usize) -> usize) -> anyhow::Result<()> {
        let (mut text, mut packets) = (String::with_capacity(SPACE), Vec::with_capacity(window * SPACE));
        let (first, last) = (self.sent, self.sent + each);
        while self.acks.seen() < last {
            packets.clear();
            while self.sent < last && self.sent - self.acks.seen() < window {
                text.clear();
                payload(&mut text, number(self.sent - first));
                wire::publish(&mut packets, &self.topic, wire::packet_id(self.sent), text.as_bytes());
                self.sent += 1;
            }
            if !packets.is_empty() {
                self.stream.write_all(&packets).context("a device cannot publish")?;
            }
            read(&mut self.stream, &mut self.acks)?;
        }
        Ok(())
    }
}

/// Waits for PUBACKs.
fn read(stream: &mut TcpStream, acks: &mut Acks) -> anyhow::Result<()> {
    let mut chunk = [0; CHUNK];
    match stream.read(&mut chunk).context("no PUBACK comes")? {
        0 => bail!("the connection was closed"),
        length => acks.feed(&chunk[..length]),
    }
}

fn joined(ended: thread::Result<anyhow::Result<()>>) -> anyhow::Result<()> {
    ended.unwrap_or_else(|_| Err(anyhow!("a thread of the load panicked")))
}
