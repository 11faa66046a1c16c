//! Where a stage's records go: from outlets to the mailboxes wired to them.
//!
//! The acknowledgement is cloned at every fan-out: each branch holds a share of its own. Batches on one outlet keep,
//! per partition and topic, the chain of previous positions, so that a sink behind a filtering stage still sees whether
//! something is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::ack::Guards;
use crate::batch::{Batch, Previous};
use crate::metrics::{StageMetrics, StageTime};
use crate::position::Partition;
use crate::record::Record;
use crate::stage::Outlet;

use super::mailbox::{Closed, MailboxSender};

/// Where one wire leads.
#[derive(Clone)]
pub enum Target {
    /// To the mailbox of a stage.
    Stage(MailboxSender),
    /// To the shard that hosts the batch's partition.
    Shards(Arc<ShardSwitch>),
}

/// The mailboxes of the shards of one source, by partition.
#[derive(Default)]
pub struct ShardSwitch(Mutex<BTreeMap<Partition, MailboxSender>>);

impl ShardSwitch {
    /// Leads a partition to a shard's mailbox.
    pub fn connect(&self, partition: Partition, sender: MailboxSender) {
        self.lock().insert(partition, sender);
    }

    /// Takes a partition's shard off; its mailbox closes once what was sent is received.
    pub fn disconnect(&self, partition: Partition) {
        self.lock().remove(&partition);
    }

    /// Takes all shards off.
    pub fn disconnect_all(&self) {
        self.lock().clear();
    }

    fn get(&self, partition: Partition) -> Option<MailboxSender> {
        self.lock().get(&partition).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Partition, MailboxSender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    async fn send(&self, batch: Batch) -> Result<(), Closed> {
        match self {
            Target::Stage(sender) => sender.send(batch).await,
            Target::Shards(switch) => match switch.get(batch.partition) {
                Some(sender) => sender.send(batch).await,
                None => Err(Closed),
            },
        }
    }
}

/// The wires of one stage, by outlet.
pub struct Wires {
    outlets: Vec<WiredOutlet>,
    /// What was received last, by partition and topic.
    received: BTreeMap<Partition, Previous>,
    metrics: Arc<StageMetrics>,
}

struct WiredOutlet {
    name: String,
    targets: Vec<Target>,
    last: BTreeMap<Partition, Previous>,
}

impl Wires {
    /// Wires in the order of the outlets, the main one first.
    pub fn new(outlets: Vec<(String, Vec<Target>)>, metrics: Arc<StageMetrics>) -> Self {
        let wired = |(name, targets)| WiredOutlet { name, targets, last: BTreeMap::new() };
        Wires { outlets: outlets.into_iter().map(wired).collect(), received: BTreeMap::new(), metrics }
    }

    /// Sends a batch as it is to everything on an outlet, waiting for room. Where nothing is wired the records end here
    /// and count as delivered. A branch whose stage is gone lets go of its share: not delivered.
    pub async fn send(&self, outlet: Outlet, batch: Batch) {
        let Some((last, others)) = self.outlets.get(usize::from(outlet.0)).and_then(|o| o.targets.split_last()) else {
            return batch.guards.delivered();
        };
        let started = Instant::now();
        for target in others {
            let copy = Batch {
                partition: batch.partition,
                records: batch.records.clone(),
                previous: batch.previous.clone(),
                guards: batch.guards.share(),
            };
            let _gone = target.send(copy).await;
        }
        let _gone = last.send(batch).await;
        self.metrics.spent(StageTime::Backpressured, started.elapsed());
    }

