//! A seeded schedule of troubles for the whole pipeline, over several lives of its process.
//!
//! ```text
//! broker ─▶ ingress ─▶ clean ─▶ router ─▶ [data, marks] ─▶ source ─┬─▶ state (guarded)
//!                                                                  ├─▶ shape ─▶ shaped (guarded)
//!                                                                  └─▶ keyed ─┬─▶ history (guarded)
//!                                                                             └─▶ alerts (journal)
//! ```
//!
//! Every life but the last has troubles of its own: panics, failed and lost answers, slow writes, outages, tables that
//! are rolled back; it ends in a crash at a random instant or in a drain under load. The last one is healthy, brings
//! everything to its end, and then the world is checked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::context::BuildContext;
use crate::registry::SessionLimits;
use crate::registry::StageFactory;
use crate::runtime::{Capacity, Deployment, DeploymentView, Ended};
use crate::stage::Outlet;
use crate::topology::Plan;

use super::fakes::{SimKeyed, SimProcessor, SimProducer, SimRouter, SimShape, SimSource, SimTableSink};
use super::world::{Message, Poison, Rates, SimTable, World};
use super::{BASE, PlanBuilder, Sim, checker, keyed, processor, quiet_panics, sink, source};

/// The tables of a scenario.
#[derive(Default)]
pub struct Tables {
    /// Fed by the source itself.
    pub state: Arc<SimTable>,
    /// Fed by a processor behind the source.
    pub shaped: Arc<SimTable>,
    /// Fed by the keyed stage.
    pub history: Arc<SimTable>,
}

/// What a failed run has to say.
#[derive(Debug)]
pub struct Failure {
    /// Replays it.
    pub seed: u64,
    /// The promises that were broken.
    pub violations: Vec<String>,
    /// What happened, if notes were taken.
    pub notes: Vec<String>,
}

/// Runs the scenario of a seed and checks what it leaves.
pub fn run(seed: u64, notes: bool) -> Result<(), Failure> {
    let world = play(seed, notes);
    let violations = world.trouble.violations();
    if violations.is_empty() { Ok(()) } else { Err(Failure { seed, violations, notes: world.trouble.notes() }) }
}

/// What happens in the run of a seed, line by line.
pub fn protocol(seed: u64) -> Vec<String> {
    play(seed, true).trouble.notes()
}

fn play(seed: u64, notes: bool) -> Arc<World> {
    quiet_panics();
    let world = World::new(seed, 2);
    if notes {
        world.trouble.take_notes();
    }
    let tables = Arc::new(Tables::default());
    let load = Load::new(&world);
    let lives = world.trouble.between(1, 3);
    let mut base = BASE;
    for life in 0..=lives {
        let last = life == lives;
        let rates = if last { Rates::default() } else { rates(&world) };
        world.trouble.begin(rates);
        world.trouble.note(|| format!("life {life} begins at {base:?} with {rates:?}"));
        let ended_at = Sim::run(base, async |sim| {
            let (world, tables) = (world.clone(), tables.clone());
            match last {
                true => healthy(&sim, &world, &tables, &load).await,
                false => troubled(&sim, &world, &tables, &load).await,
            }
            sim.clock.now()
        });
        base = ended_at + Duration::from_millis(world.trouble.between(0, 8000));
    }
    checker::check(&world, &tables);
    world
}

fn rates(world: &World) -> Rates {
    let trouble = &world.trouble;
    let rate = |most: u64| if trouble.between(0, 1) == 0 { 0 } else { trouble.between(1, most) as u32 };
    Rates { panic: rate(40), fail: rate(80), lost: rate(80), slow: rate(150) }
}

/// The messages of the devices, not yet published.
struct Load(Arc<Mutex<Vec<Message>>>);

impl Load {
    fn new(world: &World) -> Self {
        let trouble = &world.trouble;
        let devices = trouble.between(1, 5);
        let count = trouble.between(5, 60);
        let poisoned = trouble.between(0, 2) == 0;
        let kinds = [Poison::Processor, Poison::Table, Poison::TablePanic, Poison::Keyed];
        let message = |number| {
            let poison = match poisoned && trouble.between(0, 9) == 0 {
                true => kinds[trouble.between(0, 3) as usize],
                false => Poison::None,
            };
            Message { number, device: format!("d{}", trouble.between(1, devices)), poison }
        };
        let mut messages: Vec<_> = (1..=count).map(message).collect();
        messages.reverse();
        Load(Arc::new(Mutex::new(messages)))
    }

    /// Publishes what is left, with pauses that let sessions go offline now and then.
    async fn publish(waiting: Arc<Mutex<Vec<Message>>>, world: Arc<World>) {
        loop {
            let next = waiting.lock().expect("nobody panics with the lock").pop();
            let Some(message) = next else { return };
            world.broker.publish(message);
            let pause = match world.trouble.between(0, 19) {
                0 => world.trouble.between(1000, 9000),
                1..=9 => 0,
                _ => world.trouble.between(1, 300),
            };
            sleep(Duration::from_millis(pause)).await;
        }
    }
}

