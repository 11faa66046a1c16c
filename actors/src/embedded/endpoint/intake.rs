//! What stands between the connections on one side and the engine's reader and acker on the other.
//!
//! Connections put in what has arrived; the reader takes out all that is there, up to a number, under one lock. Here a
//! record gets its identity and its number, so that both rise in the order of the queue, whatever the connections do at
//! the same time. When a batch is safe, each connection that has something in it is told how much, and woken once.
//!
//! Bounded in records and bytes, twice. Past the first bound messages at QoS 0 are dropped, as QoS 0 allows; the windows
//! of the clients then end the flow of the others, while everybody is still read, and pings are answered. Past the second
//! one nobody is read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use telemill_engine::batch::Previous;
use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{DeadReason, EventId, Kind, Origin, Record, Sent};
use telemill_engine::source::{RejectedRecord, SourceBatch, SourceError, SourceEvent};
use tokio::sync::{Notify, watch};
use ulid::Ulid;

use super::peer::Peer;
use crate::ingress::payload::Unfit;
use crate::ingress::pulse::Span;
use crate::ingress::{Ids, Mark};
use crate::log::message::no_device;

/// The one partition.
pub(crate) const PARTITION: i32 = 0;
/// The one slot.
pub(crate) const SLOT: u16 = 0;

/// So many records are a batch worth a turn of its own.
const WORTH_WHILE: usize = 128;
/// How much waits for the reader before QoS 0 is dropped.
const SOFT: Room = Room { records: 16_384, bytes: 16 << 20 };
/// How much waits before nobody is read, but for what was read already.
const HARD: Room = Room { records: 131_072, bytes: 64 << 20 };

#[derive(Clone, Copy)]
struct Room {
    records: usize,
    bytes: usize,
}

/// A message that has arrived.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) device: Option<DeviceId>,
    pub(crate) kind: Kind,
    pub(crate) payload: Bytes,
    /// Why it is one for the dead letters, and the topic it came on.
    pub(crate) unfit: Option<(Unfit, String)>,
    /// None at QoS 0, and for a will.
    pub(crate) packet_id: Option<u16>,
    pub(crate) payload_hash: u64,
    pub(crate) sent: Sent,
}

#[derive(Debug)]
enum Item {
    Record(Record),
    Rejected(RejectedRecord),
    Mark(Mark),
}

struct Entry {
    item: Item,
    /// Who is owed a PUBACK.
    owed: Option<Arc<Peer>>,
}

/// What the reader finds.
pub(crate) enum Found {
    Nothing,
    /// A few records, while others are on their way to the disk.
    Few,
    /// The engine is to be asked for the partition.
    Unassigned,
    Event(Result<SourceEvent, SourceError>),
}

/// How full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// There is room for everybody.
    Open,
    /// QoS 0 is dropped.
    High,
    /// Nobody is read.
    Full,
}

/// The meeting place.
pub(crate) struct Intake {
    inner: Mutex<Inner>,
    stage: Arc<str>,
    nobody: DeviceId,
    /// Names this life of the endpoint in the records' headers and in marks.
    session: Ulid,
    /// Wakes the reader.
    readable: Notify,
    /// Whether anybody is read.
    reading: watch::Sender<bool>,
    /// Whether the endpoint listens.
    serves: watch::Sender<bool>,
}

struct Inner {
    queue: VecDeque<Entry>,
    bytes: usize,
    ids: Ids,
    /// The number of the last production.
    produced: u64,
    /// The number of the last one that is safe.
    safe: u64,
    out: VecDeque<Out>,
    last_tag: u64,
    assignment: Assignment,
    /// There is nothing more to read; why, where the source is to be built again.
    ended: Option<Option<&'static str>>,
}

