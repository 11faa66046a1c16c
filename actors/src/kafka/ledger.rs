//! What a producer has in flight, and what hangs on it. Pure: no client, no clock, no lock.
//!
//! Records go to the client in order and are reported back in any. The ledger keeps them as a sequence of *items*:
//!
//! - a *run*: records of one batch that were sent one after the other;
//! - a *mark*: a proof of life between two runs (`docs/formats.md`, "Time"). It may be written once every run before it
//!   is reported, and does not hold up what comes behind it;
//! - a *fence*: somebody who wants to know when everything before it is settled.
//!
//! The *barrier* moves over the sequence as far as everything is reported. What has passed it gives the offsets that a
//! mark carries, and tells the next life of a failed producer from where to look for what was written unreported.
//!
//! A batch is answered when all its items are. A failure that is nobody's record's fault freezes the ledger: every open
//! batch is answered fatal, and nothing new is taken, because what was sent behind the failure must not be counted
//! before what failed is written again.

use std::collections::{BTreeMap, HashMap, VecDeque};

use telemill_engine::record::{EventId, Reason};
use telemill_engine::sink::{Rejection, Submitted};
use tokio::sync::oneshot;

use crate::log::mark::Alive;

/// A topic that a producer writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) topic: String,
    pub(crate) partitions: i32,
}

/// A batch that has been begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BatchKey(u64);

/// An item of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ItemKey(pub(crate) u32);

/// A mark whose turn has come.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DueMark {
    pub(crate) item: ItemKey,
    pub(crate) id: EventId,
    pub(crate) alive: Alive,
    /// By partition: the last offset delivered to each topic before the mark.
    pub(crate) delivered: Vec<BTreeMap<String, i64>>,
}

enum Item {
    Run(Run),
    Mark { batch: BatchKey, id: EventId, alive: Alive, outstanding: i64 },
    Fence(Option<oneshot::Sender<()>>),
}

struct Run {
    batch: BatchKey,
    /// Sent and not reported. Below zero while reports come in for a run that is still being sent.
    outstanding: i64,
    state: RunState,
    highest: Offsets,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RunState {
    Sending,
    Sent,
    Reported,
}

struct OpenBatch {
    items: usize,
    open: bool,
    rejected: Vec<Rejection>,
    answer: oneshot::Sender<Submitted>,
}

/// The highest offset by topic and partition; -1 where there is none. Allocated at the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offsets(Vec<i64>);

/// See the module.
pub(crate) struct Ledger {
    targets: Vec<Target>,
    /// Where each topic's partitions begin in an [`Offsets`]; one more at the end.
    starts: Vec<usize>,
    mark_partitions: i32,
    items: VecDeque<Item>,
    first: u32,
    /// How many items, from the first on, the barrier has passed.
    passed: usize,
    passed_offsets: Offsets,
    due: VecDeque<DueMark>,
    batches: HashMap<BatchKey, OpenBatch>,
    next_batch: u64,
    frozen: Option<String>,
    left_something: bool,
}

impl Ledger {
    /// An empty ledger. `before`: what an earlier life of the same producer had passed.
    pub(crate) fn new(targets: Vec<Target>, mark_partitions: i32, before: Offsets) -> Self {
        let mut starts = vec![0];
        starts.extend(targets.iter().scan(0, |sum, target| {
            *sum += usize::try_from(target.partitions).unwrap_or(0);
            Some(*sum)
        }));
        Ledger {
            targets,
            starts,
            mark_partitions,
            items: VecDeque::new(),
            first: 0,
            passed: 0,
            passed_offsets: before,
            due: VecDeque::new(),
            batches: HashMap::new(),
            next_batch: 0,
            frozen: None,
            left_something: false,
        }
    }

    /// A batch comes. On a frozen ledger it is answered at once, and the reason is the error.
    pub(crate) fn begin(&mut self, answer: oneshot::Sender<Submitted>) -> Result<BatchKey, String> {
        if let Some(why) = &self.frozen {
            tell(answer, Submitted::Fatal(why.clone()));
            return Err(why.clone());
        }
        let key = BatchKey(self.next_batch);
        self.next_batch += 1;
        self.batches.insert(key, OpenBatch { items: 0, open: true, rejected: Vec::new(), answer });
        Ok(key)
    }

