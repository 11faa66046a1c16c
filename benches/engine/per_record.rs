//! A record through the whole engine against the plain loop, at 1k, 100k and 1M devices.

use std::hint::black_box;
use std::time::Duration;

use telemill_engine::record::Record;

use crate::cpu::CpuTime;
use crate::fleet::{BATCH, Fleet};
use crate::plain_loop::PlainLoop;
use crate::rig::Rig;
use crate::store::MemoryStore;
use crate::summary::{Row, Summary, Target};

/// Batches made and then dealt with at once: as many as a mailbox holds. More would not stay in the processor's cache
/// on their way from the source, and both sides would wait for memory instead of working.
const TURN: usize = 8;

/// Turns in a round.
const TURNS: usize = 64;

/// Rounds of each side.
const ROUNDS: usize = 15;

/// How long the engine works between two checkpoints. Its clock stands still while batches are being made and while the
/// other side is measured, and goes on by the CPU time that it has used: so the share of the checkpoints is what it is on
/// a machine of its own, and the same on a busy one.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// Runs `body` on a system of its own.
pub fn on_a_system<T>(body: impl AsyncFnOnce() -> T) -> T {
    actix::System::new().block_on(async { body().await })
}

/// Runs `body` on a system whose time only goes on when it is told to, or when nothing else can.
fn in_working_time<T>(body: impl AsyncFnOnce() -> T) -> T {
    let runtime = || {
        let built = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        built.expect("a runtime without I/O needs nothing from the system")
    };
    actix::System::with_tokio_rt(runtime).block_on(async { body().await })
}

/// Measures all sizes and puts them into the table.
pub fn measure(summary: &mut Summary) {
    let small = compare(1_000);
    let large = compare(100_000);
    let million = compare(1_000_000);
    for (what, costs) in [("1k", &small), ("100k", &large)] {
        summary.add(Row {
            what: format!("a record, {what} devices: engine {:.0} ns, plain loop {:.0} ns", costs.engine, costs.plain),
            measured: format!("{:.2}×", costs.ratio()),
            target: Target::AtMost { limit: 1.15, is: costs.ratio(), text: "≤ 1.15×" },
        });
    }
    let against_small = million.engine / small.engine;
    summary.add(Row {
        what: format!(
            "a record, 1M devices: {:.0} ns, with 1k {:.0} ns (plain loop at 1M: {:.0} ns)",
            million.engine, small.engine, million.plain
        ),
        measured: format!("{against_small:.2}×"),
        target: Target::AtMost { limit: 2.0, is: against_small, text: "≤ 2×" },
    });
}

/// CPU time a record, in nanoseconds.
struct Costs {
    engine: f64,
    plain: f64,
    ratios: Vec<f64>,
}

impl Costs {
    fn ratio(&self) -> f64 {
        median(self.ratios.clone())
    }
}

fn compare(devices: usize) -> Costs {
    in_working_time(async || {
        let store = MemoryStore::keeping();
        let mut rig = Rig::start(&store, CHECKPOINT_EVERY).await;
        let mut plain = PlainLoop::new();
        let (mut ours, mut theirs) = (Fleet::new(devices), Fleet::new(devices));
        rig.pass(ours.roll_call()).await;
        theirs.roll_call().into_iter().for_each(|batch| drop(plain.batch(batch)));
        rig.acknowledged().await;
        let before = store.written();
        let (mut engine, mut by_hand, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut spent = Duration::ZERO;
        for round in 0..=ROUNDS {
            let (mut us, mut them) = (Duration::ZERO, Duration::ZERO);
            for turn in 0..TURNS {
                us += work(&mut rig, turn_of(&mut ours, turn)).await;
            }
            for _ in 0..TURNS {
                let batches = theirs.batches(TURN);
                let started = CpuTime::now();
                for batch in batches {
                    drop(black_box(plain.batch(batch)));
                }
                them += started.elapsed();
            }
            // The first round only warms both up.
            if round > 0 {
                spent += us;
                engine.push(per_record(us));
                by_hand.push(per_record(them));
                ratios.push(us.as_secs_f64() / them.as_secs_f64());
            }
        }
        black_box(plain.digest());
        let written = store.written();
        let costs = Costs { engine: median(engine), plain: median(by_hand), ratios };
        println!(
            "per record, {devices} devices: engine {:.0} ns, plain loop {:.0} ns, ratio {:.3} (of {ROUNDS} rounds {:.3} to {:.3}); \
             {} checkpoints of {} sessions within {:.1} s of the engine's CPU time",
            costs.engine,
            costs.plain,
            costs.ratio(),
            costs.ratios.iter().copied().fold(f64::INFINITY, f64::min),
            costs.ratios.iter().copied().fold(0.0, f64::max),
            written.0 - before.0,
            (written.1 - before.1) / (written.0 - before.0).max(1),
            spent.as_secs_f64(),
        );
        rig.stop().await;
        costs
    })
}

/// The engine alone, for a profiler.
pub fn run(devices: usize) {
    in_working_time(async || {
        let mut rig = Rig::start(&MemoryStore::keeping(), CHECKPOINT_EVERY).await;
        let mut fleet = Fleet::new(devices);
        rig.pass(fleet.roll_call()).await;
        for turn in 0..TURNS * ROUNDS {
            work(&mut rig, turn_of(&mut fleet, turn)).await;
        }
        rig.stop().await;
    });
}

/// The engine deals with the batches of a turn; the CPU time that it took.
async fn work(rig: &mut Rig, batches: Vec<Vec<Record>>) -> Duration {
    let started = CpuTime::now();
    rig.pass(batches).await;
    let took = started.elapsed();
    tokio::time::advance(took).await;
    took
}

/// The batches of a turn; each round begins with a mark.
fn turn_of(fleet: &mut Fleet, turn: usize) -> Vec<Vec<Record>> {
    let mark = (turn == 0).then(|| fleet.mark());
    let mut batches = fleet.batches(TURN);
    batches[0].splice(0..0, mark);
    batches
}

fn per_record(spent: Duration) -> f64 {
    spent.as_nanos() as f64 / (TURNS * TURN * BATCH) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