    /// Makes a batch of records that this stage made and sends it, chained to what it sent before on this outlet.
    ///
    /// Several records made out of one get positions of their own: each the next output index, so that a sink's guard
    /// can tell them apart, and the same ones on every replay.
    pub async fn send_made(&mut self, outlet: Outlet, partition: Partition, records: Vec<Record>, guards: Guards) {
        let Some(wired) = self.outlets.get_mut(usize::from(outlet.0)) else {
            return guards.delivered();
        };
        self.metrics.produced(&wired.name, records.len());
        let chain = wired.last.entry(partition).or_default();
        let mut batch = Batch::new(partition, records, guards);
        batch.previous = chain.clone();
        for position in batch.records.iter_mut().filter_map(|r| r.position.as_mut()) {
            match chain.iter_mut().find(|(topic, ..)| *topic == position.topic) {
                Some((_, offset, output)) => {
                    if *offset == position.offset {
                        position.output = position.output.max(output.saturating_add(1));
                    }
                    (*offset, *output) = (position.offset, position.output);
                }
                None => chain.push((position.topic, position.offset, position.output)),
            }
        }
        self.send(outlet, batch).await;
    }

    /// A batch was received. A topic in it that begins behind what was received last is read anew, from an earlier
    /// place: its chains begin anew there, too.
    pub fn follow(&mut self, batch: &Batch) {
        let received = self.received.entry(batch.partition).or_default();
        for position in batch.records.iter().filter_map(|r| r.position) {
            let at = (position.topic, position.offset, position.output);
            let last = received.iter_mut().find(|(topic, ..)| *topic == position.topic);
            let goes_on = last.as_ref().is_some_and(|last| (last.1, last.2) < (at.1, at.2));
            match last {
                Some(last) => *last = at,
                None => received.push(at),
            }
            if goes_on {
                continue;
            }
            for chain in self.outlets.iter_mut().map(|o| o.last.entry(batch.partition).or_default()) {
                chain.retain(|(topic, ..)| *topic != position.topic);
                // All that was made of what stands before is in every store behind this stage, because the source begins
                // one record before what any of them has (`is_indirect`): one that has less has lost it since.
                let before = batch.previous_in(position.topic);
                chain.extend(before.map(|(offset, _)| (position.topic, offset, u32::MAX)));
            }
        }
    }

    /// Lets go of all mailboxes, so that the stages behind see the end.
    pub fn disconnect(&mut self) {
        for outlet in &mut self.outlets {
            for target in outlet.targets.drain(..) {
                if let Target::Shards(switch) = target {
                    switch.disconnect_all();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Position, TopicId};
    use crate::record::Record;
    use crate::testing::record;

    const TOPIC: TopicId = TopicId(uuid::Uuid::nil());

    fn batch(offsets: &[i64], previous: &[(i64, u32)]) -> Batch {
        let at = |offset: &i64| Position { topic: TOPIC, offset: *offset, ..Position::default() };
        let records = offsets.iter().map(|offset| Record { position: Some(at(offset)), ..record("d1", 0) });
        let mut batch = Batch::new(0, records.collect(), Guards::none());
        batch.previous = previous.iter().map(|(offset, output)| (TOPIC, *offset, *output)).collect();
        batch
    }

    fn chain(wires: &Wires) -> Vec<(i64, u32)> {
        let chain = wires.outlets[0].last.get(&0).into_iter().flatten();
        chain.map(|(_, offset, output)| (*offset, *output)).collect()
    }

    #[tokio::test]
    async fn what_is_made_is_chained_to_all_that_was_made_before() {
        let mut wires = Wires::new(vec![("".to_owned(), Vec::new())], StageMetrics::detached("test"));
        let read = batch(&[7], &[(6, 0)]);
        wires.follow(&read);
        assert_eq!(chain(&wires), [(6, u32::MAX)], "whatever was made of the record before");
        wires.send_made(Outlet::MAIN, 0, batch(&[7, 7], &[]).records, Guards::none()).await;
        assert_eq!(chain(&wires), [(7, 1)]);
        wires.follow(&batch(&[8], &[(7, 0)]));
        assert_eq!(chain(&wires), [(7, 1)], "what is known stays known");
        wires.follow(&batch(&[5], &[(4, 0)]));
        assert_eq!(chain(&wires), [(4, u32::MAX)], "read anew from an earlier place");
        wires.follow(&batch(&[0], &[]));
        assert_eq!(chain(&wires), [], "nothing stands before the first record of a log");
    }
}
