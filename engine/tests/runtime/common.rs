//! What the tests of the running engine share.

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::metrics::Ledger;
use telemill_engine::record::Record;
use telemill_engine::registry::StageFactory;
use telemill_engine::runtime::DeploymentView;
use telemill_engine::stage::{Outlet, Outlets, Processor, StageError};
use telemill_engine::testing::fakes::{Collected, FakeSink, FakeSource, SinkStep};
use telemill_engine::testing::world::World;
use telemill_engine::testing::{PlanBuilder, processor, quiet_panics, record, sink, source};

/// Longer than anything but an outage takes.
pub const SOON: Duration = Duration::from_secs(30);

/// A world without troubles and with one partition.
pub fn world() -> Arc<World> {
    quiet_panics();
    World::new(1, 1)
}

/// A plan whose dead letters are collected.
pub fn plan(dead: &Collected) -> PlanBuilder {
    PlanBuilder::new(world().state.clone(), writes(dead))
}

/// A sink that writes everything.
pub fn writes(written: &Collected) -> StageFactory {
    let written = written.clone();
    sink(move |_| Ok(FakeSink::writes(&written)))
}

/// A sink that does what a function says.
pub fn decides(
    written: &Collected,
    window: usize,
    decide: impl Fn(&telemill_engine::batch::Batch) -> SinkStep + Clone + Send + Sync + 'static,
) -> StageFactory {
    let written = written.clone();
    sink(move |_| Ok(FakeSink::new(&written, window, decide.clone())))
}

/// The source.
pub fn gives(feed: &FakeSource) -> StageFactory {
    let feed = feed.clone();
    source(move |_| Ok(feed.build()))
}

/// A processor that hands on what a function lets through.
pub fn passes(handle: impl Fn(&Record) -> Result<(), StageError> + Clone + Send + Sync + 'static) -> StageFactory {
    struct Passes<F>(F);
    impl<F: Fn(&Record) -> Result<(), StageError> + Send + Sync + 'static> Processor for Passes<F> {
        async fn handle(&mut self, record: &Record, out: &mut Outlets) -> Result<(), StageError> {
            out.emit(Outlet::MAIN, record.clone());
            (self.0)(record)
        }
    }
    processor(move |_| Ok(Passes(handle.clone())))
}

/// Feeds these numbers, a batch of `size` at a time, of three devices in turn.
pub fn feed(source: &FakeSource, numbers: std::ops::Range<usize>, size: usize) {
    let records: Vec<Record> = numbers.map(|n| record(&format!("d{}", n % 3), n)).collect();
    records.chunks(size).for_each(|batch| source.feed(0, batch.to_vec()));
}

/// The ledger of a stage.
pub fn ledger(view: &DeploymentView, stage: &str) -> Ledger {
    let found = view.report().into_iter().find(|r| *r.name == *stage);
    found.unwrap_or_else(|| panic!("there is no stage {stage}")).ledger
}

/// The stages that were restarted, and how often.
pub fn restarts(view: &DeploymentView) -> Vec<(String, u64)> {
    let count = |l: &Ledger| l.restarts.values().sum::<u64>();
    let all = view.report().into_iter().map(|r| (r.name.to_string(), count(&r.ledger)));
    all.filter(|(_, restarts)| *restarts > 0).collect()
}

/// Every stage has accounted for what it received, and has nothing in hand.
pub fn assert_balanced(view: &DeploymentView) {
    for stage in view.report() {
        assert!(stage.ledger.balances() && stage.ledger.in_flight == 0, "{}: {:?}", stage.name, stage.ledger);
    }
}
