//! Shards: sessions restart alone, checkpoints promise only what is delivered, time is in the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{Kind, Reason, Record};
use telemill_engine::registry::{SessionLimits, StageFactory};
use telemill_engine::runtime::Ended;
use telemill_engine::sink::Submitted;
use telemill_engine::testing::fakes::{
    Collected, SimKeyed, SimSource, SinkStep, Transition, TransitionKind, collector,
};
use telemill_engine::testing::world::World;
use telemill_engine::testing::{BASE, PlanBuilder, Sim, keyed, number_of, record, source};
use telemill_engine::topology::Plan;

use super::common::*;

/// A source with a keyed stage, and sinks behind its two outlets.
pub(super) fn shard_plan(world: &Arc<World>, main: StageFactory, alerts: StageFactory, dead: &Collected) -> Plan {
    let [a, b] = [world.clone(), world.clone()];
    PlanBuilder::new(world.state.clone(), writes(dead))
        .stage("source", &[], source(move |_| Ok(SimSource::new(&a))))
        .stage("keyed", &["source"], keyed(move |_| Ok(SimKeyed { world: b.clone() })))
        .with(|stage| {
            stage.outlets = vec!["", "alerts"];
            stage.description.sessions =
                Some(SessionLimits { passivate_after: Duration::from_secs(5), ..SessionLimits::default() });
        })
        .stage("main", &["keyed"], main)
        .stage("alerts", &["keyed.alerts"], alerts)
        .build()
}

fn poison(device: &str, number: usize) -> Record {
    let payload = format!(r#"{{"n":{number},"poison":"keyed"}}"#);
    Record { payload: payload.into(), ..record(device, number) }
}

/// A mark that vouches for one second up to `second`.
pub(super) fn mark(world: &World, second: u64) {
    let (since, time) = (BASE.0 + second * 1000 - 1000, BASE.0 + second * 1000);
    let upto = world.log.end("data", 0) - 1;
    let body = format!(
        r#"{{"v":1,"slot":0,"slot_session":"{}","since":{since},"time":{time},"delivered":{{"data":{upto}}}}}"#,
        "00000000000000000000000000"
    );
    let mark = record("slot", 1_000_000 + second as usize);
    world.log.append(
        "marks",
        0,
        Record { kind: Kind::Mark, payload: body.into(), received_at: Timestamp(time), ..mark },
    );
}

pub(super) fn data(world: &World, device: &str, number: usize) {
    world.log.append("data", 0, record(device, number));
}

pub(super) fn transitions(alerts: &Collected, device: &str) -> Vec<TransitionKind> {
    let device: DeviceId = device.parse().unwrap();
    let of_it = alerts.records().into_iter().filter(|r| r.device == device);
    of_it.map(|r| serde_json::from_slice::<Transition>(&r.payload).unwrap().kind).collect()
}

fn numbers_of(main: &Collected, device: &str) -> Vec<u64> {
    main.records().iter().filter(|r| r.device.as_str() == device).map(number_of).collect()
}

#[test]
fn a_session_that_panics_restarts_alone() {
    let (world, main, alerts, dead) = (world(), collector(), collector(), collector());
    let plan = shard_plan(&world, writes(&main), writes(&alerts), &dead);
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(plan).await.unwrap();
        data(&world, "a", 1);
        world.log.append("data", 0, poison("a", 2));
        data(&world, "a", 3);
        data(&world, "b", 4);
        data(&world, "b", 5);
        data(&world, "b", 6);
        // Its transition goes out while the other device is still backing off.
        sim.until("b goes on", Duration::from_millis(15), || transitions(&alerts, "b").len() == 2).await;
        assert!(dead.is_empty());
        sim.until("all is done", SOON, || main.len() == 5 && world.state.saves() > 0).await;
        assert_eq!(ledger(&deployment.view(), "keyed").restarts["session_panic"], 3);
        let of_shard = restarts(&deployment.view());
        assert_eq!(of_shard, [("keyed".to_owned(), 3)], "of the session; the shard goes on");
        assert_eq!(deployment.drain().await, Ended::Drained);
    });
    assert_eq!(numbers_of(&main, "a"), [1, 3]);
    assert_eq!(numbers_of(&main, "b"), [4, 5, 6]);
    assert_eq!(dead.numbers(), [2]);
    assert_eq!(dead.records()[0].dead.as_ref().unwrap().attempts, 3);
    // A guarded sink would take anything behind a later position for a repetition.
    let offsets: Vec<_> = main.records().iter().map(|r| r.position.unwrap().offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
}

#[test]
fn a_checkpoint_is_written_when_its_outputs_are_delivered_and_then_the_source_commits() {
    let (world, main, alerts, dead) = (world(), collector(), collector(), collector());
    let away = Arc::new(AtomicBool::new(true));
    let is_away = away.clone();
    let decide = move |_: &_| match is_away.load(Ordering::Relaxed) {
        true => {
            let (reason, detail) = (Reason("unavailable"), "injected".to_owned());
            SinkStep::Answer(Submitted::Retry { reason, detail, after: None })
        }
        false => SinkStep::Write(Duration::ZERO),
    };
    let plan = shard_plan(&world, writes(&main), decides(&alerts, 1, decide), &dead);
    Sim::run(BASE, async |sim| {
        let _deployment = sim.deploy(plan).await.unwrap();
        let id = world.log.id("data");
        data(&world, "a", 1);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(main.numbers(), [1]);
        assert_eq!((world.state.saves(), world.log.committed("g", id, 0)), (0, Some(0)));
        world.trouble.set_down("state", true);
        away.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(alerts.len(), 1);
        assert_eq!(world.log.committed("g", id, 0), Some(0), "not before the checkpoint is written");
        world.trouble.set_down("state", false);
        sim.until("it is committed", SOON, || world.log.committed("g", id, 0) == Some(world.log.end("data", 0))).await;
        assert_eq!(world.state.saves(), 1);
    });
}

