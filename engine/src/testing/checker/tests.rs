use std::sync::Arc;

use super::*;
use crate::ack::Guards;
use crate::batch::Batch;
use crate::checkpoint::{CheckpointDelta, CheckpointMeta, Scope, StateStore};
use crate::position::{Cursor, Epoch, Position, TopicOffset};
use crate::record::Reason;
use crate::sink::Submitted;
use crate::testing::record;
use crate::testing::world::Message;

const DEVICE: &str = "d";

/// What a run left behind, as numbers of records in the order in which they stand; one device, one partition.
#[derive(Clone)]
struct Left {
    log: Vec<usize>,
    state: Vec<usize>,
    history: Vec<usize>,
    shaped: Vec<usize>,
    /// Which of the right transitions are in the journal.
    journal: Vec<usize>,
}

/// What a run leaves that went well, after the messages 1 to 6.
fn right() -> Left {
    let all: Vec<usize> = (1..=6).collect();
    let copies = |n: &usize| std::iter::repeat_n(*n, SimShape::copies(*n as u64));
    let shaped = all.iter().flat_map(copies).collect();
    Left { log: all.clone(), state: all.clone(), history: all, shaped, journal: vec![0, 1, 2] }
}

fn violations(left: &Left) -> Vec<String> {
    let world = World::new(1, 1);
    for number in 1..=6 {
        world.broker.publish(Message { number, device: DEVICE.to_owned(), poison: Poison::None });
    }
    for number in &left.log {
        world.log.append("data", 0, record(DEVICE, *number));
    }
    let Tables { state, shaped, history } = &world.tables;
    for (table, numbers) in [(state, &left.state), (history, &left.history), (shaped, &left.shaped)] {
        for (offset, number) in (0..).zip(numbers) {
            let position = Some(Position { topic: world.log.id("data"), partition: 0, offset, output: 0 });
            let records = vec![Record { position, ..record(DEVICE, *number) }];
            table.apply(&Batch::new(0, records, Guards::default()), Epoch(1));
        }
    }
    let device: DeviceId = DEVICE.parse().expect("a valid device id");
    let transitions = model::transitions(&world, 0, &world.limits()).remove(&device).unwrap_or_default();
    for transition in left.journal.iter().filter_map(|at| transitions.get(*at)) {
        let payload = serde_json::to_vec(transition).expect("plain data").into();
        world.log.append("alerts", 0, Record { payload, ..record(DEVICE, 100) });
    }
    check(&world);
    world.trouble.violations()
}

/// That this mistake, and no other, is found: in a violation that says these words.
fn finds(words: &str, mistake: impl Fn(&mut Left)) {
    let mut left = right();
    mistake(&mut left);
    let found = violations(&left);
    assert!(found.iter().any(|violation| violation.contains(words)), "`{words}` is not in {found:#?}");
}

#[test]
fn what_went_well_is_no_violation() {
    assert_eq!(violations(&right()), [""; 0]);
}

#[test]
fn losses_are_found() {
    finds("is 0 times in the log", |left| left.log.retain(|n| *n != 3));
    finds("state: 3 has 0 effects", |left| left.state.retain(|n| *n != 3));
    finds("history: 6 has 0 effects", |left| left.history.truncate(left.history.len() - 1));
    finds("shaped: ", |left| left.shaped.truncate(left.shaped.len() - 1));
    finds("journal of d", |left| left.journal.truncate(left.journal.len() - 1));
}

#[test]
fn repetitions_are_found() {
    finds("is 2 times in the log", |left| left.log.insert(3, 3));
    finds("state: 3 has 2 effects", |left| left.state.insert(3, 3));
    finds("history: 3 has 2 effects", |left| left.history.push(3));
    finds("shaped: ", |left| left.shaped.push(left.shaped[0]));
    finds("journal of d", |left| left.journal.push(2));
}

#[test]
fn disorder_is_found() {
    finds("d: 3 stands behind Some(4)", |left| left.log.swap(2, 3));
    finds("state: 3 of d came behind Some(4)", |left| left.state.swap(2, 3));
    finds("journal of d", |left| left.journal.swap(0, 1));
}

#[test]
fn poison_that_went_nowhere_is_found() {
    let world = World::new(1, 1);
    let message = Message { number: 1, device: DEVICE.to_owned(), poison: Poison::Processor };
    world.broker.publish(message);
    check(&world);
    assert_eq!(world.trouble.violations().len(), 1, "it is neither in the log nor in the dead letters");
}

#[test]
fn an_acknowledgement_of_what_is_nowhere_is_found() {
    let world = World::new(1, 2);
    world.log.append("data", 1, record(DEVICE, 1));
    world.log.append(DEAD, 0, record(DEVICE, 2));
    (1..=2).for_each(|number| acknowledged(&world, number));
    assert_eq!(world.trouble.violations(), [""; 0]);
    acknowledged(&world, 3);
    assert_eq!(world.trouble.violations().len(), 1);
}

/// The letter that a stage writes of a record that stood at an offset of `data`.
fn letter(world: &World, stage: &str, offset: i64) -> Record {
    let position = Position { topic: world.log.id("data"), partition: 0, offset, output: 0 };
    let record = Record { position: Some(position), ..record(DEVICE, offset as usize) };
    crate::runtime::dead(&record, &stage.into(), Reason("bad"), "injected", 1)
}

