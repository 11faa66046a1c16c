//! Random logs, cut into random batches, replayed from random places: Redis holds what a plain model holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use telemill_engine::batch::Batch;
use telemill_engine::position::TopicId;
use telemill_engine::record::{Kind, Record};
use telemill_engine::sink::Submitted;
use telemill_services::{Services, unique_name};

use super::{hash, owned, sorted_set, submit};
use crate::redis_support::{OTHER_TOPIC, Subscriber, TOPIC, batch, client, message, record, writer};

const NOW: u64 = 1_700_000_000;
const HISTORY: u64 = 18_000;

/// What the store is to hold, by the plainest means.
#[derive(Default)]
struct Model {
    guard: BTreeMap<TopicId, (i64, u32)>,
    state: BTreeMap<String, (String, u64)>,
    history: BTreeMap<String, BTreeSet<(u64, String)>>,
    published: Vec<String>,
}

impl Model {
    /// Whether the batch is taken; not if something before it is missing.
    fn submit(&mut self, batch: &Batch) -> bool {
        if batch.previous.iter().any(|(topic, offset, output)| self.guard.get(topic) < Some(&(*offset, *output))) {
            return false;
        }
        let at = |record: &Record| record.position.map(|p| (p.topic, (p.offset, p.output))).unwrap();
        let guard = self.guard.clone();
        let is_new = |record: &&Record| guard.get(&at(record).0) < Some(&at(record).1);
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        for record in batch.records.iter().filter(is_new) {
            self.guard.insert(at(record).0, at(record).1);
            if record.kind != Kind::Data {
                continue;
            }
            let (device, secs, message) = (record.device.to_string(), record.received_at.as_secs(), message(record));
            let payload = String::from_utf8(record.payload.to_vec()).unwrap();
            self.state.insert(device.clone(), (payload, secs));
            self.history.entry(device.clone()).or_default().insert((secs, message.clone()));
            let newest = newest.entry(device).or_default();
            *newest = secs.max(*newest);
            self.published.push(message);
        }
        for (device, newest) in newest {
            self.history.entry(device).or_default().retain(|(secs, _)| *secs >= newest - HISTORY);
        }
        true
    }
}

/// A record of the log before it has a name and a place.
#[derive(Clone, Debug)]
struct Draft {
    device: usize,
    other_topic: bool,
    /// How far its offset lies behind the one before it in its topic; 0: one more output of the same.
    step: i64,
    secs: u64,
    is_mark: bool,
}

fn draft() -> impl Strategy<Value = Draft> {
    // Mostly the same hour, sometimes far enough back to be trimmed.
    let secs = prop_oneof![8 => NOW..NOW + 3_600, 1 => NOW - 30_000..NOW];
    (0..4usize, any::<bool>(), 0..3i64, secs, prop::bool::weighted(0.1))
        .prop_map(|(device, other_topic, step, secs, is_mark)| Draft { device, other_topic, step, secs, is_mark })
}

/// A reading of the log: from where, in batches of what sizes.
type Reading = (prop::sample::Index, Vec<usize>);

fn readings() -> impl Strategy<Value = Vec<Reading>> {
    prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(1..12usize, 1..8)), 1..6)
}

fn log(drafts: &[Draft], name: &str) -> Vec<Record> {
    let mut places: BTreeMap<TopicId, (i64, u32)> = BTreeMap::new();
    let records = drafts.iter().enumerate().map(|(n, draft)| {
        let topic = if draft.other_topic { OTHER_TOPIC } else { TOPIC };
        let place = match places.get(&topic) {
            None => (draft.step, 0),
            Some((offset, output)) if draft.step == 0 => (*offset, output + 1),
            Some((offset, _)) => (offset + draft.step, 0),
        };
        places.insert(topic, place);
        let device = format!("{name}-{}", draft.device);
        let mut record = record(&device, topic, place.0, draft.secs, &format!("{{\"n\":{n}}}"));
        record.position.as_mut().unwrap().output = place.1;
        if draft.is_mark {
            record.kind = Kind::Mark;
        }
        record
    });
    records.collect()
}

/// The batches of one reading: the first of a topic follows nothing, each other one what came before.
fn read(log: &[Record], (from, sizes): &Reading, reached: usize) -> Vec<Arc<Batch>> {
    let mut from = from.index(reached + 1);
    let mut previous: BTreeMap<TopicId, (i64, u32)> = BTreeMap::new();
    let mut batches = Vec::new();
    for size in sizes {
        let records = log[from..log.len().min(from + size)].to_vec();
        from += records.len();
        if records.is_empty() {
            break;
        }
        let is_read = |topic: &TopicId| records.iter().any(|record| record.position.unwrap().topic == *topic);
        let known = previous.iter().filter(|(topic, _)| is_read(topic));
        let known: Vec<_> = known.map(|(topic, at)| (*topic, at.0, at.1)).collect();
        for record in &records {
            let position = record.position.unwrap();
            previous.insert(position.topic, (position.offset, position.output));
        }
        batches.push(batch(&known, records));
    }
    batches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn redis_holds_what_the_model_holds(
        drafts in prop::collection::vec(draft(), 1..60),
        readings in readings(),
        lost in prop::collection::vec(any::<bool>(), 40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&drafts, &readings, &lost));
    }
}

/// Reads the log again and again; a batch that is `lost` is never submitted, so that those behind it find a gap.
async fn check(drafts: &[Draft], readings: &[Reading], lost: &[bool]) {
    let url = Services::shared().redis_url();
    let (topology, name) = (unique_name("model"), unique_name("dev"));
    let mut subscriber = Subscriber::new(url, &name).await;
    let mut writer = writer(url, &topology, 3).await;
    let mut client = client(url).await;
    let log = log(drafts, &name);
    let mut model = Model::default();
    // No reading begins behind what the store has: the source asks it where to begin.
    let mut reached = 0;
    let mut lost = lost.iter().cycle();
    for reading in readings {
        let mut from = reading.0.index(reached + 1);
        for batch in read(&log, reading, reached) {
            let loses = lost.next() == Some(&true) && lost.next() == Some(&true);
            if loses && !batch.previous.is_empty() {
                continue;
            }
            let submitted = submit(&mut writer, &batch).await;
            if model.submit(&batch) {
                assert!(matches!(submitted, Submitted::Delivered), "{submitted:?}");
                from += batch.len();
                reached = reached.max(from);
            } else {
                assert!(matches!(submitted, Submitted::Gap { .. }), "{submitted:?}");
                break;
            }
        }
    }

    assert_eq!(subscriber.heard().await, model.published);
    for n in 0..4 {
        let device = format!("{name}-{n}");
        let state = hash(&mut client, &format!("device:last_state:{device}")).await;
        let expect = model
            .state
            .get(&device)
            .map(|(payload, secs)| owned(&[("payload", payload.as_str()), ("timestamp", secs.to_string().as_str())]));
        assert_eq!(state, expect.unwrap_or_default());
        let history = sorted_set(&mut client, &format!("device:history:{device}")).await;
        let history: BTreeSet<_> = history.into_iter().map(|(message, secs)| (secs, message)).collect();
        assert_eq!(history, model.history.remove(&device).unwrap_or_default());
    }
    let mut guard = owned(&[("e", "3"), ("v", "1")]);
    guard.extend(model.guard.iter().map(|(topic, (offset, output))| (topic.to_string(), format!("{offset}:{output}"))));
    guard.sort();
    let stored = hash(&mut client, &format!("telemill:offset:{topology}:writer:0")).await;
    assert!(stored == guard || (stored.is_empty() && model.guard.is_empty()), "{stored:?} {guard:?}");
}
