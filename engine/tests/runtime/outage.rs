//! What is away for a minute costs a minute and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use telemill_engine::record::Reason;
use telemill_engine::sink::Submitted;
use telemill_engine::stage::{BuildError, StageError};
use telemill_engine::testing::fakes::{FakeSink, FakeSource, SinkStep, collector};
use telemill_engine::testing::{BASE, Sim, sink};

use super::common::*;

#[test]
fn nothing_is_dead_lettered_and_nobody_is_restarted() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    let away = Arc::new(AtomicBool::new(true));
    let (of_sink, of_processor) = (away.clone(), away.clone());
    let decide = move |_: &_| match of_sink.load(Ordering::Relaxed) {
        true => {
            let (reason, detail) = (Reason("unavailable"), "injected".to_owned());
            SinkStep::Answer(Submitted::Retry { reason, detail, after: None })
        }
        false => SinkStep::Write(Duration::ZERO),
    };
    let plan = plan(&dead)
        .stage("source", &[], gives(&source))
        .stage(
            "p",
            &["source"],
            passes(move |r| {
                let (reason, detail) = (Reason("unavailable"), "injected".to_owned());
                let away = of_processor.load(Ordering::Relaxed) && r.received_at.0 % 2 == 0;
                if away { Err(StageError::Retry { reason, detail, after: None }) } else { Ok(()) }
            }),
        )
        .stage("sink", &["p"], decides(&written, 1, decide.clone()))
        .stage("direct", &["source"], decides(&written, 1, decide))
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        feed(&source, 0..40, 4);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(written.is_empty() && source.acknowledged() == 0);
        away.store(false, Ordering::Relaxed);
        sim.until("it is made up for", SOON, || source.acknowledged() == 10).await;
        assert_eq!(restarts(&deployment.view()), []);
        assert_balanced(&deployment.view());
    });
    assert_eq!(written.len(), 80);
    assert!(dead.is_empty());
}

#[test]
fn a_stage_whose_other_side_is_away_at_start_is_waited_for() {
    let (source, written, dead) = (FakeSource::new(), collector(), collector());
    feed(&source, 0..10, 4);
    let away = Arc::new(AtomicBool::new(true));
    let (is_away, into) = (away.clone(), written.clone());
    let built = sink(move |_| match is_away.load(Ordering::Relaxed) {
        true => Err(BuildError::Unavailable("injected".to_owned())),
        false => Ok(FakeSink::writes(&into)),
    });
    let plan = plan(&dead).stage("source", &[], gives(&source)).stage("sink", &["source"], built).build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.begin(plan).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(source.built(), 0, "nothing is read before there is somewhere to put it");
        away.store(false, Ordering::Relaxed);
        deployment.started().await.unwrap();
        sim.until("it is written", SOON, || source.acknowledged() == 3).await;
    });
    assert_eq!(written.numbers(), (0..10).collect::<Vec<_>>());
}
