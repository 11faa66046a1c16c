//! Whether reading gets on: the lag of every partition, and the watchdog for a consumer that stopped without a word.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaResult;
use telemill_engine::position::Partition;

use super::cluster;
use super::group::Member;
use super::setup::Setup;
use super::shared::{Progress, Shared};

/// How long a partition may give nothing although there is something to read.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long before the client has to show that it sees its brokers.
const DOUBTED: Duration = Duration::from_secs(4);

/// What to think of the reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It gets on, or there is nothing to read.
    Well,
    /// Something gives nothing, or nothing is read: the brokers may be gone, or the client may think so.
    Doubted,
    /// What stands still, and where.
    Stalled(String),
}

/// What was seen of each topic of each partition.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<(Partition, usize), Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    progress: Progress,
    /// Since when there is something to read and nothing comes.
    since: Instant,
}

impl Watch {
    /// Looks at every partition being read. Blocks.
    pub(super) fn look(&mut self, member: &Member, shared: &Shared) -> KafkaResult<Standing> {
        let setup = &shared.setup;
        let standing = shared.standing();
        let partitions: Vec<_> = standing.iter().map(|(partition, ..)| *partition).collect();
        self.forget_others(setup, &partitions);
        if partitions.is_empty() {
            // The group may have none for this member, or is being joined by a client that sees no broker.
            return Ok(Standing::Doubted);
        }
        let ends = cluster::ends(member, setup, &partitions)?;
        let now = Instant::now();
        let mut all = Standing::Well;
        for ((partition, progress, done), ends) in standing.into_iter().zip(ends) {
            for (topic, ((progress, done), end)) in progress.into_iter().zip(done).zip(ends).enumerate() {
                lag(setup, topic, partition, (end - done).max(0));
                let idle = self.idle((partition, topic), progress, end, now);
                if idle >= PATIENCE {
                    let name = &setup.topics[topic].name;
                    all = Standing::Stalled(format!(
                        "no message of topic `{name}` partition {partition} for {PATIENCE:?}, although it ends at {end} \
                         and was read up to {}",
                        progress.read
                    ));
                } else if idle >= DOUBTED && all == Standing::Well {
                    all = Standing::Doubted;
                }
            }
        }
        Ok(all)
    }

    /// For how long there has been something to read and nothing came.
    fn idle(&mut self, key: (Partition, usize), progress: Progress, end: i64, now: Instant) -> Duration {
        let seen = self.seen.entry(key).or_insert(Seen { progress, since: now });
        if progress != seen.progress || progress.read >= end || !progress.hungry {
            *seen = Seen { progress, since: now };
        }
        now.duration_since(seen.since)
    }

    fn forget_others(&mut self, setup: &Setup, partitions: &[Partition]) {
        self.seen.retain(|(partition, topic), _| {
            let is_ours = partitions.contains(partition);
            if !is_ours {
                lag(setup, *topic, *partition, 0);
            }
            is_ours
        });
    }
}

fn lag(setup: &Setup, topic: usize, partition: Partition, records: i64) {
    metrics::gauge!(
        "telemill_kafka_lag_records",
        "topology" => setup.topology.to_string(),
        "stage" => setup.stage.to_string(),
        "topic" => setup.topics[topic].name.to_string(),
        "partition" => partition.to_string(),
    )
    .set(records as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hungry_partition_with_something_to_read_stands_still() {
        let start = Instant::now();
        let check = |looks: &[(u64, Progress, i64)], expect: bool| {
            let mut watch = Watch::default();
            let mut stalled = false;
            for (after, progress, end) in looks {
                let now = start + Duration::from_secs(*after);
                stalled = watch.idle((0, 0), *progress, *end, now) >= PATIENCE;
            }
            assert_eq!(stalled, expect, "{looks:?}");
        };
        let hungry = |read| Progress { read, hungry: true };
        let full = |read| Progress { read, hungry: false };
        check(&[(0, hungry(5), 10)], false);
        check(&[(0, hungry(5), 10), (29, hungry(5), 10)], false);
        check(&[(0, hungry(5), 10), (30, hungry(5), 10)], true);
        check(&[(0, hungry(5), 10), (20, hungry(6), 10), (40, hungry(6), 10)], false);
        check(&[(0, full(5), 10), (40, full(5), 10), (60, hungry(5), 10)], false);
        check(&[(0, hungry(5), 5), (40, hungry(5), 5)], false);
        check(&[(0, hungry(5), 5), (40, hungry(5), 5), (45, hungry(5), 6), (69, hungry(5), 6)], false);
        check(&[(0, hungry(5), 5), (40, hungry(5), 5), (45, hungry(5), 6), (70, hungry(5), 7)], true);
    }
}
