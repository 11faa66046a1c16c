//! What must hold of a simulated world once a run has come to its end.

use std::collections::{BTreeMap, BTreeSet};

use crate::device_id::DeviceId;
use crate::position::{Epoch, Partition, TopicId};
use crate::record::{Kind, Record};
use crate::registry::SessionLimits;

use super::fakes::{GROUP, SimShape, Transition};
use super::world::{DEAD, Poison, SimTable, Tables, World};
use super::{model, number_of};

/// Checks what an ingress acknowledges, at that moment: the message is in the log or in the dead letters.
pub fn acknowledged(world: &World, number: u64) {
    let has = |topic| world.log.has(topic, |record| number_of(record) == number);
    if !has("data") && !has(DEAD) {
        world.trouble.violation(format!("{number} is acknowledged, and neither in the log nor in the dead letters"));
    }
}

/// Checks what a source commits, at that moment: the table that hangs on it, and the checkpoint, have come that far.
pub fn committed(world: &World, topic: TopicId, partition: Partition, next: i64) {
    let state = world.tables.state.furthest(topic, partition);
    let checkpoint = world.state.furthest(topic, partition);
    for (what, furthest) in [("state", state), ("the checkpoint", checkpoint)] {
        if let Some(furthest) = furthest.filter(|furthest| *furthest < next) {
            let what = format!("{next} of {partition} is committed, and {what} has never come further than {furthest}");
            world.trouble.violation(what);
        }
    }
}

/// Whether the source has committed everything that is in its topics.
pub fn is_all_committed(world: &World) -> bool {
    let at_end = |(topic, partition): (&str, i32)| {
        let committed = world.log.committed(GROUP, world.log.id(topic), partition);
        committed.unwrap_or(0) == world.log.end(topic, partition)
    };
    (0..world.log.partitions()).all(|p| at_end(("data", p)) && at_end(("marks", p)))
}

/// Checks loss, order, single effect, transitions and hand-overs; what is wrong is entered as a violation.
pub fn check(world: &World) {
    let tables = &world.tables;
    let dead = Dead::of(world);
    produced(world, &dead);
    // What is mended may be applied, and be given up by an owner that was superseded meanwhile. Whether who applies it knew
    // of a letter is checked at that moment.
    let refused = if world.mends() { Expect::Copies(1) } else { Expect::Dead };
    let in_log: Vec<Record> =
        (0..world.log.partitions()).flat_map(|p| world.log.all("data", p)).map(|(_, record)| record).collect();
    table(world, "state", &tables.state, &in_log, &dead, |_, p| match p {
        Poison::Table => refused,
        Poison::TablePanic => Expect::Dead,
        _ => Expect::Copies(1),
    });
    table(world, "history", &tables.history, &in_log, &dead, |_, p| match p {
        Poison::Table => refused,
        Poison::TablePanic => Expect::Dead,
        Poison::Keyed => Expect::Absent,
        _ => Expect::Copies(1),
    });
    table(world, "shaped", &tables.shaped, &in_log, &dead, |n, p| match p {
        Poison::Table if SimShape::copies(n) > 0 && !world.mends() => Expect::Dead,
        Poison::TablePanic if SimShape::copies(n) > 0 => Expect::Dead,
        _ => Expect::Copies(SimShape::copies(n)),
    });
    for record in in_log.iter().filter(|r| Poison::of(&r.payload) == Poison::Keyed) {
        if !dead.by_stage.contains(&("keyed".to_owned(), number_of(record))) {
            world
                .trouble
                .violation(format!("{} is poison for the keyed stage and not in the dead letters", number_of(record)));
        }
    }
    journal(world, &world.limits());
    owners(world);
}

/// The dead letters, by the stage that gave them up.
struct Dead {
    by_stage: BTreeSet<(String, u64)>,
}

impl Dead {
    fn of(world: &World) -> Dead {
        // A mark that was given up is a second that nobody vouches for, and no message.
        let records = world.log.all(DEAD, 0).into_iter().map(|(_, record)| record).filter(|r| r.kind != Kind::Mark);
        let stage = |r: &Record| r.dead.as_ref().map(|d| d.stage.to_string()).unwrap_or_default();
        Dead { by_stage: records.map(|r| (stage(&r), number_of(&r))).collect() }
    }
}

