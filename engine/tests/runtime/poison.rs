//! A record that no stage can take goes to the dead letters after its attempts, and its neighbours follow in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use telemill_engine::batch::Batch;
use telemill_engine::position::{Position, TopicId};
use telemill_engine::record::{Reason, Record};
use telemill_engine::runtime::TopologyState;
use telemill_engine::sink::{Rejection, Submitted};
use telemill_engine::stage::StageError;
use telemill_engine::testing::fakes::{Collected, FakeSink, FakeSource, SinkStep, collector};
use telemill_engine::testing::{BASE, PlanBuilder, Sim, number_of, record};
use uuid::Uuid;

use super::common::*;

const BAD: [u64; 3] = [0, 21, 22];

fn is_bad(record: &Record) -> bool {
    record.dead.is_none() && BAD.contains(&number_of(record))
}

/// Runs 60 records through one stage. What the sink wrote, less the dead, and the dead letters.
fn through(
    stages: impl FnOnce(telemill_engine::testing::PlanBuilder, &Collected) -> telemill_engine::testing::PlanBuilder,
) -> (Vec<u64>, Vec<Record>) {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&source, 0..60, 8);
    source.end();
    let plan = stages(plan(&dead).stage("source", &[], gives(&source)), &written).build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        assert_eq!(deployment.ended().await, TopologyState::Ended);
        assert_balanced(&deployment.view());
        let stage = deployment.view().report().into_iter().find(|r| !r.ledger.dead_lettered.is_empty()).unwrap();
        assert_eq!(stage.ledger.dead_lettered.values().sum::<u64>(), 3);
        assert_eq!(ledger(&deployment.view(), "dead_letters").forwarded, 3);
    });
    assert_eq!(source.unacknowledged(), 0);
    (written.records().iter().filter(|r| r.dead.is_none()).map(number_of).collect(), dead.records())
}

fn expect((written, dead): (Vec<u64>, Vec<Record>), reason: Reason, attempts: u32) {
    let good: Vec<u64> = (0..60).filter(|n| !BAD.contains(n)).collect();
    assert_eq!(written, good);
    assert_eq!(dead.iter().map(number_of).collect::<Vec<_>>(), BAD);
    for record in dead {
        let why = record.dead.as_ref().unwrap();
        assert_eq!((why.reason, why.attempts), (reason, attempts), "{why:?}");
    }
}

#[test]
fn at_a_processor() {
    let at = |handle: fn(&Record) -> Result<(), StageError>| {
        through(|plan, written| plan.stage("p", &["source"], passes(handle)).stage("sink", &["p"], writes(written)))
    };
    expect(at(|r| if is_bad(r) { panic!("injected") } else { Ok(()) }), Reason::PANIC, 3);
    expect(
        at(|r| match is_bad(r) {
            true => Err(StageError::Reject { reason: Reason("bad"), detail: String::new(), permanent: false }),
            false => Ok(()),
        }),
        Reason("bad"),
        3,
    );
    expect(at(|r| if is_bad(r) { Err(StageError::reject(Reason("bad"), "")) } else { Ok(()) }), Reason("bad"), 1);
}

#[test]
fn at_a_sink_that_says_which_it_is() {
    let atomic = |b: &Batch| match FakeSink::reject(b, false, is_bad) {
        Some(rejected) => SinkStep::Answer(rejected),
        None => SinkStep::Write(Duration::ZERO),
    };
    expect(through(|p, w| p.stage("sink", &["source"], decides(w, 1, atomic))), Reason("bad"), 3);
}

#[test]
fn at_a_sink_that_applies_the_others() {
    at_a_sink_that_applies_the_others_in(1);
    // Two batches in flight are refused in part at the same time: what they had applied is not written again.
    at_a_sink_that_applies_the_others_in(4);
}

fn at_a_sink_that_applies_the_others_in(window: usize) {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&source, 0..60, 8);
    source.end();
    let into = written.clone();
    let decide = move |b: &Batch| match FakeSink::reject(b, true, is_bad) {
        Some(rejected) => {
            into.push(b.records.iter().filter(|r| !is_bad(r)).cloned().collect());
            SinkStep::Answer(rejected)
        }
        None => SinkStep::Write(Duration::ZERO),
    };
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("sink", &["source"], decides(&written, window, decide))
        .with(|sink| sink.limits.max_records = 8)
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        deployment.ended().await;
        assert_balanced(&deployment.view());
    });
    // This sink applies what it refuses in part at once and the rest a moment later: only how often counts here.
    let mut numbers = written.numbers();
    numbers.sort_unstable();
    expect((numbers, dead.records()), Reason("bad"), 3);
}

