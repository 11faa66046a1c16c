//! Subjects in turns: each gets the same load, at full speed and at a steady rate.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::Amount;
use crate::fleet::{Fleet, payload};
use crate::scratch::Bytes;
use crate::subject::{Kind, Subject};

/// Sent before anything is measured, as a part of what is.
const WARM_UP: usize = 20;

/// What one subject did in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Records acknowledged a second, at full speed.
    pub rate: f64,
    /// Records a second until all were in the store. None without a store.
    pub stored: Option<f64>,
    /// CPU time of the whole process a record at full speed, in microseconds.
    pub micros: f64,
    /// The same at a steady rate.
    pub steady: f64,
    /// What its data directory took a record, behind the load at full speed.
    pub journals: f64,
    /// The part of it that is in tables.
    pub tables: f64,
}

/// What all did in one turn, in the order of [`Kind::ALL`].
pub type Turn = [Cost; 3];

/// Takes all turns.
pub fn measure(amount: Amount) -> anyhow::Result<Vec<Turn>> {
    let turn = |number: usize| -> anyhow::Result<Turn> {
        let [mosquitto, log, full] = Kind::ALL.map(|kind| {
            let cost = cost(kind, amount).with_context(|| kind.title());
            if let Ok(cost) = &cost {
                println!(
                    "{number}/{} {}: {:.0} records/s, {:.1} µs of CPU a record; {:.1} µs at {} records/s",
                    amount.turns,
                    kind.title(),
                    cost.rate,
                    cost.micros,
                    cost.steady,
                    amount.rate,
                );
            }
            cost
        });
        Ok([mosquitto?, log?, full?])
    };
    (1..=amount.turns).map(turn).collect()
}

fn cost(kind: Kind, amount: Amount) -> anyhow::Result<Cost> {
    let mut subject = Subject::start(kind)?;
    let mut fleet = Fleet::connect(subject.mqtt(), amount.connections)?;
    let each = (amount.records / amount.connections).max(1);
    let (warm, records) = ((each / WARM_UP).max(1), each * amount.connections);
    fleet.flood(warm, amount.window)?;
    settle(kind, &mut subject, warm, amount)?;

    let (before, began) = (subject.cpu()?, Instant::now());
    let took = fleet.flood(each, amount.window)?;
    let stored = match kind {
        Kind::Full => {
            subject.stored(&last(each, amount))?;
            Some(records as f64 / began.elapsed().as_secs_f64())
        }
        Kind::Mosquitto | Kind::Log => None,
    };
    subject.settle()?;
    let spent = subject.cpu()? - before;
    let Bytes { journals, tables } = subject.disk()?;
    let written = (records + warm * amount.connections) as f64;

    let each = (amount.steady.as_secs() as usize * amount.rate / amount.connections).max(1);
    let before = subject.cpu()?;
    fleet.pace(each, amount.rate, payload)?;
    settle(kind, &mut subject, each, amount)?;
    let steady = subject.cpu()? - before;
    drop(fleet);
    subject.stop()?;
    Ok(Cost {
        rate: records as f64 / took.as_secs_f64(),
        stored,
        micros: micros(spent, records),
        steady: micros(steady, each * amount.connections),
        journals: journals as f64 / written,
        tables: tables as f64 / written,
    })
}

fn settle(kind: Kind, subject: &mut Subject, each: usize, amount: Amount) -> anyhow::Result<()> {
    if kind == Kind::Full {
        subject.stored(&last(each, amount))?;
    }
    subject.settle()
}

/// The numbers of the devices' last records, when each has published so many.
fn last(each: usize, amount: Amount) -> Vec<usize> {
    (0..amount.connections).map(|device| (each - 1) * amount.connections + device).collect()
}

fn micros(spent: Duration, records: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / records as f64
}