/// Every message is in the log once, or in the dead letters; the log has each device's in order.
fn produced(world: &World, dead: &Dead) {
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for partition in 0..world.log.partitions() {
        let mut last: BTreeMap<DeviceId, u64> = BTreeMap::new();
        for (offset, record) in world.log.all("data", partition) {
            let number = number_of(&record);
            *seen.entry(number).or_default() += 1;
            let before = last.insert(record.device.clone(), number);
            if before.is_some_and(|before| before >= number) {
                let device = &record.device;
                world
                    .trouble
                    .violation(format!("{device}: {number} stands behind {before:?} in data/{partition}/{offset}"));
            }
        }
    }
    for message in world.broker.all() {
        let number = message.number;
        let in_log = seen.get(&number).copied().unwrap_or(0);
        let in_dead = ["clean", "router"].iter().any(|stage| dead.by_stage.contains(&((*stage).to_owned(), number)));
        let right = match message.poison {
            Poison::Processor => in_log == 0 && in_dead,
            _ => in_log + usize::from(in_dead) == 1,
        };
        if !right {
            world.trouble.violation(format!("message {message:?} is {in_log} times in the log; dead: {in_dead}"));
        }
    }
}

#[derive(Clone, Copy)]
enum Expect {
    Copies(usize),
    Absent,
    Dead,
}

/// A table has every record's effect as often as it should, each device's in order.
fn table(
    world: &World,
    name: &str,
    table: &SimTable,
    in_log: &[Record],
    dead: &Dead,
    expect: impl Fn(u64, Poison) -> Expect,
) {
    let mut effects: BTreeMap<u64, usize> = BTreeMap::new();
    let mut last: BTreeMap<DeviceId, u64> = BTreeMap::new();
    for record in table.effects() {
        let number = number_of(&record);
        *effects.entry(number).or_default() += 1;
        let before = last.insert(record.device.clone(), number);
        if before.is_some_and(|before| before > number) {
            world.trouble.violation(format!("{name}: {number} of {} came behind {before:?}", record.device));
        }
    }
    for record in in_log {
        let number = number_of(record);
        let effects = effects.get(&number).copied().unwrap_or(0);
        let is_dead = dead.by_stage.contains(&(name.to_owned(), number))
            || (name == "shaped" && dead.by_stage.contains(&("shape".to_owned(), number)));
        let right = match expect(number, Poison::of(&record.payload)) {
            Expect::Copies(copies) => effects == copies || (is_dead && effects < copies),
            Expect::Absent => effects == 0,
            Expect::Dead => effects == 0 && is_dead,
        };
        if !right {
            world.trouble.violation(format!("{name}: {number} has {effects} effects; dead: {is_dead}"));
        }
    }
}

/// The journal has exactly the transitions that the log makes.
fn journal(world: &World, limits: &SessionLimits) {
    for partition in 0..world.log.partitions() {
        let expected = model::transitions(world, partition, limits);
        let mut found: BTreeMap<DeviceId, Vec<Transition>> = BTreeMap::new();
        for (_, record) in world.log.all("alerts", partition) {
            match serde_json::from_slice(&record.payload) {
                Ok(transition) => found.entry(record.device).or_default().push(transition),
                Err(error) => world.trouble.violation(format!("alerts/{partition}: {error}")),
            }
        }
        let devices: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for device in devices {
            let (expected, found) = (expected.get(device), found.get(device));
            if expected != found {
                world.trouble.violation(format!("journal of {device}:\n  expected {expected:?}\n  found    {found:?}"));
            }
        }
    }
}

/// Nobody has written anywhere once a later owner had.
fn owners(world: &World) {
    let mut writers: Vec<(String, Epoch)> = Vec::new();
    for topic in ["data", "marks", "alerts"] {
        for partition in 0..world.log.partitions() {
            let place = format!("{topic}/{partition}");
            writers.extend(world.log.writers(topic, partition).into_iter().map(|epoch| (place.clone(), epoch)));
        }
    }
    let Tables { state, shaped, history } = &world.tables;
    for (name, table) in [("state", state), ("shaped", shaped), ("history", history)] {
        let writes = table.writers().into_iter();
        writers.extend(writes.map(|(partition, epoch)| (format!("{name}/{partition}"), epoch)));
    }
    let mut newest: BTreeMap<String, Epoch> = BTreeMap::new();
    for (place, epoch) in writers {
        let before = newest.insert(place.clone(), epoch).unwrap_or_default();
        if before > epoch {
            world.trouble.violation(format!("{place}: epoch {epoch} has written behind epoch {before}"));
        }
    }
}

#[cfg(test)]
mod tests;