#[test]
fn at_a_sink_that_cannot_say_which_it_is() {
    for step in [
        SinkStep::Panic,
        SinkStep::PanicLater,
        SinkStep::Answer(Submitted::RejectedSomewhere { reason: Reason::PANIC, detail: "injected".to_owned() }),
    ] {
        let decide = move |b: &Batch| match b.records.iter().any(is_bad) {
            true => step.clone(),
            false => SinkStep::Write(Duration::from_millis(3)),
        };
        let (written, dead) = through(|p, w| p.stage("sink", &["source"], decides(w, 1, decide)));
        let good: Vec<u64> = (0..60).filter(|n| !BAD.contains(n)).collect();
        assert_eq!(written, good);
        assert_eq!(dead.iter().map(number_of).collect::<Vec<_>>(), BAD);
    }
}

/// The halves of a searched batch go out one after the other: a sink whose window is one never has two.
#[test]
fn the_search_stays_within_the_window() {
    let (flying, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    struct Counts {
        flying: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        written: Collected,
    }
    impl telemill_engine::sink::Sink for Counts {
        async fn submit(&mut self, batch: Arc<Batch>) -> telemill_engine::sink::Completion {
            let now = self.flying.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            let (flying, written) = (self.flying.clone(), self.written.clone());
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                flying.fetch_sub(1, Ordering::Relaxed);
                if batch.records.iter().any(is_bad) {
                    return Submitted::RejectedSomewhere { reason: Reason::PANIC, detail: String::new() };
                }
                written.push(batch.records.clone());
                Submitted::Delivered
            })
        }
    }
    let most_seen = most.clone();
    let (written, dead) = through(|plan, written| {
        let written = written.clone();
        let counts = move |_: &_| Ok(Counts { flying: flying.clone(), most: most.clone(), written: written.clone() });
        plan.stage("sink", &["source"], telemill_engine::testing::sink(counts))
    });
    assert_eq!(written.len(), 57);
    assert_eq!(dead.len(), 3);
    assert_eq!(most_seen.load(Ordering::Relaxed), 1);
}

/// One that its topic cannot take would hold up all behind it.
#[test]
fn a_letter_that_is_too_large_is_cut_to_what_its_topic_takes() {
    for (takes, left) in [(100_000, 64 << 10), (10, 0)] {
        let (source, written, dead) = (FakeSource::new(), collector(), collector());
        let large = |number: usize| {
            let mut record = record("d1", number);
            let position = Position { topic: TopicId(Uuid::from_u128(1)), partition: 0, offset: 7, output: 0 };
            record.position = Some(position);
            record.payload = [&record.payload[..], &[b' '; 200_000]].concat().into();
            record
        };
        source.feed(0, vec![record("d1", 0), large(1), large(2), record("d1", 3)]);
        source.end();
        let decide = move |batch: &Batch| {
            let too_large = batch.records.iter().position(|record| record.payload.len() > takes);
            let refuse = |index| Rejection { index, reason: Reason::TOO_LARGE, detail: String::new(), permanent: true };
            match too_large.map(refuse) {
                Some(one) => SinkStep::Answer(Submitted::Rejected { records: vec![one], others_applied: false }),
                None => SinkStep::Write(Duration::ZERO),
            }
        };
        let bad = |record: &Record| match number_of(record) {
            1..=2 => Err(StageError::reject(Reason("bad"), "injected")),
            _ => Ok(()),
        };
        let plan = PlanBuilder::new(world().state.clone(), decides(&dead, 1, decide))
            .stage("source", &[], gives(&source))
            .stage("p", &["source"], passes(bad))
            .stage("sink", &["p"], writes(&written))
            .build();
        Sim::run(BASE, async |sim| {
            let deployment = sim.deploy(plan).await.unwrap();
            let ended = tokio::time::timeout(SOON, deployment.ended()).await;
            assert_eq!(ended, Ok(TopologyState::Ended), "a letter is tried for ever");
            assert_balanced(&deployment.view());
        });
        assert_eq!(written.numbers(), [0, 3]);
        let letters = dead.records();
        assert_eq!(letters.iter().map(|letter| letter.payload.len()).collect::<Vec<_>>(), [left; 2]);
        for letter in letters {
            let why = letter.dead.unwrap();
            assert!(why.detail.starts_with("injected; the dead letters take no 200007 bytes"), "{}", why.detail);
            assert!(why.detail.ends_with(&format!("the first {left}")), "{}", why.detail);
            assert!(why.source.ends_with(b"/0/7"), "where the whole of it still is");
        }
    }
}
