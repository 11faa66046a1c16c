//! What must hold at every moment, looked at all the time: nothing is committed that is not safe, and no device's state
//! goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use redis::{Client, Commands, Connection};
use serde_json::Value;

use crate::load::prefix;
use crate::rig::{PARTITIONS, Rig};
use crate::support::Committed;

/// What the watch saw that must not be.
#[derive(Debug, Default)]
pub struct Sights {
    pub committed_early: BTreeSet<String>,
    pub went_back: BTreeSet<String>,
}

/// Looks until it is told to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Sights>,
}

/// How often everything is looked at.
const EVERY: Duration = Duration::from_millis(100);

impl Watch {
    /// Watches the devices of a round, and the positions. `topic`: the id of the topic of the data. `rolled_back`: the store
    /// is an older one from now on.
    pub fn start(
        rig: &Rig,
        round: usize,
        devices: usize,
        topic: Option<String>,
        rolled_back: Arc<AtomicBool>,
    ) -> Watch {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let site = &rig.site;
        let mut watching = Watching {
            redis: rig.redis.url(),
            connection: None,
            name: site.name.clone(),
            devices: (0..devices).map(|number| format!("{}{number}", prefix(site, round))).collect(),
            topic,
            data: site.topic("data"),
            groups: [
                (Committed::of(&rig.kafka.brokers(), &format!("{}-writer", site.prefix())), Position::Guard),
                (Committed::of(&rig.kafka.brokers(), site.prefix()), Position::Checkpoint),
            ],
            states: BTreeMap::new(),
            rolled_back,
            marks: BTreeMap::new(),
            sights: Sights::default(),
        };
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                watching.look();
                thread::park_timeout(EVERY);
            }
            watching.sights
        });
        Watch { stop, thread }
    }

    pub fn end(self) -> Sights {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the watch does not panic")
    }
}

/// Where a group's position is kept.
#[derive(Clone, Copy)]
enum Position {
    /// `to_store`: in the guard of the writer.
    Guard,
    /// `events`: in the checkpoint.
    Checkpoint,
}

/// How far something was.
#[derive(Default)]
struct Mark {
    highest: i64,
    /// It was there again after the store had been rolled back.
    is_healed: bool,
}

struct Watching {
    redis: String,
    connection: Option<Connection>,
    name: String,
    devices: Vec<String>,
    topic: Option<String>,
    data: String,
    groups: [(Committed, Position); 2],
    states: BTreeMap<String, u64>,
    rolled_back: Arc<AtomicBool>,
    /// Of each position and device.
    marks: BTreeMap<String, Mark>,
    sights: Sights,
}

impl Watching {
    fn look(&mut self) {
        for index in 0..self.groups.len() {
            // What is committed is asked first: the position can only have gone on since.
            let (committed, position) = (self.groups[index].0.now(&self.data, PARTITIONS), self.groups[index].1);
            for (partition, committed) in committed {
                let is_older = self.is_rolled_back();
                let Some(there) = self.position(position, partition) else { continue };
                let what = match position {
                    Position::Guard => "the writer's guard",
                    Position::Checkpoint => "the checkpoint",
                };
                let what = format!("partition {partition}: {what}");
                let heals = self.heals(&what, there, committed - 1, is_older);
                if committed > there + 1 && !heals {
                    self.sights.committed_early.insert(format!("{what} stands at {there}"));
                }
            }
        }
        for device in self.devices.clone() {
            let is_older = self.is_rolled_back();
            let Some(seq) = self.state(&device) else { continue };
            let heals = self.heals(&device, seq as i64, 0, is_older);
            let before = self.states.insert(device.clone(), seq);
            if let Some(before) = before.filter(|before| *before > seq && !heals) {
                self.sights.went_back.insert(format!("{device}: from {before} to {seq}"));
            }
        }
    }

    fn is_rolled_back(&self) -> bool {
        self.rolled_back.load(Ordering::Acquire)
    }

    /// Whether what stands here may stand behind where it was, or is due: the store was rolled back, and has not got it
    /// again. `is_older`: that was so before it was asked, so that the answer is not from before.
    fn heals(&mut self, what: &str, at: i64, due: i64, is_older: bool) -> bool {
        let is_rolled_back = self.is_rolled_back();
        let mark = self.marks.entry(what.to_owned()).or_default();
        mark.highest = mark.highest.max(at).max(due);
        mark.is_healed |= is_older && at >= mark.highest;
        is_rolled_back && !mark.is_healed
    }

    /// Asks Redis; nothing while it is away.
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Connection) -> redis::RedisResult<T>) -> Option<T> {
        if self.connection.is_none() {
            let limit = Duration::from_millis(200);
            let connection = Client::open(&*self.redis).ok()?.get_connection_with_timeout(limit).ok()?;
            let _ = (connection.set_read_timeout(Some(limit)), connection.set_write_timeout(Some(limit)));
            self.connection = Some(connection);
        }
        let answer = self.connection.as_mut().map(ask)?;
        // Behind an answer that did not come, the next one would be taken for it.
        answer.inspect_err(|_| self.connection = None).ok()
    }

    fn position(&mut self, position: Position, partition: i32) -> Option<i64> {
        let topic = self.topic.clone()?;
        match position {
            Position::Guard => {
                let key = format!("telemill:offset:{}:writer:{partition}", self.name);
                let value: Option<String> = self.ask(|redis| redis.hget(key, topic))?;
                value?.split(':').next()?.parse().ok()
            }
            Position::Checkpoint => {
                let key = format!("telemill:checkpoint:{}:events:{partition}:meta", self.name);
                let meta: Option<String> = self.ask(|redis| redis.hget(key, "meta"))?;
                let meta: Value = serde_json::from_str(&meta?).ok()?;
                let is_it = |entry: &&Value| entry["topic"].as_str().unwrap_or_default().replace('-', "") == topic;
                meta["cursor"].as_array()?.iter().find(is_it)?["offset"].as_i64()
            }
        }
    }

    fn state(&mut self, device: &str) -> Option<u64> {
        let payload: Option<String> = self.ask(|redis| redis.hget(format!("device:last_state:{device}"), "payload"))?;
        serde_json::from_str::<Value>(&payload?).ok()?["seq"].as_u64()
    }
}
