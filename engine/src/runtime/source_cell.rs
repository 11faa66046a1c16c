//! The actor of a source.
//!
//! It reads while there is room downstream and acknowledges in the order of reading, each without waiting for the
//! other. A batch that somebody let go of is given back to the source, which reads its partition again from there and
//! says so with a new assignment.
//!
//! A source that is rebuilt first waits until everything it had given out is resolved, so that what it finds written
//! downstream is complete when it decides what to read again.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{BoxFuture, Either, FutureExt, select};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::ack::Guards;
use crate::batch::Batch;
use crate::erased::{DynAcker, DynReader, DynSource};
use crate::faults;
use crate::metrics::{StageMetrics, StageTime};
use crate::position::{Cursor, Partition};
use crate::record::{Reason, Record};
use crate::registry::Factory;
use crate::source::{RejectedRecord, ResumeAt, SourceBatch, SourceError, SourceEvent};
use crate::stage::Outlet;

use super::ack_book::AckBook;
use super::cell::{Cell, ExitReason, StageCommon};
use super::outlet::Wires;
use super::sink_cell::SinkRequest;
use super::status::StageState;

/// The shards that hang on a source, as the source sees them.
pub trait ShardControl: Send + Sync {
    /// Opens the shard of a partition from its checkpoint and leads the partition's batches to it; the cursor up to
    /// which it has everything. A shard that was open is closed first. `partitions`: how many the source has.
    fn open(&self, partition: Partition, partitions: u32) -> BoxFuture<'_, Result<Cursor, String>>;
    /// Closes the shard of a partition: returns once it has dealt with everything it was sent, and everything that it
    /// sent is resolved.
    fn close(&self, partition: Partition) -> BoxFuture<'_, ()>;
}

/// A sink that hangs on a source.
#[derive(Clone)]
pub struct Follower {
    /// Asks it.
    pub ask: mpsc::Sender<SinkRequest>,
    /// Whether another stage stands between. That may have made several records of one, and a sink that has one of
    /// them cannot tell whether it has all.
    pub is_indirect: bool,
}

/// What hangs on a source and may keep positions.
#[derive(Clone, Default)]
pub struct Followers {
    /// The sinks fed by it, directly or through other stages.
    pub sinks: Vec<Follower>,
    /// The keyed stages fed by it.
    pub shards: Option<Arc<dyn ShardControl>>,
}

/// A source's part that survives its actor.
pub struct SourceCell {
    common: StageCommon,
    factory: Arc<dyn Factory<DynSource>>,
    wires: Wires,
    followers: Followers,
    stop: watch::Receiver<bool>,
    book: AckBook,
    /// Behind what each partition was begun, as far as it has not been read since.
    begun: BTreeMap<Partition, Cursor>,
    /// Everything was read: what hangs on the source has seen the end, and nothing may be read again in this life.
    read_ended: bool,
}

/// How a source's two halves came to their end.
enum End {
    /// There is nothing more to read, or it was told to stop.
    Read,
    /// The other side is gone.
    Unavailable(String),
    /// No going on.
    Broken(String),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> End {
        match error {
            SourceError::Unavailable(why) => End::Unavailable(why),
            SourceError::Broken(why) => End::Broken(why),
        }
    }
}

impl SourceCell {
    /// A source that feeds `wires` until `stop` turns true.
    pub fn new(
        common: StageCommon,
        factory: Arc<dyn Factory<DynSource>>,
        wires: Wires,
        followers: Followers,
        stop: watch::Receiver<bool>,
    ) -> Self {
        SourceCell {
            common,
            factory,
            wires,
            followers,
            stop,
            book: AckBook::default(),
            begun: BTreeMap::new(),
            read_ended: false,
        }
    }

    async fn run(&mut self) -> ExitReason {
        let mut backoff = self.common.backoff();
        loop {
            self.book.all_resolved().await;
            self.book.clear();
            if self.read_ended {
                // What it could not acknowledge any more is read again by the next owner.
                return ExitReason::Drained;
            }
            let factory = self.factory.clone();
            let mut stop = self.stop.clone();
            let built = {
                let build = pin!(self.common.construct(&*factory));
                let stopped = pin!(stop.wait_for(|stop| *stop));
                match select(stopped, build).await {
                    Either::Right((built, _)) => built,
                    Either::Left(_) => {
                        self.wires.disconnect();
                        return ExitReason::Drained;
                    }
                }
            };
            let (reader, acker) = match built {
                Ok(source) => source,
                Err(exit) => return exit,
            };
            match self.flow(reader, acker).await {
                End::Read => return ExitReason::Drained,
                End::Broken(why) => return ExitReason::Broken(why),
                End::Unavailable(why) => {
                    self.common.wait(&mut backoff, Reason("unavailable"), &why, None).await;
                }
            }
        }
    }