    /// Records of this batch are about to be sent, one after the other.
    pub(crate) fn open_run(&mut self, batch: BatchKey) -> ItemKey {
        let run = Run { batch, outstanding: 0, state: RunState::Sending, highest: Offsets::default() };
        self.push(Some(batch), Item::Run(run))
    }

    /// So many records of the run were sent; there will be no more.
    pub(crate) fn close_run(&mut self, key: ItemKey, sent: usize) {
        if let Some(Item::Run(run)) = self.item(key) {
            run.outstanding += sent as i64;
            run.state = RunState::Sent;
            self.reported(key);
        }
    }

    /// A mark comes next in this batch.
    pub(crate) fn mark(&mut self, batch: BatchKey, id: EventId, alive: Alive) {
        let outstanding = i64::from(self.mark_partitions);
        self.push(Some(batch), Item::Mark { batch, id, alive, outstanding });
        self.advance();
    }

    /// A record of this batch is at fault and was not sent.
    pub(crate) fn reject(&mut self, batch: BatchKey, index: usize, reason: Reason, detail: String) {
        if let Some(batch) = self.batches.get_mut(&batch) {
            batch.rejected.push(Rejection { index, reason, detail, permanent: true });
        }
    }

    /// All of the batch has been sent, rejected or left out.
    pub(crate) fn close_batch(&mut self, key: BatchKey) {
        if let Some(batch) = self.batches.get_mut(&key) {
            batch.open = false;
            self.answer_if_done(key);
        }
    }

    /// A record of a run, or a partition's copy of a mark, is durable.
    pub(crate) fn delivered(&mut self, key: ItemKey, topic: usize, partition: i32, offset: i64) {
        self.found(key, topic, partition, offset);
        match self.item(key) {
            Some(Item::Run(run)) => run.outstanding -= 1,
            Some(Item::Mark { outstanding, .. }) => *outstanding -= 1,
            _ => {}
        }
        self.reported(key);
    }

    /// A record of this run was not sent, because an earlier life had written it.
    pub(crate) fn found(&mut self, key: ItemKey, topic: usize, partition: i32, offset: i64) {
        let (place, places) = (self.place(topic, partition), self.places());
        if let (Some(Item::Run(run)), Some(place)) = (self.item(key), place) {
            run.highest.raise(place, places, offset);
        }
    }

    /// A record of a run was refused for what it is.
    pub(crate) fn refused(&mut self, key: ItemKey, index: usize, reason: Reason, detail: String) {
        if let Some(Item::Run(run)) = self.item(key) {
            run.outstanding -= 1;
            let batch = run.batch;
            self.reject(batch, index, reason, detail);
            self.reported(key);
        }
    }

    /// Nothing more can be trusted to arrive in order: every open batch has failed.
    pub(crate) fn freeze(&mut self, why: impl Into<String>) {
        if self.frozen.is_none() {
            self.frozen = Some(why.into());
        }
        let why = self.frozen.clone().unwrap_or_default();
        self.left_something |= !self.batches.is_empty();
        for (_, batch) in self.batches.drain() {
            tell(batch.answer, Submitted::Fatal(why.clone()));
        }
        // Reports that still come find nothing: their keys lie before the first.
        self.first = self.first.wrapping_add(self.items.len() as u32);
        self.items.clear();
        self.passed = 0;
        self.due.clear();
    }

    /// Why the ledger is frozen, if it is.
    pub(crate) fn frozen(&self) -> Option<&str> {
        self.frozen.as_deref()
    }

