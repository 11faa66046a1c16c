//! Devices without end: the sessions stay within their bounds, and who is forgotten is told, counted, and new again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use telemill_engine::registry::SessionLimits;
use telemill_engine::runtime::{DeploymentView, Ended};
use telemill_engine::testing::fakes::{Collected, TransitionKind, collector};
use telemill_engine::testing::world::World;
use telemill_engine::testing::{BASE, Sim, number_of};
use telemill_engine::topology::Plan;

use super::common::*;
use super::shard::{data, mark, shard_plan, transitions};

fn bounded(world: &Arc<World>, main: &Collected, alerts: &Collected, limits: SessionLimits) -> Plan {
    let mut plan = shard_plan(world, writes(main), writes(alerts), &collector());
    plan.stages.iter_mut().for_each(|stage| stage.description.sessions = stage.description.sessions.map(|_| limits));
    plan
}

/// The sessions in memory and outside.
fn known(view: &DeploymentView) -> usize {
    view.directory.session_count() + view.directory.passivated_count()
}

fn forgotten(view: &DeploymentView, reason: &str) -> u64 {
    ledger(view, "keyed").forgotten.get(reason).copied().unwrap_or(0)
}

fn cases() -> u32 {
    if std::env::var_os("TELEMILL_NIGHTLY").is_some() { 2000 } else { 60 }
}

/// What happens in a second: these devices send, in this order.
fn seconds() -> impl Strategy<Value = Vec<Vec<u16>>> {
    let some = prop_oneof![3 => 0u16..12, 2 => 12u16..2000];
    proptest::collection::vec(proptest::collection::vec(some, 0..8), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing of this is about which device goes: that the simulation compares with a model, crashes and all.
    #[test]
    fn whatever_devices_send_no_more_than_the_cap_are_known(
        seconds in seconds(),
        max_sessions in 1usize..20,
        passivate_after in 0u64..9,
        forget_after in proptest::option::of(5u64..15),
    ) {
        let limits = SessionLimits {
            max_sessions,
            passivate_after: Duration::from_secs(passivate_after),
            forget_after: forget_after.map(Duration::from_secs),
        };
        let (world, main, alerts) = (world(), collector(), collector());
        let plan = bounded(&world, &main, &alerts, limits);
        let sent: Vec<u64> = (1..=seconds.iter().flatten().count() as u64).collect();
        let different: BTreeSet<_> = seconds.iter().flatten().collect();
        Sim::run(BASE, async |sim| {
            let deployment = sim.deploy(plan).await.unwrap();
            let (view, mut number) = (deployment.view(), 0);
            for (second, devices) in seconds.iter().enumerate() {
                for device in devices {
                    number += 1;
                    data(&world, &format!("d{device}"), number);
                    sim.until("it is handed on", SOON, || main.len() == number).await;
                    assert!(known(&view) <= max_sessions, "{} after {number} records", known(&view));
                }
                mark(&world, second as u64 + 1);
                sim.until("time has passed", SOON, || {
                    world.log.committed("g", world.log.id("marks"), 0) == Some(world.log.end("marks", 0))
                }).await;
                let (live, passive) = world.state.sessions();
                assert!(live.len() + passive.len() <= max_sessions, "{live:?} {passive:?} are stored");
            }
            let gone = forgotten(&view, "max_sessions") + forgotten(&view, "forget_after");
            assert!(known(&view) + gone as usize >= different.len(), "whoever is not known was counted");
            assert_eq!(deployment.drain().await, Ended::Drained);
        });
        prop_assert_eq!(main.records().iter().map(number_of).collect::<Vec<_>>(), sent, "in order, and nothing lost");
    }
}

#[test]
fn for_one_device_more_the_one_that_was_silent_longest_is_forgotten() {
    let (world, main, alerts) = (world(), collector(), collector());
    let limits = SessionLimits { max_sessions: 3, ..SessionLimits::default() };
    let plan = bounded(&world, &main, &alerts, limits);
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        let view = deployment.view();
        for (number, device) in ["a", "b", "c", "a"].into_iter().enumerate() {
            data(&world, device, number + 1);
            mark(&world, number as u64 + 1);
        }
        sim.until("three are known", SOON, || main.len() == 4 && known(&view) == 3).await;
        data(&world, "d", 5);
        sim.until("b has made room", SOON, || forgotten(&view, "max_sessions") == 1 && main.len() == 5).await;
        assert_eq!(known(&view), 3);
        // It was not offline yet: its last word says that nobody watches it any more.
        assert_eq!(transitions(&alerts, "b"), [TransitionKind::Online, TransitionKind::Forgotten]);
        assert_eq!(transitions(&alerts, "a"), [TransitionKind::Online]);
        sim.until("it is not stored any more", SOON, || {
            world.state.sessions().0.iter().map(|device| device.as_str()).eq(["a", "c", "d"])
        })
        .await;
        // A device that comes back is new, and somebody else goes.
        data(&world, "b", 6);
        sim.until("c has made room", SOON, || forgotten(&view, "max_sessions") == 2 && main.len() == 6).await;
        let all = [TransitionKind::Online, TransitionKind::Forgotten, TransitionKind::Online];
        assert_eq!(transitions(&alerts, "b"), all);
        assert_eq!(deployment.drain().await, Ended::Drained);
    });
}

#[test]
fn who_is_silent_too_long_is_forgotten_wherever_the_session_is() {
    let (world, main, alerts) = (world(), collector(), collector());
    let limits = SessionLimits {
        passivate_after: Duration::from_secs(5),
        forget_after: Some(Duration::from_secs(30)),
        ..SessionLimits::default()
    };
    let plan = bounded(&world, &main, &alerts, limits);
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        let view = deployment.view();
        data(&world, "a", 1);
        data(&world, "b", 2);
        for second in 1..=29 {
            if second == 20 {
                data(&world, "b", 3);
            }
            mark(&world, second);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!((view.directory.session_count(), view.directory.passivated_count()), (0, 2));
        assert_eq!(world.state.sessions().1.len(), 2, "both have left memory");
        mark(&world, 30);
        mark(&world, 31);
        sim.until("a is forgotten", SOON, || forgotten(&view, "forget_after") == 1).await;
        assert_eq!(known(&view), 1);
        sim.until("it is not stored any more", SOON, || {
            let (live, passive) = world.state.sessions();
            live.is_empty() && passive.iter().map(|device| device.as_str()).eq(["b"])
        })
        .await;
        assert!(!view.directory.is_passivated(&"a".parse().unwrap()), "nobody is told that it is offline");
        assert_eq!(transitions(&alerts, "a"), [TransitionKind::Online, TransitionKind::Offline]);
        // An hour without marks is no silence of anybody.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(forgotten(&view, "forget_after"), 1);
        assert_eq!(deployment.drain().await, Ended::Drained);
    });
}
