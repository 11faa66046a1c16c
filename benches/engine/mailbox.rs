//! A batch from one stage to the next: through a mailbox on one thread, and from thread to thread with several on the
//! way, as between arbiters.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::FutureExt;
use telemill_engine::ack::Guards;
use telemill_engine::batch::Batch;
use telemill_engine::metrics::StageMetrics;
use telemill_engine::runtime::{Capacity, Mailbox, MailboxSender, mailbox};

use crate::fleet::{BATCH, Fleet};

/// Batches on the way between two threads.
const ON_THE_WAY: [usize; 2] = [1, 8];

fn roomy() -> (MailboxSender, Mailbox) {
    mailbox(Capacity::default(), StageMetrics::detached("bench"))
}

fn batch() -> Batch {
    let records = Fleet::new(1000).batches(1).remove(0);
    Batch::new(0, records, Guards::none())
}

/// Criterion's benchmarks.
pub fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(30);
    group.bench_function("one thread", |bencher| {
        let (sender, mailbox) = roomy();
        let mut on_the_way = Some(batch());
        bencher.iter(|| {
            let batch = on_the_way.take().expect("it has come back");
            sender.send(batch).now_or_never().expect("there is room").expect("the mailbox is open");
            on_the_way = mailbox.try_receive().map(|delivery| delivery.batch);
        });
    });
    for count in ON_THE_WAY {
        group.bench_function(BenchmarkId::new("two threads, batches on the way", count), |bencher| {
            bencher.iter_custom(|hops| circulate(count, hops));
        });
    }
    group.finish();
}

/// Sends batches from one thread to another and back until there were so many hops; how long that took.
fn circulate(count: usize, hops: u64) -> Duration {
    let ((to_other, other), (to_this, this)) = (roomy(), roomy());
    let echo = std::thread::spawn(move || {
        on_a_thread(async move {
            while let Some(delivery) = other.receive().await {
                if to_this.send(delivery.batch).await.is_err() {
                    return;
                }
            }
        });
    });
    let took = on_a_thread(async move {
        let batches: Vec<Batch> = (0..count).map(|_| batch()).collect();
        let started = std::time::Instant::now();
        let rounds = hops.div_ceil(2).max(count as u64);
        for batch in batches {
            to_other.send(batch).await.expect("the other thread listens");
        }
        for round in 0..rounds {
            let delivery = this.receive().await.expect("the other thread answers");
            if round + (count as u64) < rounds {
                to_other.send(delivery.batch).await.expect("the other thread listens");
            }
        }
        started.elapsed().mul_f64(hops as f64 / (2 * rounds) as f64)
    });
    echo.join().expect("it ended in order");
    took
}

fn on_a_thread<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without I/O needs nothing from the system").block_on(future)
}