    /// The number of the oldest batch that is not answered.
    pub(crate) fn oldest_batch(&self) -> Option<u64> {
        self.batches.keys().map(|key| key.0).min()
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether a batch was open when the ledger froze, so that some of it may be in the log without an answer.
    pub(crate) fn left_something(&self) -> bool {
        self.left_something
    }

    /// Resolves when everything sent so far is settled; at once on a frozen ledger.
    pub(crate) fn fence(&mut self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        if self.frozen.is_none() {
            self.push(None, Item::Fence(Some(sender)));
            self.advance();
        }
        receiver
    }

    /// A mark whose turn has come and that nobody has taken yet.
    pub(crate) fn take_due_mark(&mut self) -> Option<DueMark> {
        self.due.pop_front()
    }

    /// Whether there is one.
    pub(crate) fn has_due_mark(&self) -> bool {
        !self.due.is_empty()
    }

    /// What the barrier has passed.
    pub(crate) fn passed_offsets(&self) -> &Offsets {
        &self.passed_offsets
    }

    /// The last offset that the barrier has passed in a partition.
    pub(crate) fn passed(&self, topic: usize, partition: i32) -> Option<i64> {
        self.place(topic, partition).and_then(|place| self.passed_offsets.get(place))
    }

    fn push(&mut self, batch: Option<BatchKey>, item: Item) -> ItemKey {
        if let Some(batch) = batch.and_then(|key| self.batches.get_mut(&key)) {
            batch.items += 1;
        }
        self.items.push_back(item);
        ItemKey(self.first.wrapping_add(self.items.len() as u32 - 1))
    }

    fn item(&mut self, key: ItemKey) -> Option<&mut Item> {
        self.items.get_mut(key.0.wrapping_sub(self.first) as usize)
    }

    fn place(&self, topic: usize, partition: i32) -> Option<usize> {
        let place = self.starts.get(topic)? + usize::try_from(partition).ok()?;
        (place < *self.starts.get(topic + 1)?).then_some(place)
    }

    fn places(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Acts on an item that may have been the last report's.
    fn reported(&mut self, key: ItemKey) {
        let batch = match self.item(key) {
            Some(Item::Run(run)) if run.outstanding == 0 && run.state == RunState::Sent => {
                run.state = RunState::Reported;
                run.batch
            }
            Some(Item::Mark { batch, outstanding: 0, .. }) => *batch,
            _ => return,
        };
        if let Some(open) = self.batches.get_mut(&batch) {
            open.items -= 1;
            self.answer_if_done(batch);
        }
        self.advance();
    }

    fn answer_if_done(&mut self, key: BatchKey) {
        let done = self.batches.get(&key).is_some_and(|batch| batch.items == 0 && !batch.open);
        if let Some(mut batch) = done.then(|| self.batches.remove(&key)).flatten() {
            batch.rejected.sort_by_key(|rejection| rejection.index);
            let answer = match batch.rejected.is_empty() {
                true => Submitted::Delivered,
                false => Submitted::Rejected { records: batch.rejected, others_applied: true },
            };
            tell(batch.answer, answer);
        }
    }

    /// Moves the barrier as far as it goes, and lets go of what is settled before it.
    fn advance(&mut self) {
        while let Some(item) = self.items.get_mut(self.passed) {
            match item {
                Item::Run(run) if run.state == RunState::Reported => self.passed_offsets.merge(&run.highest),
                Item::Run(_) => break,
                Item::Mark { id, alive, .. } => {
                    let (id, alive) = (*id, *alive);
                    let item = ItemKey(self.first.wrapping_add(self.passed as u32));
                    let delivered = (0..self.mark_partitions).map(|p| self.delivered_in(p)).collect();
                    self.due.push_back(DueMark { item, id, alive, delivered });
                }
                Item::Fence(asked) => {
                    if let Some(asked) = asked.take() {
                        // Whoever asked may have given up waiting.
                        let _ = asked.send(());
                    }
                }
            }
            self.passed += 1;
        }
        while self.passed > 0 && !matches!(self.items.front(), Some(Item::Mark { outstanding: 1.., .. })) {
            self.items.pop_front();
            self.first = self.first.wrapping_add(1);
            self.passed -= 1;
        }
    }

    fn delivered_in(&self, partition: i32) -> BTreeMap<String, i64> {
        let topics = self.targets.iter().enumerate();
        topics.filter_map(|(topic, target)| Some((target.topic.clone(), self.passed(topic, partition)?))).collect()
    }
}

impl Offsets {
    fn get(&self, place: usize) -> Option<i64> {
        self.0.get(place).copied().filter(|offset| *offset >= 0)
    }

    fn raise(&mut self, place: usize, places: usize, offset: i64) {
        if self.0.is_empty() {
            self.0 = vec![-1; places];
        }
        self.0[place] = self.0[place].max(offset);
    }

    fn merge(&mut self, other: &Offsets) {
        let places = other.0.len();
        other.0.iter().enumerate().filter(|(_, o)| **o >= 0).for_each(|(place, o)| self.raise(place, places, *o));
    }
}

fn tell(answer: oneshot::Sender<Submitted>, submitted: Submitted) {
    // Nobody waits for the answer of a batch whose stage is being rebuilt.
    let _ = answer.send(submitted);
}

#[cfg(test)]
mod tests;
