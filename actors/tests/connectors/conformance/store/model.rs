//! Random logs, cut into random batches, replayed from random places: the store holds what a plain model holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use telemill_engine::batch::Batch;
use telemill_engine::position::{Cursor, TopicId, TopicOffset};
use telemill_engine::record::{EventId, Kind, Record};
use telemill_engine::sink::{Sink, Submitted};
use telemill_services::unique_name;

use super::{Harness, open, state};
use crate::conformance::records::{NOW, OTHER_TOPIC, TOPIC, batch, message, output};

const HISTORY: u64 = 18_000;
const DEVICES: usize = 4;

/// What the store is to hold, by the plainest means.
#[derive(Default)]
struct Model {
    guard: BTreeMap<TopicId, (i64, u32)>,
    state: BTreeMap<String, (String, u64)>,
    history: BTreeMap<String, BTreeSet<(u64, EventId, String)>>,
    published: BTreeMap<String, Vec<String>>,
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
            self.history.entry(device.clone()).or_default().insert((secs, record.id, message.clone()));
            self.published.entry(device.clone()).or_default().push(message);
            let newest = newest.entry(device).or_default();
            *newest = secs.max(*newest);
        }
        for (device, newest) in newest {
            self.history.entry(device).or_default().retain(|(secs, ..)| *secs >= newest - HISTORY);
        }
        true
    }
}

/// What happens in one case.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    drafts: Vec<Draft>,
    readings: Vec<Reading>,
    lost: Vec<bool>,
}

/// Any course.
pub(crate) fn course() -> impl Strategy<Value = Course> {
    let drafts = prop::collection::vec(draft(), 1..60);
    let lost = prop::collection::vec(any::<bool>(), 40);
    (drafts, readings(), lost).prop_map(|(drafts, readings, lost)| Course { drafts, readings, lost })
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
    // Many of the same few seconds: a store may keep them together.
    let secs = prop_oneof![4 => NOW..NOW + 3_600, 4 => NOW..NOW + 3, 1 => NOW - 30_000..NOW];
    (0..DEVICES, any::<bool>(), 0..3i64, secs, prop::bool::weighted(0.1))
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
        let mut record = output(&device, topic, place, draft.secs, &format!("{{\"n\":{n}}}"));
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

/// Reads the log again and again; a batch that is `lost` is never submitted, so that those behind it find a gap.
pub(crate) async fn check<H: Harness>(course: &Course) {
    let harness = H::start().await;
    let name = unique_name("dev");
    let mut store = open(&harness, &unique_name("model"), 3).await;
    let devices: Vec<_> = (0..DEVICES).map(|n| format!("{name}-{n}")).collect();
    let mut listening = Vec::new();
    for device in &devices {
        listening.push(store.listen(device).await);
    }
    let log = log(&course.drafts, &name);
    let mut model = Model::default();
    // No reading begins behind what the store has: the source asks it where to begin.
    let mut reached = 0;
    let mut lost = course.lost.iter().cycle();
    for reading in &course.readings {
        let mut from = reading.0.index(reached + 1);
        for batch in read(&log, reading, reached) {
            let loses = lost.next() == Some(&true) && lost.next() == Some(&true);
            if loses && !batch.previous.is_empty() {
                continue;
            }
            let submitted = store.submit(&batch).await;
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

    let Some(Cursor(mut cursor)) = store.writer.resume(0).await.unwrap() else { panic!("it keeps positions") };
    cursor.sort_by_key(|entry| entry.topic);
    let done = |(topic, (offset, output)): (&TopicId, &(i64, u32))| TopicOffset {
        topic: *topic,
        offset: if *output == 0 { *offset } else { offset - 1 },
    };
    assert_eq!(cursor, model.guard.iter().map(done).collect::<Vec<_>>());
    for (device, mut heard) in devices.iter().zip(listening) {
        let expect = model.state.get(device).and_then(|(payload, secs)| state(payload, *secs));
        assert_eq!(store.last_state(device).await, expect);
        let expect = model.history.remove(device).unwrap_or_default();
        assert_eq!(store.history(device).await, expect.into_iter().map(|(.., message)| message).collect::<Vec<_>>());
        let expect = model.published.remove(device).unwrap_or_default();
        assert_eq!(store.heard(&mut heard).await, (expect, 0));
    }
}