#[test]
fn what_is_applied_or_given_up_again_behind_its_letter_is_found() {
    let world = World::new(1, 1);
    let of = |offset| letter(&world, "state", offset);
    world.letters.begin(Epoch(1));
    world.letters.append(&of(1), Epoch(1));
    world.letters.begin(Epoch(2));
    world.letters.append(&of(2), Epoch(2));
    // The former owner does not know yet.
    world.letters.append(&of(3), Epoch(1));
    let had = |stage: &str, offset| {
        let record = Record { dead: None, ..of(offset) };
        world.letters.had(stage, &record, Epoch(2))
    };
    assert_eq!([1, 2, 3, 4].map(|offset| had("state", offset)), [true, true, false, false]);
    assert!(!had("another", 1));
    // Where its answer was lost.
    world.letters.append(&of(2), Epoch(2));
    assert_eq!(world.trouble.violations(), [""; 0]);
    world.letters.append(&of(1), Epoch(2));
    assert_eq!(world.trouble.violations(), ["state gave up 1 again"]);
}

#[test]
fn only_where_something_may_be_mended_a_refused_record_may_be_applied() {
    for mends in [false, true] {
        let world = World::new(1, 1);
        if mends {
            world.let_mend();
        }
        let message = Message { number: 1, device: DEVICE.to_owned(), poison: Poison::Table };
        world.broker.publish(message);
        let payload = bytes::Bytes::from_static(br#"{"n":1,"poison":"table"}"#);
        world.log.append("data", 0, Record { payload, ..record(DEVICE, 1) });
        let (_, in_log) = world.log.all("data", 0).swap_remove(0);
        let batch = Batch::new(0, vec![in_log], Guards::default());
        for table in [&world.tables.state, &world.tables.shaped, &world.tables.history] {
            table.apply_mended(&batch, Epoch(1), |_| true, |_| ());
        }
        check(&world);
        let of_tables = |violation: &String| violation.contains("effects");
        assert_eq!(world.trouble.violations().iter().filter(|v| of_tables(v)).count(), if mends { 0 } else { 3 });
    }
}

/// A world whose table and checkpoint of partition 0 have come up to these offsets of `data`.
async fn come_to(table: i64, checkpoint: i64) -> Arc<World> {
    let world = World::new(1, 1);
    let topic = world.log.id("data");
    let position = Some(Position { topic, partition: 0, offset: table, output: 0 });
    let records = vec![Record { position, ..record(DEVICE, 1) }];
    world.tables.state.apply(&Batch::new(0, records, Guards::default()), Epoch(1));
    let cursor = Cursor(vec![TopicOffset { topic, offset: checkpoint }]);
    let meta = CheckpointMeta { number: 1, cursor, ..CheckpointMeta::default() };
    let scope = Scope { topology: "t".into(), source: "s".into(), partition: 0 };
    let delta = CheckpointDelta { meta, ..CheckpointDelta::default() };
    world.state.save(&scope, Epoch(1), &delta).await.expect("nothing is in its way");
    world
}

#[tokio::test(start_paused = true)]
async fn a_commit_above_what_is_delivered_or_saved_is_found() {
    let cases: [(_, _, _, &[&str]); 5] = [
        (7, 7, 8, &[]),
        (7, 9, 8, &[]),
        (7, 9, 9, &["state has never come further than 8"]),
        (9, 7, 9, &["the checkpoint has never come further than 8"]),
        (7, 7, 9, &["state", "the checkpoint"]),
    ];
    for (table, checkpoint, next, expect) in cases {
        let world = come_to(table, checkpoint).await;
        committed(&world, world.log.id("data"), 0, next);
        let found = world.trouble.violations();
        assert!(found.len() == expect.len() && found.iter().zip(expect).all(|(f, e)| f.contains(e)), "{found:?}");
    }
}

#[test]
fn what_a_former_owner_writes_late_is_found() {
    let in_log = World::new(1, 1);
    for epoch in [1, 2, 1] {
        // Nobody has taken the topic over, so that nobody is refused.
        in_log.log.write("marks", 0, &record(DEVICE, 1), Epoch(epoch), false).expect("nobody owns it");
    }
    owners(&in_log);
    assert_eq!(in_log.trouble.violations(), ["marks/0: epoch 1 has written behind epoch 2"]);

    let in_table = World::new(1, 2);
    let write = |partition, offset, epoch| {
        let position = Some(Position { topic: in_table.log.id("data"), partition, offset, output: 0 });
        let records = vec![Record { position, ..record(DEVICE, 1) }];
        in_table.tables.shaped.apply(&Batch::new(partition, records, Guards::default()), Epoch(epoch))
    };
    write(0, 1, 2);
    write(1, 1, 1);
    owners(&in_table);
    assert_eq!(in_table.trouble.violations(), [""; 0], "partitions have their owners each");
    assert!(matches!(write(0, 2, 1), Submitted::Fatal(_)), "the table refuses it");
    owners(&in_table);
    assert_eq!(in_table.trouble.violations(), [""; 0]);
}