#[test]
fn a_session_leaves_memory_and_comes_back_as_it_was() {
    let (world, main, alerts, dead) = (world(), collector(), collector(), collector());
    let life = |scene: &dyn Fn(u64)| {
        let plan = shard_plan(&world, writes(&main), writes(&alerts), &dead);
        Sim::run(BASE, async |sim| {
            let deployment = sim.deploy(plan).await.unwrap();
            for second in 1..=20 {
                scene(second);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let directory = &deployment.view().directory;
            let in_memory = directory.session_count();
            assert_eq!(directory.is_passivated(&"a".parse().unwrap()), in_memory == 0);
            assert_eq!(deployment.drain().await, Ended::Drained);
            in_memory
        })
    };
    let in_memory = life(&|second| {
        if second == 1 {
            data(&world, "a", 1);
            data(&world, "a", 2);
        }
        mark(&world, second);
    });
    assert_eq!(in_memory, 0);
    assert_eq!(transitions(&alerts, "a"), [TransitionKind::Online, TransitionKind::Offline]);
    assert_eq!(world.state.sessions().1.len(), 1, "it is in the checkpoint");
    // In another life of the process its third record is still the third.
    let in_memory = life(&|second| {
        if second == 1 {
            data(&world, "a", 3);
        }
    });
    assert_eq!(in_memory, 1);
    let all = [TransitionKind::Online, TransitionKind::Offline, TransitionKind::Online, TransitionKind::Third];
    assert_eq!(transitions(&alerts, "a"), all);
}

#[test]
fn a_checkpoint_that_was_rolled_back_is_made_again_and_not_built_on() {
    let (world, main, alerts, dead) = (world(), collector(), collector(), collector());
    let plan = shard_plan(&world, writes(&main), writes(&alerts), &dead);
    Sim::run(BASE, async |sim| {
        let _deployment = sim.deploy(plan).await.unwrap();
        data(&world, "a", 1);
        sim.until("a is saved", SOON, || world.state.saves() == 1).await;
        world.state.roll_back(0, 0);
        data(&world, "b", 2);
        let end = world.log.end("data", 0) - 1;
        let is_saved = || world.state.cursor(0).get(world.log.id("data")) == Some(end);
        sim.until("b is saved", SOON, is_saved).await;
        let both: Vec<DeviceId> = vec!["a".parse().unwrap(), "b".parse().unwrap()];
        assert_eq!(world.state.sessions().0, both, "what the store had lost is read again");
    });
}

#[test]
fn a_session_that_a_rolled_back_store_no_longer_has_is_not_taken_for_new() {
    use TransitionKind::{Offline, Online, Third};
    let (world, main, alerts, dead) = (world(), collector(), collector(), collector());
    let plan = shard_plan(&world, writes(&main), writes(&alerts), &dead);
    Sim::run(BASE, async |sim| {
        let _deployment = sim.deploy(plan).await.unwrap();
        data(&world, "a", 1);
        data(&world, "a", 2);
        for second in 1..=20 {
            mark(&world, second);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(world.state.sessions().1.len(), 1, "it has left memory");
        world.state.roll_back(0, 0);
        data(&world, "a", 3);
        sim.until("its third record is seen", SOON, || transitions(&alerts, "a").last() == Some(&Third)).await;
    });
    assert_eq!(transitions(&alerts, "a"), [Online, Offline, Online, Offline, Online, Third], "and then the replay");
}

#[test]
fn time_stands_still_without_marks_and_a_replay_repeats_it() {
    let (world, main, alerts, dead) = (world(), collector(), collector(), collector());
    let plan = || shard_plan(&world, writes(&main), writes(&alerts), &dead);
    Sim::run(BASE, async |sim| {
        let _deployment = sim.deploy(plan()).await.unwrap();
        data(&world, "a", 1);
        mark(&world, 1);
        mark(&world, 2);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(transitions(&alerts, "a"), [TransitionKind::Online], "an outage calls nobody offline");
        // The first mark after it vouches for its own second only.
        for second in 602..605 {
            mark(&world, second);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(transitions(&alerts, "a"), [TransitionKind::Online, TransitionKind::Offline]);
    });
    let first: Vec<_> = alerts.records().iter().map(|r| r.payload.clone()).collect();
    // The same log from its beginning, on an empty store.
    let (again, other) = (collector(), World::new(1, 1));
    for topic in ["data", "marks"] {
        other.log.id(topic);
        for (_, record) in world.log.all(topic, 0) {
            other.log.append(topic, 0, record);
        }
    }
    let replay = shard_plan(&other, writes(&main), writes(&again), &dead);
    Sim::run(BASE, async |sim| {
        let deployment = sim.deploy(replay).await.unwrap();
        sim.until("it is replayed", SOON, || again.len() == first.len()).await;
        assert_eq!(deployment.drain().await, Ended::Drained);
    });
    let strip = |payloads: Vec<bytes::Bytes>| {
        let parse = |p: bytes::Bytes| serde_json::from_slice::<Transition>(&p).unwrap();
        payloads.into_iter().map(parse).map(|t| (t.sequence, t.kind, t.log_time)).collect::<Vec<_>>()
    };
    assert_eq!(strip(again.records().iter().map(|r| r.payload.clone()).collect()), strip(first));
}
