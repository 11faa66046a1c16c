//! The lives of the scenario's process: how each begins, who takes its topology over, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::runtime::{Deployment, DeploymentView, Ended};
use crate::testing::world::World;
use crate::testing::{Sim, checker};

use super::load::Load;
use super::topology::plan;
use super::weather::weather;

/// A life that ends in a crash or in a drain under load.
pub(super) async fn troubled(sim: &Sim, world: &Arc<World>, load: &Load) {
    let trouble = &world.trouble;
    actix::spawn(weather(world.clone()));
    actix::spawn(load.clone().publish(world.clone()));
    let lives_for = Duration::from_millis(trouble.between(0, 15_000));
    let drains = trouble.between(0, 2) == 0;
    let taken_over = taken_over(world, lives_for);
    let life = async {
        let Some(owner) = begin(sim, world, taken_over).await else { return };
        let fails = owner.newest.ended();
        match timeout(if drains { lives_for / 2 } else { Duration::MAX }, fails).await {
            Ok(state) => trouble.violation(format!("the topology has come to {state:?}")),
            Err(_) => drain(world, owner.newest, false).await,
        }
    };
    tokio::select! {
        biased;
        () = trouble.is_killed() => trouble.note(|| "crash, at a step".to_owned()),
        () = sleep(lives_for) => trouble.note(|| "crash".to_owned()),
        () = life => {}
    }
}

/// A life without troubles that brings everything to its end; its topology may still be taken over.
pub(super) async fn healthy(sim: &Sim, world: &Arc<World>, load: &Load) {
    let taken_over = taken_over(world, Duration::from_secs(10));
    let Some(owner) = begin(sim, world, taken_over).await else { return };
    let ended = timeout(Duration::from_secs(600), async {
        load.clone().publish(world.clone()).await;
        while !world.broker.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        world.broker.be_quiet();
        sleep(Duration::from_secs(2)).await;
        while !checker::is_all_committed(world) {
            sleep(Duration::from_millis(50)).await;
        }
    });
    if ended.await.is_err() {
        let view = owner.newest.view();
        world.trouble.violation(format!("stuck: {:?} {:#?}", view.state(), report(&view)));
        return;
    }
    drain(world, owner.newest, true).await;
}

/// Who has the topology.
struct Owner {
    newest: Deployment,
    /// The one that had it before, and does not know yet.
    _former: Option<Deployment>,
}

/// After how long another instance takes the topology over, if one does.
fn taken_over(world: &World, within: Duration) -> Option<Duration> {
    let after = Duration::from_millis(world.trouble.between(0, within.as_millis() as u64));
    (world.trouble.between(0, 2) == 0).then_some(after)
}

/// Begins to deploy the topology, and again from another instance, which does not wait for the first to notice.
async fn begin(sim: &Sim, world: &Arc<World>, taken_over: Option<Duration>) -> Option<Owner> {
    let first = deploy(sim, world).await?;
    let Some(after) = taken_over else { return Some(Owner { newest: first, _former: None }) };
    sleep(after).await;
    world.trouble.note(|| "another instance takes over".to_owned());
    let newest = deploy(&sim.instance(2), world).await?;
    Some(Owner { newest, _former: Some(first) })
}

async fn deploy(sim: &Sim, world: &Arc<World>) -> Option<Deployment> {
    match sim.begin(plan(world)).await {
        Ok(deployment) => Some(deployment),
        Err(error) => {
            world.trouble.violation(format!("not deployed: {error}"));
            None
        }
    }
}

async fn drain(world: &Arc<World>, deployment: Deployment, must: bool) {
    world.trouble.note(|| "drain".to_owned());
    let view = deployment.view();
    match deployment.drain().await {
        Ended::Drained => ledgers(world, &view),
        Ended::DeadlinePassed if !must => {}
        other => world.trouble.violation(format!("the drain ended with {other:?}: {:#?}", report(&view))),
    }
}

fn ledgers(world: &World, view: &DeploymentView) {
    for stage in view.report() {
        if stage.ledger.in_flight != 0 || !stage.ledger.balances() {
            world.trouble.violation(format!("ledger of {}: {:?}", stage.name, stage.ledger));
        }
    }
}

/// What the stages were doing.
fn report(view: &DeploymentView) -> Vec<impl std::fmt::Debug> {
    view.report().into_iter().map(|stage| (stage.name, stage.state, stage.ledger)).collect()
}