async fn troubled(sim: &Sim, world: &Arc<World>, tables: &Arc<Tables>, load: &Load) {
    actix::spawn(weather(world.clone(), tables.clone()));
    actix::spawn(Load::publish(load.0.clone(), world.clone()));
    let lives_for = Duration::from_millis(world.trouble.between(0, 15_000));
    let drains = world.trouble.between(0, 2) == 0;
    let deployed = timeout(lives_for, async {
        let deployment = sim.deploy(plan(world, tables)).await;
        sleep(if drains { lives_for / 2 } else { Duration::MAX }).await;
        deployment
    });
    match deployed.await {
        Err(_) => world.trouble.note(|| "crash".to_owned()),
        Ok(Ok(deployment)) => drain(world, deployment, false).await,
        Ok(Err(error)) => world.trouble.violation(format!("not deployed: {error}")),
    }
}

async fn healthy(sim: &Sim, world: &Arc<World>, tables: &Arc<Tables>, load: &Load) {
    let deployment = match sim.deploy(plan(world, tables)).await {
        Ok(deployment) => deployment,
        Err(error) => return world.trouble.violation(format!("not deployed at last: {error}")),
    };
    let ended = timeout(Duration::from_secs(600), async {
        Load::publish(load.0.clone(), world.clone()).await;
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
        let view = deployment.view();
        world.trouble.violation(format!("stuck: {:?} {:#?}", view.state(), report(&view)));
        return;
    }
    drain(world, deployment, true).await;
}

/// What the stages were doing.
fn report(view: &DeploymentView) -> Vec<impl std::fmt::Debug> {
    view.report().into_iter().map(|stage| (stage.name, stage.state, stage.ledger)).collect()
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

/// Outages, and tables that are rolled back.
async fn weather(world: Arc<World>, tables: Arc<Tables>) {
    let calm = world.trouble.between(0, 2) == 0;
    loop {
        sleep(Duration::from_millis(world.trouble.between(100, 4000))).await;
        if calm {
            continue;
        }
        // Not the one behind the keyed stage: what a checkpoint covers is not made again.
        let table = [&tables.state, &tables.shaped][world.trouble.between(0, 1) as usize];
        if world.trouble.between(0, 4) == 0 && table.writes() > 0 {
            let to = world.trouble.between(0, table.writes() as u64) as usize;
            world.trouble.note(|| format!("a table is rolled back to write {to} of {}", table.writes()));
            table.roll_back(to);
            continue;
        }
        let what = ["state", "log", "table", "shaped", "history"][world.trouble.between(0, 4) as usize];
        world.trouble.set_down(what, true);
        sleep(Duration::from_millis(world.trouble.between(1, 3000))).await;
        world.trouble.set_down(what, false);
    }
}

fn table(world: &Arc<World>, table: &Arc<SimTable>, name: &'static str, window: usize) -> StageFactory {
    let (world, table) = (world.clone(), table.clone());
    sink(move |cx: &BuildContext| {
        world.trouble.maybe_panic(name);
        let (world, table, epoch) = (world.clone(), table.clone(), cx.epoch);
        Ok(SimTableSink { world, table, name, epoch, window, last: Mutex::default() })
    })
}

fn router(world: &Arc<World>, topic: &'static str, window: usize) -> StageFactory {
    let world = world.clone();
    sink(move |cx: &BuildContext| Ok(SimRouter::new(&world, cx, topic, window)))
}

/// The topology of the scenario over a world.
pub fn plan(world: &Arc<World>, tables: &Tables) -> Plan {
    let [a, b, c, d, e] = std::array::from_fn(|_| world.clone());
    let capacity = Capacity { records: world.trouble.between(1, 24) as usize, bytes: 1 << 20 };
    let window = world.trouble.between(1, 4) as usize;
    let max_records = world.trouble.between(1, 8) as usize;
    let passivate_after = Duration::from_secs(world.trouble.between(0, 6));
    let max_sessions = world.trouble.between(1, 6) as usize;
    PlanBuilder::new(world.state.clone(), router(world, "dead", window))
        .stage("ingress", &[], source(move |cx| Ok(SimProducer::new(&a, &cx.clock))))
        .stage("clean", &["ingress"], processor(move |_| Ok(SimProcessor { world: b.clone() })))
        .stage("router", &["clean"], router(world, "data", window))
        .stage("source", &[], source(move |_| Ok(SimSource::new(&c))))
        .stage("state", &["source"], table(world, &tables.state, "table", window))
        .stage("shape", &["source"], processor(move |_| Ok(SimShape { world: d.clone() })))
        .stage("shaped", &["shape"], table(world, &tables.shaped, "shaped", window))
        .stage("keyed", &["source"], keyed(move |_| Ok(SimKeyed { world: e.clone() })))
        .with(|stage| {
            stage.outlets = vec!["", "alerts"];
            stage.description.journal = Some(Outlet(1));
            stage.description.sessions = Some(SessionLimits { passivate_after, max_sessions });
        })
        .stage("history", &["keyed"], table(world, &tables.history, "history", window))
        .stage("alerts", &["keyed.alerts"], router(world, "alerts", window))
        .plan(|plan| {
            plan.drain_deadline = Duration::from_secs(20);
            plan.checkpoint_every = Duration::from_millis(700);
            for stage in &mut plan.stages {
                stage.limits.max_records = max_records;
                stage.capacity = capacity;
            }
        })
        .build()
}
