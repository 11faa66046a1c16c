//! The topology of the scenario.

use std::sync::Arc;
use std::time::Duration;

use crate::context::BuildContext;
use crate::registry::{SessionLimits, StageFactory};
use crate::runtime::Capacity;
use crate::stage::Outlet;
use crate::testing::fakes::{SimKeyed, SimProcessor, SimProducer, SimRouter, SimShape, SimSource, SimTableSink};
use crate::testing::world::{DEAD, SimTable, World};
use crate::testing::{PlanBuilder, keyed, processor, sink, source};
use crate::topology::Plan;

fn table(world: &Arc<World>, table: &Arc<SimTable>, name: &'static str, window: usize) -> StageFactory {
    let (world, table) = (world.clone(), table.clone());
    sink(move |cx: &BuildContext| {
        world.trouble.maybe_panic(name);
        Ok(SimTableSink::new(&world, &table, name, cx, window))
    })
}

fn router(world: &Arc<World>, topic: &'static str, window: usize) -> StageFactory {
    let world = world.clone();
    sink(move |cx: &BuildContext| Ok(SimRouter::new(&world, cx, topic, window)))
}

/// The topology over a world, with limits drawn from its seed.
pub(super) fn plan(world: &Arc<World>) -> Plan {
    let [a, b, c, d, e] = std::array::from_fn(|_| world.clone());
    let tables = &world.tables;
    let capacity = match world.trouble.between(0, 3) {
        // Full at all times: a batch larger than all of it passes alone.
        0 => Capacity { records: 1, bytes: world.trouble.between(1, 300) as usize },
        _ => Capacity { records: world.trouble.between(1, 24) as usize, bytes: 1 << 20 },
    };
    let window = world.trouble.between(1, 4) as usize;
    let max_records = world.trouble.between(1, 8) as usize;
    let passivate_after = Duration::from_secs(world.trouble.between(0, 6));
    let limits = SessionLimits { passivate_after, ..world.limits() };
    PlanBuilder::new(world.state.clone(), router(world, DEAD, window))
        .stage("ingress", &[], source(move |cx| Ok(SimProducer::new(&a, cx))))
        .stage("clean", &["ingress"], processor(move |_| Ok(SimProcessor { world: b.clone() })))
        .stage("router", &["clean"], router(world, "data", window))
        .stage("source", &[], source(move |cx| Ok(SimSource::of(&c, cx.epoch))))
        .stage("state", &["source"], table(world, &tables.state, "table", window))
        .stage("shape", &["source"], processor(move |_| Ok(SimShape { world: d.clone() })))
        .stage("shaped", &["shape"], table(world, &tables.shaped, "shaped", window))
        .stage("keyed", &["source"], keyed(move |_| Ok(SimKeyed { world: e.clone() })))
        .with(|stage| {
            stage.outlets = vec!["", "alerts"];
            stage.description.journal = Some(Outlet(1));
            stage.description.sessions = Some(limits);
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
