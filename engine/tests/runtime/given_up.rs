//! What a stage gave up is not tried again when its partition is read anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use telemill_engine::position::{Epoch, Partition};
use telemill_engine::record::{DeadReason, Reason, Record};
use telemill_engine::runtime::{StageState, TopologyState};
use telemill_engine::source::{
    Acker, RejectedRecord, ResumeAt, Source, SourceBatch, SourceError, SourceEvent, SourceReader,
};
use telemill_engine::stage::StageError;
use telemill_engine::testing::fakes::{SimKeyed, SimRouter, SimSource, SimTableSink, collector};
use telemill_engine::testing::world::{DEAD, World};
use telemill_engine::testing::{BASE, PlanBuilder, Sim, keyed, number_of, record, sink, source as gives_out};
use tokio::sync::{Mutex, oneshot};

use super::common::*;

/// The letter that a stage wrote before its process was killed, of a record in the log; `at`: where it says that it was.
fn letter(world: &World, stage: &str, number: usize, at: usize) -> Record {
    let all = world.log.all("data", 0);
    let of = |wanted| all.iter().find(|(_, r)| number_of(r) == wanted as u64).expect("it is in the log").clone();
    let ((_, record), (offset, _)) = (of(number), of(at));
    let source = format!("{}/0/{offset}", world.log.id("data")).into();
    let (reason, detail, attempts) = (Reason::WRONG_TYPE, "injected".into(), 3);
    Record { dead: Some(Arc::new(DeadReason { reason, detail, stage: stage.into(), attempts, source })), ..record }
}

/// Refuses a record twice: it has one try left, which the next record must not have used up.
fn fails_twice(number: u64) -> impl Fn(&Record) -> Result<(), StageError> + Clone + Send + Sync + 'static {
    let tries = Arc::new(AtomicUsize::new(0));
    move |record| match number_of(record) == number && tries.fetch_add(1, Ordering::Relaxed) < 2 {
        true => Err(StageError::Reject { reason: Reason("bad"), detail: String::new(), permanent: false }),
        false => Ok(()),
    }
}

#[test]
fn by_a_sink_a_processor_and_a_keyed_stage() {
    let (world, behind) = (world(), collector());
    for number in 0..10 {
        world.log.append("data", 0, record("d1", number));
    }
    let letters = [("p", 2, 2), ("sink", 3, 3), ("keyed", 4, 4), ("another", 5, 5), ("sink", 6, 7)];
    for (stage, number, at) in letters {
        world.log.push(DEAD, 0, letter(&world, stage, number, at), Epoch(0));
    }
    world.trouble.set_down("log", true);
    let tables = world.tables.state.clone();
    let [a, b, c, d, e] = std::array::from_fn(|_| world.clone());
    let plan = PlanBuilder::new(world.state.clone(), sink(move |cx| Ok(SimRouter::new(&a, cx, DEAD, 1))))
        .stage("source", &[], gives_out(move |_| Ok(SimSource::new(&b))))
        .stage("p", &["source"], passes(fails_twice(1)))
        .stage("behind", &["p"], writes(&behind))
        .stage("sink", &["source"], sink(move |cx| Ok(SimTableSink::new(&c, &tables, "table", cx, 3))))
        .stage("keyed", &["source"], keyed(move |_| Ok(SimKeyed { world: d.clone() })))
        .stage("history", &["keyed"], sink(move |cx| Ok(SimTableSink::new(&e, &e.tables.history, "history", cx, 3))))
        .build();
    let without = |given_up: u64| (0..10).filter(|n| *n != given_up).collect::<Vec<_>>();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        let state = || deployment.view().report().into_iter().find(|r| &*r.name == "source").unwrap().state;
        let waits = || matches!(state(), StageState::Waiting(why) if why.contains("cannot be read back"));
        sim.until("the source waits for the dead letters", SOON, waits).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(world.tables.state.effects().is_empty(), "something was read before they were");
        world.trouble.set_down("log", false);
        let has = |table: &telemill_engine::testing::world::SimTable, expect| {
            table.effects().iter().map(number_of).collect::<Vec<_>>() == without(expect)
        };
        sim.until("all have it", SOON, || {
            let processed = behind.numbers().len() == 9;
            processed && has(&world.tables.state, 3) && has(&world.tables.history, 4)
        })
        .await;
        assert_eq!(behind.numbers(), without(2));
        for stage in ["p", "sink", "keyed"] {
            let dead = ledger(&deployment.view(), stage).dead_lettered;
            assert_eq!(dead.into_iter().collect::<Vec<_>>(), [("given_up", 1)], "{stage}");
        }
        deployment.drain().await;
    });
    assert_eq!(world.log.all(DEAD, 0).len(), letters.len(), "none is written again");
    assert_eq!(world.trouble.violations(), [""; 0]);
}