    /// Reads and acknowledges until there is no more to do.
    async fn flow(&mut self, mut reader: Box<dyn DynReader>, mut acker: Box<dyn DynAcker>) -> End {
        let SourceCell { common, wires, followers, stop, book, begun, read_ended: ended, .. } = self;
        let read_ended = AtomicBool::new(false);
        let wake = Notify::new();
        begun.clear();
        let (serving, status) = (reader.serving(), common.status.clone());
        let announce = async move {
            serving.await;
            status.set(StageState::Running);
        };
        let partitions = reader.partitions();
        let mut reading = Reading { common, wires, followers, stop, book, begun, partitions };
        let result = {
            let read = pin!(async {
                let end = match select(pin!(reading.run(&mut *reader)), pin!(announce)).await {
                    Either::Left((end, _)) => end,
                    Either::Right(((), reading)) => reading.await,
                };
                if matches!(end, End::Read) {
                    // What hangs on the source sees its end, finishes, and so resolves what is out.
                    reading.wires.disconnect();
                    *ended = true;
                }
                read_ended.store(true, Ordering::Release);
                wake.notify_one();
                end
            });
            let acknowledge = pin!(acknowledge(book, &mut *acker, &read_ended, &wake));
            match select(read, acknowledge).await {
                Either::Left((End::Read, acknowledging)) => acknowledging.await,
                Either::Left((end, _)) => Err(end),
                Either::Right((Err(end), _)) => Err(end),
                Either::Right((Ok(()), read)) => Err(read.await),
            }
        };
        match result {
            Err(end) => end,
            Ok(()) => match acker.close().await {
                Ok(()) => End::Read,
                Err(error) => {
                    let (topology, stage) = (&self.common.cx.topology, &self.common.cx.stage);
                    tracing::warn!(code = "source_close", %topology, %stage, %error, "the source did not close cleanly; what it could not commit is read again");
                    End::Read
                }
            },
        }
    }
}

/// Acknowledges what is delivered until reading has ended and nothing is out.
async fn acknowledge(
    book: &AckBook,
    acker: &mut dyn DynAcker,
    read_ended: &AtomicBool,
    wake: &Notify,
) -> Result<(), End> {
    loop {
        let settled = book.settle();
        if !settled.delivered.is_empty() {
            faults::point("source.before_acknowledge");
            acker.acknowledge(settled.delivered).await?;
            faults::point("source.acknowledged");
        }
        for (partition, tag) in settled.let_go {
            acker.give_back(partition, tag).await?;
        }
        book.acknowledged();
        if read_ended.load(Ordering::Acquire) && book.outstanding() == 0 {
            // A guard may have resolved between the two looks; its outcome must not be left behind.
            let last = book.settle();
            if !last.delivered.is_empty() {
                acker.acknowledge(last.delivered).await?;
            }
            return Ok(());
        }
        let (changed, woken) = (pin!(book.changed()), pin!(wake.notified()));
        select(changed, woken).await;
    }
}

/// Records being handed on. The source may be stopped meanwhile: then they are given back.
struct Sending<'a> {
    metrics: &'a StageMetrics,
    records: usize,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if self.records > 0 {
            self.metrics.returned(Reason::STOPPED, self.records);
        }
    }
}

/// The reading half at work.
struct Reading<'a> {
    common: &'a StageCommon,
    wires: &'a mut Wires,
    followers: &'a Followers,
    stop: &'a mut watch::Receiver<bool>,
    book: &'a AckBook,
    begun: &'a mut BTreeMap<Partition, Cursor>,
    /// How many partitions the source has, whoever reads them.
    partitions: u32,
}

