//! One cell of the table: a leg, live or draining, engine and bare loop in turn.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Amount;
use crate::leg::Leg;
use crate::load;
use crate::site::Site;
use crate::subject::{Kind, Subject};

/// How long records may take to arrive at the end of a leg.
const ARRIVED_WITHIN: Duration = Duration::from_secs(120);
/// What follows a record's arrival (its acknowledgement, a commit) belongs to its cost.
const SETTLE: Duration = Duration::from_millis(600);
/// Sent before a live run is measured.
const WARM_UP: Duration = Duration::from_millis(1500);

/// How records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// At a steady rate.
    Live,
    /// All are there when the process starts.
    Backlog,
}

/// What one process cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU seconds a million records, which is microseconds a record.
    pub micros: f64,
    /// Records a second, from the start of the load to the arrival of the last record.
    pub rate: f64,
}

/// One row of the table.
pub struct Row {
    /// The leg.
    pub leg: Leg,
    /// How records came.
    pub load: Load,
    /// Engine and bare loop, turn by turn.
    pub pairs: Vec<(Cost, Cost)>,
}

/// Takes all measurements.
pub fn measure(legs: &[Leg], amount: Amount) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &leg in legs {
        let (mut live, mut backlog) = (Vec::new(), Vec::new());
        // The services run slower when they have just been started: this turn does not count.
        turn(Kind::Bare, leg, Amount { records: 1, live: Duration::from_secs(2), ..amount })?;
        for number in 1..=amount.pairs {
            let engine = turn(Kind::Engine, leg, amount)?;
            let bare = turn(Kind::Bare, leg, amount)?;
            for (load, engine, bare) in [("live", engine.0, bare.0), ("backlog", engine.1, bare.1)] {
                println!(
                    "{} {load} {number}/{}: engine {:.1} µs, bare {:.1} µs a record, ×{:.2}; {:.0} and {:.0} records/s",
                    leg.title(),
                    amount.pairs,
                    engine.micros,
                    bare.micros,
                    engine.micros / bare.micros,
                    engine.rate,
                    bare.rate,
                );
            }
            live.push((engine.0, bare.0));
            backlog.push((engine.1, bare.1));
        }
        rows.push(Row { leg, load: Load::Live, pairs: live });
        rows.push(Row { leg, load: Load::Backlog, pairs: backlog });
    }
    Ok(rows)
}

/// What one process costs on a leg: live, and on a backlog.
fn turn(kind: Kind, leg: Leg, amount: Amount) -> anyhow::Result<(Cost, Cost)> {
    let site = Site::new(&format!("{}-{}", leg.word(), kind.word()));
    site.create_topic()?;
    let live = live(kind, leg, &site, amount).with_context(|| format!("{}, {} live", leg.title(), kind.word()))?;
    let backlog = backlog(kind, leg, &site, amount.records);
    Ok((live, backlog.with_context(|| format!("{}, {} on a backlog", leg.title(), kind.word()))?))
}

fn live(kind: Kind, leg: Leg, site: &Site, amount: Amount) -> anyhow::Result<Cost> {
    let records = |time: Duration| (amount.rate as f64 * time.as_secs_f64()) as usize;
    let mut gauge = site.gauge(leg)?;
    let mut subject = Subject::start(kind, leg, site)?;
    let mut send = |subject: &mut Subject, count| -> anyhow::Result<()> {
        let expected = gauge.read()? + count;
        load::send(leg, site, count, Some(amount.rate))?;
        let there = gauge.reaches(expected, ARRIVED_WITHIN, subject)?;
        ensure!(there == expected, "{} records too many arrived", there - expected);
        std::thread::sleep(SETTLE);
        Ok(())
    };
    send(&mut subject, records(WARM_UP))?;
    let (before, began) = (subject.cpu()?, Instant::now());
    let count = records(amount.live);
    send(&mut subject, count)?;
    let rate = count as f64 / (began.elapsed() - SETTLE).as_secs_f64();
    let spent = subject.cpu()? - before;
    subject.stop()?;
    Ok(Cost { micros: spent.as_secs_f64() * 1e6 / count as f64, rate })
}

/// The cost on a backlog is what the process has used in all, less what it uses until it is ready where there is none.
fn backlog(kind: Kind, leg: Leg, site: &Site, count: usize) -> anyhow::Result<Cost> {
    let mut gauge = site.gauge(leg)?;
    let idle = Subject::start(kind, leg, site)?;
    std::thread::sleep(SETTLE);
    let start_up = idle.cpu()?;
    idle.stop()?;
    let expected = gauge.read()? + count;
    load::send(leg, site, count, None)?;
    let mut subject = Subject::start(kind, leg, site)?;
    let began = Instant::now();
    let there = gauge.reaches(expected, ARRIVED_WITHIN, &mut subject)?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    ensure!(there == expected, "{} records too many arrived", there - expected);
    std::thread::sleep(SETTLE);
    let spent = subject.cpu()?.saturating_sub(start_up);
    subject.stop()?;
    Ok(Cost { micros: spent.as_secs_f64() * 1e6 / count as f64, rate })
}