/// A source that is assigned a partition, finds its only record unfit, and ends.
#[derive(Clone)]
struct Finds {
    why: DeadReason,
    record: Record,
    asked: Option<Shared>,
    is_read: bool,
}

type Shared = Arc<Mutex<oneshot::Receiver<Vec<(Partition, ResumeAt)>>>>;

impl Source for Finds {
    type Reader = Finds;
    type Acker = Finds;

    fn split(self) -> (Finds, Finds) {
        (self.clone(), self)
    }
}

impl SourceReader for Finds {
    async fn next(&mut self, _: usize) -> Result<SourceEvent, SourceError> {
        let Some(asked) = &self.asked else {
            let (reply, asked) = oneshot::channel();
            self.asked = Some(Arc::new(Mutex::new(asked)));
            return Ok(SourceEvent::Assigned { partitions: vec![0], reply });
        };
        if std::mem::replace(&mut self.is_read, true) {
            return Ok(SourceEvent::End);
        }
        (&mut *asked.lock().await).await.expect("an answer");
        let rejected = vec![RejectedRecord { record: self.record.clone(), why: self.why.clone() }];
        Ok(SourceEvent::Batch(SourceBatch { rejected, ..SourceBatch::default() }))
    }
}

impl Acker for Finds {
    async fn acknowledge(&mut self, _: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        Ok(())
    }

    async fn give_back(&mut self, _: Partition, _: u64) -> Result<(), SourceError> {
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

#[test]
fn by_the_source_itself() {
    for (letter_of, letters, counted_as) in [("source", 1, "given_up"), ("another", 2, "bad_envelope")] {
        let world = world();
        let (reason, detail, source) = (Reason::BAD_ENVELOPE, "injected".into(), "iot-data/0/7".into());
        let why = DeadReason { reason, detail, stage: "source".into(), attempts: 1, source };
        let unfit = record("d1", 7);
        let earlier = DeadReason { stage: letter_of.into(), ..why.clone() };
        world.log.push(DEAD, 0, Record { dead: Some(Arc::new(earlier)), ..unfit.clone() }, Epoch(0));
        let finds = Finds { why, record: unfit, asked: None, is_read: false };
        let [a, b] = std::array::from_fn(|_| world.clone());
        let plan = PlanBuilder::new(world.state.clone(), sink(move |cx| Ok(SimRouter::new(&a, cx, DEAD, 1))))
            .stage("source", &[], gives_out(move |_| Ok(finds.clone())))
            .stage("sink", &["source"], sink(move |cx| Ok(SimTableSink::new(&b, &b.tables.state, "table", cx, 3))))
            .build();
        Sim::run(BASE, async |sim| {
            let deployment = sim.deploy(plan).await.unwrap();
            assert_eq!(deployment.ended().await, TopologyState::Ended);
            assert_balanced(&deployment.view());
            let dead = ledger(&deployment.view(), "source").dead_lettered;
            assert_eq!(dead.into_iter().collect::<Vec<_>>(), [(counted_as, 1)]);
        });
        assert_eq!(world.log.all(DEAD, 0).len(), letters, "there was a letter of {letter_of}");
    }
}