impl Reading<'_> {
    async fn run(&mut self, reader: &mut dyn DynReader) -> End {
        loop {
            let since = Instant::now();
            let event = {
                let next = reader.next(self.common.limits.max_records);
                let stopped = pin!(self.stop.wait_for(|stop| *stop));
                // The stop is looked at first: a source that always has more must still come to its end.
                match select(stopped, next).await {
                    Either::Left(_) => return End::Read,
                    Either::Right((event, _)) => event,
                }
            };
            self.common.metrics.spent(StageTime::Idle, since.elapsed());
            match event {
                Ok(SourceEvent::Batch(batch)) => self.give_out(batch).await,
                Ok(SourceEvent::Assigned { partitions, reply }) => {
                    let mut stop = self.stop.clone();
                    let stopped = pin!(stop.wait_for(|stop| *stop));
                    let assigned = pin!(self.assigned(partitions, reply));
                    match select(stopped, assigned).await {
                        Either::Left(_) => return End::Read,
                        Either::Right((Err(why), _)) => return End::Broken(why),
                        Either::Right((Ok(()), _)) => {}
                    }
                }
                Ok(SourceEvent::Revoked { partitions, done }) => self.revoked(partitions, done).await,
                Ok(SourceEvent::End) => return End::Read,
                Err(error) => return error.into(),
            }
        }
    }

    async fn give_out(&mut self, batch: SourceBatch) {
        let SourceBatch { partition, records, rejected, previous, tag } = batch;
        faults::point("source.batch");
        self.common.status.set(StageState::Running);
        let metrics = &self.common.metrics;
        metrics.received(records.len() + rejected.len());
        metrics.batch(records.len());
        let guard = self.book.enter(partition, tag);
        let mut dead = Vec::with_capacity(rejected.len());
        for RejectedRecord { record, why } in rejected {
            let reason = why.reason;
            let record = Record { dead: Some(Arc::new(why)), ..record };
            if !self.common.gave_up_before(&record) {
                metrics.dead_lettered(reason);
                dead.push(record);
            }
        }
        if !dead.is_empty() {
            self.common.dead_letters.bury(dead, guard.clone().into()).await;
        }
        let forwarded = records.len();
        if forwarded > 0 {
            let mut batch = Batch { partition, records, previous, guards: Guards::from(guard.clone()) };
            if let Some(begun) = self.begun.get_mut(&partition) {
                chain_to_the_beginning(begun, &mut batch);
            }
            let mut sending = Sending { metrics, records: forwarded };
            self.wires.send(Outlet::MAIN, batch).await;
            sending.records = 0;
            metrics.forwarded(forwarded);
        }
        guard.delivered();
    }

    async fn assigned(
        &mut self,
        partitions: Vec<Partition>,
        reply: oneshot::Sender<Vec<(Partition, ResumeAt)>>,
    ) -> Result<(), String> {
        let mut answers = Vec::with_capacity(partitions.len());
        faults::point("source.assigned");
        let mut asked = Vec::with_capacity(partitions.len());
        for partition in partitions {
            // Whatever is still on its way from an earlier assignment comes to its end first: it must not arrive
            // behind what is about to be read.
            if let Some(shards) = &self.followers.shards {
                shards.close(partition).await;
            }
            self.book.is_quiet(partition).await;
            self.book.begin(partition);
            asked.push((partition, self.ask_sinks(partition).await?));
        }
        if self.followers.shards.is_some() || asked.iter().any(|(_, lowest)| lowest.is_some()) {
            self.read_letters_back().await;
        }
        for (partition, lowest) in asked {
            // Last: a shard whose time is the wall clock's must not stand open while somebody is waited for.
            let at = self.resume(partition, lowest).await?;
            self.begun.remove(&partition);
            if let ResumeAt::Behind(cursor) = &at {
                self.begun.insert(partition, cursor.clone());
            }
            answers.push((partition, at));
        }
        faults::point("source.resumed");
        // The source may have lost the partitions meanwhile; then nobody waits for the answer.
        let _ = reply.send(answers);
        Ok(())
    }

    /// The lowest position of the sinks that hang on this source, if any of them keeps one.
    async fn ask_sinks(&self, partition: Partition) -> Result<Option<Cursor>, String> {
        let mut lowest: Option<Cursor> = None;
        for sink in &self.followers.sinks {
            let cursor = loop {
                let (reply, answer) = oneshot::channel();
                if sink.ask.send(SinkRequest::Resume { partition, reply }).await.is_err() {
                    return Err("a sink ended before its source".to_owned());
                }
                // A sink that is restarted between question and answer is asked again.
                if let Ok(cursor) = answer.await {
                    break cursor;
                }
            };
            if let Some(mut cursor) = cursor {
                // The last one is read again; the guard skips what is there of it.
                cursor.0.iter_mut().for_each(|t| t.offset -= i64::from(sink.is_indirect));
                lowest = Some(lower(lowest, cursor));
            }
        }
        Ok(lowest)
    }

    /// The lowest position of everything that hangs on this source; `lowest`: of its sinks.
    async fn resume(&self, partition: Partition, mut lowest: Option<Cursor>) -> Result<ResumeAt, String> {
        if let Some(shards) = &self.followers.shards {
            lowest = Some(lower(lowest, shards.open(partition, self.partitions).await?));
        }
        if faults::mutant("seek_to_commit") {
            return Ok(ResumeAt::Committed);
        }
        Ok(lowest.map_or(ResumeAt::Committed, ResumeAt::Behind))
    }

    /// What was given up is not to be tried again. That matters where somebody knows how far it had come, and is asked
    /// when everything sent on from the partitions before is resolved, so that no letter is on its way.
    async fn read_letters_back(&self) {
        let StageCommon { dead_letters, cx, .. } = self.common;
        let mut backoff = self.common.backoff();
        loop {
            // Anew for each try: their stage may have been built again.
            let Some(letters) = cx.ports.letters().filter(|_| !faults::mutant("forget_letters")) else { return };
            let Err(why) = dead_letters.before.read_back(&*letters, &cx.topology).await else { break };
            let why = format!("the dead letters cannot be read back: {why}");
            self.common.wait(&mut backoff, Reason("unavailable"), &why, None).await;
        }
        if backoff.failures() > 0 {
            self.common.goes_on(&mut backoff);
            self.common.status.set(StageState::Running);
        }
    }

    async fn revoked(&mut self, partitions: Vec<Partition>, done: oneshot::Sender<()>) {
        let mut done = done;
        {
            let given_up = pin!(async {
                for partition in &partitions {
                    if let Some(shards) = &self.followers.shards {
                        shards.close(*partition).await;
                    }
                    // The acknowledging half runs beside this one and tells the source; here it is only waited for.
                    self.book.is_quiet(*partition).await;
                }
            });
            select(given_up, pin!(done.closed())).await;
        }
        // A source that could not wait longer has dropped its end.
        let _ = done.send(());
    }
}

