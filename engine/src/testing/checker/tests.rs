use super::*;
use crate::ack::Guards;
use crate::batch::Batch;
use crate::position::{Epoch, Position};
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
    let (world, tables) = (World::new(1, 1), Tables::default());
    for number in 1..=6 {
        world.broker.publish(Message { number, device: DEVICE.to_owned(), poison: Poison::None });
    }
    for number in &left.log {
        world.log.append("data", 0, record(DEVICE, *number));
    }
    for (table, numbers) in
        [(&tables.state, &left.state), (&tables.history, &left.history), (&tables.shaped, &left.shaped)]
    {
        for (offset, number) in (0..).zip(numbers) {
            let position = Some(Position { topic: world.log.id("data"), partition: 0, offset, output: 0 });
            let records = vec![Record { position, ..record(DEVICE, *number) }];
            table.apply(&Batch::new(0, records, Guards::default()), Epoch(1));
        }
    }
    let device: DeviceId = DEVICE.parse().expect("a valid device id");
    let transitions = model::transitions(&world, 0).remove(&device).unwrap_or_default();
    for transition in left.journal.iter().filter_map(|at| transitions.get(*at)) {
        let payload = serde_json::to_vec(transition).expect("plain data").into();
        world.log.append("alerts", 0, Record { payload, ..record(DEVICE, 100) });
    }
    check(&world, &tables);
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
    let (world, tables) = (World::new(1, 1), Tables::default());
    let message = Message { number: 1, device: DEVICE.to_owned(), poison: Poison::Processor };
    world.broker.publish(message);
    check(&world, &tables);
    assert_eq!(world.trouble.violations().len(), 1, "it is neither in the log nor in the dead letters");
}