/// A batch that was handed out.
struct Out {
    tag: u64,
    /// The number of its last record.
    last: u64,
    /// Who is owed how many PUBACKs when it is safe.
    owed: Vec<(Arc<Peer>, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Assignment {
    Needed,
    Asked,
    Done,
}

impl Intake {
    /// An empty one, of the stage that is named in dead letters.
    pub(crate) fn new(stage: Arc<str>, now: Timestamp) -> Self {
        let mut ids = Ids::default();
        let EventId(session) = ids.next(now);
        let inner = Inner {
            queue: VecDeque::new(),
            bytes: 0,
            ids,
            produced: 0,
            safe: 0,
            out: VecDeque::new(),
            last_tag: 0,
            assignment: Assignment::Needed,
            ended: None,
        };
        Intake {
            inner: Mutex::new(inner),
            stage,
            nobody: no_device(),
            session,
            readable: Notify::new(),
            reading: watch::Sender::new(true),
            serves: watch::Sender::new(false),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // The connections' side.

    /// Puts in what has arrived from one connection, in order; leaves `drafts` empty.
    pub(crate) fn put(&self, drafts: &mut Vec<Draft>, from: &Arc<Peer>, now: Timestamp) {
        if drafts.is_empty() {
            return;
        }
        let (full, found) = self.with(|inner| {
            let before = inner.queue.len();
            for draft in drafts.drain(..) {
                inner.produced += 1;
                let origin = Origin {
                    slot: SLOT,
                    slot_session: self.session,
                    delivery: inner.produced,
                    packet_id: draft.packet_id.unwrap_or_default(),
                    payload_hash: draft.payload_hash,
                };
                let owed = draft.packet_id.map(|_| from.clone());
                let id = inner.ids.next(now);
                let item = self.item(draft, id, origin, now);
                inner.bytes += item.weight();
                inner.queue.push_back(Entry { item, owed });
            }
            let reached = |count: usize| before < count && inner.queue.len() >= count;
            (inner.level() == Level::Full, reached(1) || reached(WORTH_WHILE))
        });
        if full {
            self.reading.send_replace(false);
        }
        // Between these two the reader waits for something else.
        if found {
            self.readable.notify_one();
        }
    }

    fn item(&self, draft: Draft, id: EventId, origin: Origin, now: Timestamp) -> Item {
        let device = draft.device.unwrap_or_else(|| self.nobody.clone());
        let sent = draft.sent;
        let mut record = Record::new(id, device, draft.kind, draft.payload, now);
        record.origin = Some(origin);
        record.sent = sent;
        match draft.unfit {
            None => Item::Record(record),
            Some((why, topic)) => {
                let why = DeadReason {
                    reason: why.reason,
                    detail: why.detail.into(),
                    stage: self.stage.clone(),
                    attempts: 1,
                    source: topic.into(),
                };
                Item::Rejected(RejectedRecord { record, why })
            }
        }
    }

    /// How full it is.
    pub(crate) fn level(&self) -> Level {
        self.with(|inner| inner.level())
    }

    /// Whether anybody is read, to be watched.
    pub(crate) fn reading(&self) -> watch::Receiver<bool> {
        self.reading.subscribe()
    }

    // The listener's side.

    /// Devices are heard from now on.
    pub(crate) fn serves(&self) {
        self.serves.send_replace(true);
    }

    /// The number of the message that has waited longest for its acknowledgement.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.with(|inner| (inner.safe < inner.produced).then_some(inner.safe + 1))
    }

    /// Puts in a mark; one that directly follows another prolongs it, so that marks never pile up.
    pub(crate) fn put_mark(&self, span: Span) {
        self.with(|inner| {
            if let Some(Entry { item: Item::Mark(last), .. }) = inner.queue.back_mut()
                && last.span.time == span.since
            {
                last.span.time = span.time;
                return;
            }
            let id = inner.ids.next(span.time);
            let item = Item::Mark(Mark { id, slot: SLOT, slot_session: self.session, span });
            inner.bytes += item.weight();
            inner.queue.push_back(Entry { item, owed: None });
        });
        self.readable.notify_one();
    }

    /// Nothing more is read from here. The first word counts. `rebuild`: why the source is to be built again.
    pub(crate) fn end(&self, rebuild: Option<&'static str>) {
        self.with(|inner| {
            inner.ended.get_or_insert(rebuild);
        });
        self.readable.notify_one();
    }

    // The reader's side.

    /// Takes out what is there, up to `max_records`. One who is `patient` leaves a few records for more to gather: devices
    /// send one by one, and each turn through the engine to the disk and back costs the same for one record as for a
    /// hundred.
    pub(crate) fn take(&self, max_records: usize, patient: bool) -> Found {
        let (found, room) = self.with(|inner| {
            if let Some(ended) = &inner.ended {
                return (Found::Event(ending(*ended)), false);
            }
            if inner.assignment != Assignment::Done {
                let ask = inner.assignment == Assignment::Needed;
                inner.assignment = Assignment::Asked;
                return (if ask { Found::Unassigned } else { Found::Nothing }, false);
            }
            if inner.queue.is_empty() {
                return (Found::Nothing, false);
            }
            if patient && inner.queue.len() < WORTH_WHILE.min(max_records) {
                return (Found::Few, false);
            }
            let batch = inner.batch(max_records.max(1));
            (Found::Event(Ok(SourceEvent::Batch(batch))), inner.level() == Level::Open)
        });
        if room {
            self.reading.send_if_modified(|reading| !std::mem::replace(reading, true));
        }
        found
    }

    /// Returns when [`Intake::take`] may find something. Safe to cancel.
    pub(crate) async fn readable(&self) {
        self.readable.notified().await;
    }

    /// Returns when devices are heard, for the first time.
    pub(crate) fn serving(&self) -> impl Future<Output = ()> + use<> {
        let mut serves = self.serves.subscribe();
        async move {
            // Without its sender there is nobody left to serve, and reading says why.
            let _ = serves.wait_for(|serves| *serves).await;
        }
    }

    /// The engine has assigned the partition.
    pub(crate) fn assigned(&self) {
        self.with(|inner| inner.assignment = Assignment::Done);
    }

    // The acker's side.

    /// These batches, and all handed out before them, are safe.
    pub(crate) fn acknowledge(&self, tags: impl IntoIterator<Item = u64>) {
        let Some(last) = tags.into_iter().max() else { return };
        let safe: Vec<Out> = self.with(|inner| {
            let done = inner.out.iter().take_while(|out| out.tag <= last).count();
            let safe: Vec<Out> = inner.out.drain(..done).collect();
            inner.safe = safe.last().map_or(inner.safe, |out| out.last);
            safe
        });
        for (peer, count) in safe.into_iter().flat_map(|out| out.owed) {
            peer.add_safe(count);
        }
    }
}

impl Inner {
    fn level(&self) -> Level {
        let above = |room: Room| self.queue.len() >= room.records || self.bytes >= room.bytes;
        match () {
            () if above(HARD) => Level::Full,
            () if above(SOFT) => Level::High,
            () => Level::Open,
        }
    }

    fn batch(&mut self, max_records: usize) -> SourceBatch {
        let count = self.queue.len().min(max_records);
        let mut batch = SourceBatch { partition: PARTITION, previous: Previous::new(), ..SourceBatch::default() };
        batch.records.reserve_exact(count);
        let mut last = self.out.back().map_or(self.safe, |out| out.last);
        let mut owed: Vec<(Arc<Peer>, u64)> = Vec::new();
        for Entry { item, owed: owed_to } in self.queue.drain(..count) {
            self.bytes -= item.weight();
            match item {
                Item::Record(record) => batch.records.push(record),
                Item::Rejected(rejected) => batch.rejected.push(rejected),
                Item::Mark(mark) => {
                    batch.records.push(mark.record());
                    continue;
                }
            }
            last += 1;
            if let Some(peer) = owed_to {
                // What one connection sends comes in runs.
                match owed.last_mut() {
                    Some((same, count)) if Arc::ptr_eq(same, &peer) => *count += 1,
                    _ => owed.push((peer, 1)),
                }
            }
        }
        self.last_tag += 1;
        batch.tag = self.last_tag;
        self.out.push_back(Out { tag: batch.tag, last, owed });
        batch
    }
}

impl Item {
    fn weight(&self) -> usize {
        match self {
            Item::Record(record) => record.weight(),
            Item::Rejected(rejected) => rejected.record.weight() + rejected.why.source.len(),
            Item::Mark(_) => std::mem::size_of::<Item>(),
        }
    }
}

fn ending(rebuild: Option<&str>) -> Result<SourceEvent, SourceError> {
    match rebuild {
        None => Ok(SourceEvent::End),
        Some(why) => Err(SourceError::Unavailable(why.to_owned())),
    }
}

#[cfg(test)]
mod tests;