fn lower(so_far: Option<Cursor>, other: Cursor) -> Cursor {
    match so_far {
        None => other,
        Some(so_far) => so_far.lower(&other),
    }
}

/// The first records of a topic since its assignment are chained to where that began: everything before was there when
/// its sinks were asked, and a sink that has lost it since must notice. Nothing stands before the first record of a log.
fn chain_to_the_beginning(begun: &mut Cursor, batch: &mut Batch) {
    for position in batch.records.iter().filter_map(|r| r.position) {
        let Some(index) = begun.0.iter().position(|t| t.topic == position.topic) else { continue };
        let offset = begun.0.swap_remove(index).offset.min(position.offset - 1);
        if offset >= 0 && batch.previous.iter().all(|(topic, ..)| *topic != position.topic) {
            batch.previous.push((position.topic, offset, 0));
        }
    }
}

impl Cell for SourceCell {
    fn run(&mut self) -> BoxFuture<'_, ExitReason> {
        SourceCell::run(self).boxed()
    }

    fn common(&self) -> &StageCommon {
        &self.common
    }

    fn panicked(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Position, TopicId, TopicOffset};
    use crate::testing::record;

    #[test]
    fn the_first_batch_is_chained_to_where_it_began_unless_that_is_the_log_s_own_beginning() {
        let check = |begun: i64, first: i64, expect: Option<(i64, u32)>| {
            let topic = TopicId::default();
            let mut cursor = Cursor(vec![TopicOffset { topic, offset: begun }]);
            let at = |offset| Some(Position { offset, ..Position::default() });
            let records = (first..first + 3).map(|offset| Record { position: at(offset), ..record("d1", 0) });
            let mut batch = Batch::new(0, records.collect(), Guards::none());
            chain_to_the_beginning(&mut cursor, &mut batch);
            assert_eq!(batch.previous_in(topic), expect, "begun behind {begun}, read from {first}");
            assert!(cursor.0.is_empty(), "only the first batch is");
        };
        check(6, 7, Some((6, 0)));
        check(6, 9, Some((6, 0)));
        // The source's own commit was lower: what is read again is chained to what stands before it.
        check(6, 4, Some((3, 0)));
        check(6, 1, Some((0, 0)));
        check(6, 0, None);
        check(-1, 0, None);
    }
}
