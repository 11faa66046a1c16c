//! A topology starts as a whole or not at all.

use std::time::Duration;

use telemill_engine::runtime::{DeployError, Ended};
use telemill_engine::stage::BuildError;
use telemill_engine::testing::fakes::{FakeSink, FakeSource, collector};
use telemill_engine::testing::{BASE, Sim, sink};
use tokio::time::Instant;

use super::common::*;

fn cannot(error: fn(String) -> BuildError) -> telemill_engine::registry::StageFactory {
    sink(move |_| Err::<FakeSink, _>(error("injected: no such thing".to_owned())))
}

#[test]
fn one_that_cannot_be_built_is_rolled_back() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("bad", &["source"], cannot(BuildError::Impossible))
        .stage("good", &["source"], writes(&written))
        .build();
    Sim::run(BASE, async |sim| {
        let started = Instant::now();
        let Err(DeployError::Impossible(why)) = sim.deploy(plan).await else { panic!("it was deployed") };
        assert!(why.contains("`bad`") && why.contains("no such thing"), "{why}");
        assert!(started.elapsed() < Duration::from_secs(5), "what had started is stopped at once");
    });
    assert_eq!(source.built(), 0);
}

#[test]
fn one_that_waits_for_a_stage_can_be_drained() {
    let (source, dead) = (FakeSource::new(), collector());
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("away", &["source"], cannot(BuildError::Unavailable))
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.begin(plan).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let started = Instant::now();
        assert_eq!(deployment.drain().await, Ended::Drained);
        assert!(started.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn one_whose_sources_have_nothing_ends() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    source.end();
    let plan = plan(&dead).stage("source", &[], gives(&source)).stage("sink", &["source"], writes(&written)).build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        tokio::time::timeout(SOON, deployment.ended()).await.expect("it ends");
    });
}
