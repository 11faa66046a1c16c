//! A panic restarts the actor that panicked, and nothing else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use telemill_engine::batch::Batch;
use telemill_engine::record::{Reason, Record};
use telemill_engine::runtime::{Capacity, RestartPolicy, TopologyState};
use telemill_engine::stage::StageError;
use telemill_engine::testing::fakes::{Collected, FakeSource, SinkStep, collector};
use telemill_engine::testing::{BASE, PlanBuilder, Sim, number_of};
use telemill_engine::topology::Plan;

use super::common::*;

/// True the first `n` times.
fn first(n: usize) -> impl Fn() -> bool + Clone + Send + Sync + 'static {
    let left = Arc::new(AtomicUsize::new(n));
    move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

fn deploy_and_end(source: &FakeSource, plan: Plan) -> Vec<(String, u64)> {
    Sim::run(BASE, async |sim| {
        let started = tokio::time::Instant::now();
        let deployment = sim.deploy(plan).await.unwrap();
        assert_eq!(deployment.ended().await, TopologyState::Ended);
        assert!(started.elapsed() >= Duration::from_millis(50), "there was a back-off");
        assert_balanced(&deployment.view());
        assert_eq!(source.unacknowledged(), 0);
        restarts(&deployment.view())
    })
}

fn all_of(written: &Collected, n: u64) {
    assert_eq!(written.numbers(), (0..n).collect::<Vec<_>>());
}

#[test]
fn a_processor_goes_on_at_the_record_it_panicked_on() {
    let (source, written, other, dead) = (FakeSource::new(), collector(), collector(), collector());
    feed(&source, 0..60, 8);
    source.end();
    let panics = first(2);
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage(
            "p",
            &["source"],
            passes(move |r| {
                assert!(number_of(r) != 21 || !panics(), "injected");
                Ok(())
            }),
        )
        .stage("sink", &["p"], writes(&written))
        .stage("other", &["source"], writes(&other))
        .build();
    assert_eq!(deploy_and_end(&source, plan), [("p".to_owned(), 2)]);
    all_of(&written, 60);
    all_of(&other, 60);
    assert!(dead.is_empty());
}

#[test]
fn a_sink_submits_again_what_it_had_in_hand() {
    for (window, step) in [(1, SinkStep::Panic), (3, SinkStep::Panic), (1, SinkStep::PanicLater)] {
        let (source, written, other, dead) = (FakeSource::new(), collector(), collector(), collector());
        feed(&source, 0..60, 8);
        source.end();
        let (panics, what) = (first(2), step.clone());
        let decide = move |b: &Batch| match b.records.iter().any(|r| number_of(r) == 21) && panics() {
            true => what.clone(),
            false => SinkStep::Write(Duration::from_millis(1)),
        };
        let plan = plan(&dead)
            .stage("source", &[], gives(&source))
            .stage("sink", &["source"], decides(&written, window, decide))
            .stage("other", &["source"], writes(&other))
            .build();
        assert_eq!(deploy_and_end(&source, plan), [("sink".to_owned(), 2)], "window {window}, {step:?}");
        all_of(&written, 60);
        all_of(&other, 60);
        assert!(dead.is_empty());
    }
}

#[test]
fn a_source_is_built_again_and_gives_what_was_not_acknowledged() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    let plan = plan(&dead).stage("source", &[], gives(&source)).stage("sink", &["source"], writes(&written)).build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        feed(&source, 0..30, 7);
        sim.until("everything is acknowledged", SOON, || source.acknowledged() == 5).await;
        source.panic(2);
        feed(&source, 30..60, 7);
        source.end();
        assert_eq!(deployment.ended().await, TopologyState::Ended);
        assert_balanced(&deployment.view());
        assert_eq!(restarts(&deployment.view()), [("source".to_owned(), 2)]);
    });
    assert_eq!(source.built(), 3);
    assert_eq!(source.unacknowledged(), 0);
    all_of(&written, 60);
}

#[test]
fn an_acker_is_built_again_with_its_source_and_what_it_had_in_hand_is_given_again() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    let plan = plan(&dead).stage("source", &[], gives(&source)).stage("sink", &["source"], writes(&written)).build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        source.panic_on_acknowledge(2);
        feed(&source, 0..60, 7);
        sim.until("all is acknowledged", SOON, || source.unacknowledged() == 0 && written.len() >= 60).await;
        assert_eq!(restarts(&deployment.view()), [("source".to_owned(), 2)]);
        source.end();
        assert_eq!(deployment.ended().await, TopologyState::Ended);
        assert_balanced(&deployment.view());
    });
    assert_eq!(source.built(), 3);
    // A source without positions may give again what was written and not acknowledged.
    let mut first_time = std::collections::BTreeSet::new();
    let numbers: Vec<u64> = written.numbers().into_iter().filter(|n| first_time.insert(*n)).collect();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
}

#[test]
fn dead_letters_are_submitted_again_when_their_sink_panics() {
    for step in [SinkStep::Panic, SinkStep::PanicLater] {
        let (source, written, dead) = (FakeSource::new(), collector(), collector());
        feed(&source, 0..60, 8);
        source.end();
        let (panics, what) = (first(2), step.clone());
        let decide = move |_: &Batch| if panics() { what.clone() } else { SinkStep::Write(Duration::ZERO) };
        let bad = |r: &Record| match number_of(r) % 20 {
            7 => Err(StageError::reject(Reason("bad"), "injected")),
            _ => Ok(()),
        };
        let plan = PlanBuilder::new(world().state.clone(), decides(&dead, 1, decide))
            .stage("source", &[], gives(&source))
            .stage("p", &["source"], passes(bad))
            .stage("sink", &["p"], writes(&written))
            .build();
        assert_eq!(deploy_and_end(&source, plan), [("dead_letters".to_owned(), 2)], "{step:?}");
        assert_eq!(written.numbers(), (0..60).filter(|n| n % 20 != 7).collect::<Vec<_>>());
        assert_eq!(dead.numbers(), [7, 27, 47]);
    }
}

#[test]
fn too_many_restarts_fail_the_topology_and_it_comes_to_its_end() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&source, 0..1000, 1);
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage("p", &["source"], passes(|_| Ok(())))
        .stage("sink", &["p"], decides(&written, 1, |_| SinkStep::Panic))
        .with(|stage| {
            stage.limits.max_attempts = 100;
            stage.capacity = Capacity { records: 4, bytes: usize::MAX };
        })
        .plan(|plan| plan.restart = RestartPolicy { max_restarts: 3, ..RestartPolicy::default() })
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        let TopologyState::Failed(why) = deployment.ended().await else { panic!("it has not failed") };
        assert!(why.contains("`sink`") && why.contains("3 restarts") && why.contains("injected"), "{why}");
        let started = tokio::time::Instant::now();
        let ended = deployment.drain().await;
        assert!(matches!(ended, telemill_engine::runtime::Ended::Failed(_)), "{ended:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "nobody waits for room that will never be");
    });
    assert_eq!(source.acknowledged(), 0);
}
