//! Which stage keeps the alerts: the one that takes the journal, whatever else could be read in the same way.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::empty;
use telemill_engine::ports::{AlertEntries, AlertLog, FollowError};
use telemill_engine::registry::StageFactory;
use telemill_engine::stage::Outlet;
use telemill_engine::testing::fakes::{Collected, FakeSink, SimKeyed, SimRouter, SimSource, collector};
use telemill_engine::testing::{BASE, PlanBuilder, Sim, keyed, sink, source};

use super::common::*;

struct Readable;

#[async_trait]
impl AlertLog for Readable {
    async fn follow(&self, _: Option<&str>) -> Result<AlertEntries, FollowError> {
        Ok(Box::pin(empty()))
    }
}

/// A sink that can be read as an alert log, as any router of one topic can.
fn readable(written: &Collected) -> StageFactory {
    let written = written.clone();
    sink(move |cx| {
        cx.ports.offer_alert_log(&cx.stage, Arc::new(Readable));
        Ok(FakeSink::writes(&written))
    })
}

#[test]
fn only_what_takes_the_journal_is_an_alert_log() {
    let (world, written, dead) = (world(), collector(), collector());
    let [a, b, c] = [world.clone(), world.clone(), world.clone()];
    let plan = PlanBuilder::new(world.state.clone(), writes(&dead))
        .stage("source", &[], source(move |_| Ok(SimSource::new(&a))))
        .stage("keyed", &["source"], keyed(move |_| Ok(SimKeyed { world: b.clone() })))
        .with(|stage| {
            stage.outlets = vec!["", "alerts"];
            stage.description.journal = Some(Outlet(1));
        })
        .stage("early", &["keyed"], readable(&written))
        .stage("alerts", &["keyed.alerts"], sink(move |cx| Ok(SimRouter::new(&c, cx, "alerts", 4))))
        .stage("late", &["keyed"], readable(&written))
        .build();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        let view = deployment.view();
        assert!(view.ports.alert_log("early").is_some() && view.ports.alert_log("late").is_some());
        let keep: Vec<&str> = view.alert_stages().iter().map(|stage| &**stage).collect();
        assert_eq!(keep, ["alerts"]);
        deployment.drain().await;
    });
}
