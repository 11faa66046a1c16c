//! An upgraded stage reads the sessions of the version before, and what it drops is counted as dropped.

use std::sync::Arc;

use telemill_engine::device_id::DeviceId;
use telemill_engine::keyed::{Effects, Input, Keyed, Now, read_session};
use telemill_engine::record::{EventId, Reason};
use telemill_engine::registry::StageFactory;
use telemill_engine::runtime::Ended;
use telemill_engine::stage::StageError;
use telemill_engine::testing::fakes::{Collected, SimSource, collector};
use telemill_engine::testing::world::World;
use telemill_engine::testing::{BASE, PlanBuilder, Sim, keyed, record, source};
use telemill_engine::topology::Plan;

use super::common::*;

/// Counts the records of a device.
struct Old;

impl Keyed for Old {
    type Session = u64;
    const STATE_VERSION: u8 = 1;

    fn open(&self, _: &DeviceId, _: Option<EventId>, _: Now<'_>) -> u64 {
        0
    }

    fn step(&self, _: &DeviceId, s: &mut u64, _: Input<'_>, _: Now<'_>, out: &mut Effects) -> Result<(), StageError> {
        *s += 1;
        out.forward();
        Ok(())
    }

    fn restored(&self, _: &u64, _: &mut Effects) {}

    fn may_passivate(&self, _: &u64, _: Now<'_>) -> bool {
        false
    }
}

/// The same in another form, and the fifth record of each device is dropped.
struct New;

impl Keyed for New {
    type Session = (String, u64);
    const STATE_VERSION: u8 = 2;

    fn read_earlier(version: u8, bytes: &[u8]) -> Result<Self::Session, String> {
        assert_eq!(version, 1);
        Ok(("from the old form".to_owned(), read_session(bytes)?))
    }

    fn open(&self, _: &DeviceId, _: Option<EventId>, _: Now<'_>) -> Self::Session {
        Default::default()
    }

    fn step(
        &self,
        _: &DeviceId,
        s: &mut Self::Session,
        _: Input<'_>,
        _: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StageError> {
        s.1 += 1;
        match s.1 {
            5 => out.drop_record(Reason::DUPLICATE),
            _ => out.forward(),
        }
        Ok(())
    }

    fn restored(&self, _: &Self::Session, _: &mut Effects) {}

    fn may_passivate(&self, _: &Self::Session, _: Now<'_>) -> bool {
        false
    }
}

fn plan(world: &Arc<World>, stage: StageFactory, main: &Collected, dead: &Collected) -> Plan {
    let reads = world.clone();
    PlanBuilder::new(world.state.clone(), writes(dead))
        .stage("source", &[], source(move |_| Ok(SimSource::new(&reads))))
        .stage("keyed", &["source"], stage)
        .stage("main", &["keyed"], writes(main))
        .build()
}

#[test]
fn sessions_of_the_form_before_are_read_and_written_anew() {
    let (world, main, dead) = (world(), collector(), collector());
    let life = |stage: StageFactory, numbers: std::ops::RangeInclusive<usize>| {
        let plan = plan(&world, stage, &main, &dead);
        Sim::run(BASE, async |sim| {
            let deployment = sim.deploy(plan).await.unwrap();
            let last = *numbers.end();
            for number in numbers {
                world.log.append("data", 0, record("a", number));
            }
            sim.until("the last is there", SOON, || main.numbers().last() == Some(&(last as u64))).await;
            let view = deployment.view();
            assert_eq!(deployment.drain().await, Ended::Drained);
            ledger(&view, "keyed")
        })
    };
    life(keyed(|_| Ok(Old)), 1..=3);
    let counted = life(keyed(|_| Ok(New)), 4..=6);
    assert_eq!(main.numbers(), [1, 2, 3, 4, 6], "the count went on from three");
    assert_eq!(counted.dropped.into_iter().collect::<Vec<_>>(), [("duplicate", 1)]);
    assert_eq!((counted.received, counted.forwarded, counted.absorbed, counted.in_flight), (3, 2, 0, 0));
    life(keyed(|_| Ok(New)), 7..=7);
    assert_eq!(main.numbers(), [1, 2, 3, 4, 6, 7], "in its own form it is read as before");
    assert!(dead.is_empty());
}
