//! What is in Redis, read by a plain client, and what a plain subscriber hears.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use redis::{Client, Commands, Connection};
use telemill_services::wait_until;

use super::DEADLINE;

/// A plain client.
pub struct Store {
    connection: Connection,
}

impl Store {
    pub fn new(url: &str) -> Store {
        let connection = Client::open(url).expect("a Redis URL").get_connection().expect("Redis is there");
        Store { connection }
    }

    /// `device:last_state:{device}`.
    pub fn last_state(&mut self, device: &str) -> BTreeMap<String, String> {
        self.connection.hgetall(format!("device:last_state:{device}")).expect("a hash")
    }

    /// `device:history:{device}` in the order in which a reader has it: by score, then by event id. Score and message.
    pub fn history(&mut self, device: &str) -> Vec<(u64, String)> {
        let key = format!("device:history:{device}");
        let members: Vec<(String, f64)> = self.connection.zrange_withscores(key, 0, -1).expect("a sorted set");
        let mut members: Vec<(u64, String)> =
            members.into_iter().map(|(message, score)| (score as u64, message)).collect();
        members.sort_by_cached_key(|(score, message)| {
            let message: serde_json::Value = serde_json::from_str(message).unwrap_or_default();
            (*score, message["event_id"].as_str().map(str::to_owned))
        });
        members
    }

    /// Puts a message into a device's history.
    pub fn add_history(&mut self, device: &str, score: u64, message: &str) {
        self.connection.zadd::<_, _, _, ()>(format!("device:history:{device}"), message, score).expect("a sorted set");
    }

    /// The seconds after which a device's history expires.
    pub fn history_ttl(&mut self, device: &str) -> i64 {
        self.connection.ttl(format!("device:history:{device}")).expect("Redis answers")
    }

    /// What the guard of a stage says is done of a partition of the only topic it is fed from: topic id and offset.
    pub fn guard(&mut self, topology: &str, stage: &str, partition: i32) -> Option<(String, i64)> {
        let key = format!("telemill:offset:{topology}:{stage}:{partition}");
        let fields: BTreeMap<String, String> = self.connection.hgetall(key).expect("a hash");
        let (topic, position) = fields.into_iter().find(|(field, _)| field.len() == 32)?;
        let offset = position.split(':').next().and_then(|offset| offset.parse().ok());
        Some((topic, offset.expect("a position is an offset and an output")))
    }

    /// Makes all guards of a stage ones of a version to come.
    pub fn forge_guards(&mut self, topology: &str, stage: &str) {
        let pattern = format!("telemill:offset:{topology}:{stage}:*");
        let keys: Vec<String> = self.connection.keys(pattern).expect("Redis answers");
        assert!(!keys.is_empty(), "the stage has guards");
        for key in keys {
            self.connection.hset::<_, _, _, ()>(key, "v", "2").expect("a hash");
        }
    }

    /// The offset up to which the checkpoint of a source's partition covers a topic.
    pub fn checkpoint(&mut self, topology: &str, source: &str, partition: i32, topic: &str) -> Option<i64> {
        let key = format!("telemill:checkpoint:{topology}:{source}:{partition}:meta");
        let meta: String = self.connection.hget(key, "meta").expect("a hash");
        let meta: serde_json::Value = serde_json::from_str(&meta).expect("it is JSON");
        let id = |entry: &serde_json::Value| entry["topic"].as_str().unwrap_or_default().replace('-', "");
        meta["cursor"].as_array()?.iter().find(|entry| id(entry) == topic)?["offset"].as_i64()
    }

    /// Puts a text where a device's last state should be.
    pub fn spoil(&mut self, device: &str) {
        self.connection.set::<_, _, ()>(format!("device:last_state:{device}"), "not a hash").expect("Redis answers");
    }

    /// Takes it away again.
    pub fn mend(&mut self, device: &str) {
        self.connection.del::<_, ()>(format!("device:last_state:{device}")).expect("Redis answers");
    }
}

/// Hears every notification to devices whose name begins with a prefix.
pub struct Updates {
    heard: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Updates {
    /// Returns when the subscription stands. It ends with the server or the test.
    pub fn subscribe(url: &str, prefix: &str) -> Updates {
        let mut connection = Client::open(url).expect("a Redis URL").get_connection().expect("Redis is there");
        let heard: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
        let copy = heard.clone();
        let pattern = format!("device-updates:{prefix}*");
        let (subscribed, stands) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut channel = connection.as_pubsub();
            channel.psubscribe(pattern).expect("Redis answers");
            let _ = subscribed.send(());
            while let Ok(message) = channel.get_message() {
                let device = message.get_channel_name().strip_prefix("device-updates:").unwrap_or_default().to_owned();
                let text = message.get_payload().unwrap_or_default();
                copy.lock().unwrap_or_else(PoisonError::into_inner).entry(device).or_default().push(text);
            }
        });
        stands.recv_timeout(DEADLINE).expect("the subscription stands");
        Updates { heard }
    }

    /// What was heard, by device, in order, once there are so many messages.
    pub fn when(&self, messages: usize) -> BTreeMap<String, Vec<String>> {
        let count = || self.lock().values().map(Vec::len).sum::<usize>();
        wait_until(DEADLINE, "notifications", || (count() >= messages).then_some(()));
        self.lock().clone()
    }

    /// What was heard so far, by device, in order.
    pub fn so_far(&self) -> BTreeMap<String, Vec<String>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
