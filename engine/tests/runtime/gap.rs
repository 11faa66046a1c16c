//! A store that fell back is written again from where it stands.

use std::sync::Arc;

use telemill_engine::testing::fakes::{SimShape, SimSource, SimTableSink, collector};
use telemill_engine::testing::world::{SimTable, World};
use telemill_engine::testing::{BASE, PlanBuilder, Sim, number_of, processor, record, sink, source};

use super::common::*;

fn append(world: &World, numbers: std::ops::Range<usize>) {
    for n in numbers {
        world.log.append("data", 0, record(&format!("d{}", n % 3), n));
    }
}

fn numbers(table: &SimTable) -> Vec<u64> {
    table.effects().iter().map(number_of).collect()
}

fn table_sink(world: &Arc<World>, table: &Arc<SimTable>) -> telemill_engine::registry::StageFactory {
    let (world, table) = (world.clone(), table.clone());
    sink(move |cx| Ok(SimTableSink::new(&world, &table, "table", cx, 3)))
}

#[test]
fn behind_the_source_and_behind_a_processor() {
    let (world, dead) = (world(), collector());
    let (direct, shaped) = (Arc::new(SimTable::default()), Arc::new(SimTable::default()));
    let [a, b] = [world.clone(), world.clone()];
    let plan = PlanBuilder::new(world.state.clone(), writes(&dead))
        .stage("source", &[], source(move |_| Ok(SimSource::new(&a))))
        .stage("direct", &["source"], table_sink(&world, &direct))
        .stage("shape", &["source"], processor(move |_| Ok(SimShape { world: b.clone() })))
        .stage("shaped", &["shape"], table_sink(&world, &shaped))
        .build();
    let shape = |upto: u64| (0..upto).flat_map(|n| vec![n; SimShape::copies(n)]).collect::<Vec<_>>();
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        for upto in (10..=40).step_by(10) {
            append(&world, upto - 10..upto);
            let all = upto as u64;
            sim.until("both have it", SOON, || numbers(&direct).len() == upto && numbers(&shaped) == shape(all)).await;
        }
        direct.roll_back(1);
        shaped.roll_back(2);
        assert!(numbers(&direct).len() < 20 && numbers(&shaped).len() < 30, "they have lost something");
        append(&world, 40..50);
        sim.until("both have it again", SOON, || numbers(&direct).len() == 50 && numbers(&shaped) == shape(50)).await;
        assert_eq!(restarts(&deployment.view()), []);
        // Whichever notices first, both are asked.
        let returned = |stage| ledger(&deployment.view(), stage).returned.get("gap").copied().unwrap_or(0);
        assert!(returned("direct") + returned("shaped") > 0);
    });
    assert_eq!(numbers(&direct), (0..50).collect::<Vec<_>>());
    assert!(dead.is_empty());
    assert_eq!(world.trouble.violations(), [""; 0]);
}
