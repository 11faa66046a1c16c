//! A sink that appends to the log, in order, several batches in flight.
//!
//! As one connection with an idempotent producer does: once a batch did not get through, those behind it are refused
//! until the engine submits from there again, and a write whose answer was lost is recognised.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::batch::Batch;
use crate::context::BuildContext;
use crate::position::Epoch;
use crate::record::{Kind, Reason, Record};
use crate::sink::{Completion, Sink, Submitted};
use crate::testing::world::{DEAD, Superseded, World, journal};

/// Appends to one topic of the log.
///
/// As one with a transactional id does, it takes the topic over from earlier owners; dead letters are taken from anybody.
pub struct SimRouter {
    world: Arc<World>,
    topic: &'static str,
    epoch: Epoch,
    window: usize,
    wire: Arc<Mutex<Wire>>,
}

#[derive(Default)]
struct Wire {
    in_flight: usize,
    broken: bool,
    last: Option<Instant>,
    /// Held by the one that is being written.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl SimRouter {
    /// A router to `topic`, which is offered as a journal under the stage's name.
    pub fn new(world: &Arc<World>, cx: &BuildContext, topic: &'static str, window: usize) -> Self {
        cx.ports.offer_journal(&cx.stage, journal(&world.log, topic));
        let owned: &[&str] = match topic {
            "data" => &["data", "marks"],
            DEAD => &[],
            other => &[other],
        };
        for topic in owned {
            // Of an owner that comes too late every write is refused: here nothing is to be done.
            let _ = world.log.take_over(topic, cx.epoch);
        }
        if topic == DEAD {
            world.letters.begin(cx.epoch);
            cx.ports.offer_letters(world.letters.clone());
        }
        SimRouter { world: world.clone(), topic, epoch: cx.epoch, window, wire: Arc::default() }
    }
}

fn lock(wire: &Mutex<Wire>) -> MutexGuard<'_, Wire> {
    wire.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The instant at which a write that starts now is through, behind all before it.
pub(super) fn through(last: &mut Option<Instant>, takes: Duration) -> Instant {
    let at = Instant::now() + takes;
    let at = last.map_or(at, |last| at.max(last + Duration::from_micros(1)));
    *last = Some(at);
    at
}

/// Takes one from the count of what is in flight, however the flight ends.
struct Flying(Arc<Mutex<Wire>>);

impl Drop for Flying {
    fn drop(&mut self) {
        lock(&self.0).in_flight -= 1;
    }
}

impl Sink for SimRouter {
    fn window(&self) -> usize {
        self.window
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        match self.topic {
            // A transition that is given up is missing by right; few enough that none is.
            "alerts" => self.world.trouble.maybe_panic_on(self.topic, 0),
            topic => self.world.trouble.maybe_panic(topic),
        }
        let (at, turn) = {
            let mut wire = lock(&self.wire);
            if wire.in_flight == 0 {
                wire.broken = false;
            }
            wire.in_flight += 1;
            (through(&mut wire.last, self.world.trouble.delay()), wire.turn.clone())
        };
        let flying = Flying(self.wire.clone());
        let (world, topic, epoch, wire) = (self.world.clone(), self.topic, self.epoch, self.wire.clone());
        async move {
            let _flying = flying;
            sleep_until(at).await;
            let _turn = turn.lock().await;
            let answer = if lock(&wire).broken {
                retry("one before it did not get through")
            } else {
                write(&world, topic, &batch, epoch).await
            };
            if !matches!(answer, Submitted::Delivered) {
                lock(&wire).broken = true;
            }
            answer
        }
        .boxed()
    }
}

fn retry(detail: &str) -> Submitted {
    Submitted::Retry { reason: Reason("unavailable"), detail: detail.to_owned(), after: None }
}

async fn write(world: &World, topic: &'static str, batch: &Batch, epoch: Epoch) -> Submitted {
    if world.trouble.is_down("log") || world.trouble.fails(topic) {
        return retry("injected: the log is away");
    }
    // A lost answer may also stand for a write that took effect in part.
    let lost = world.trouble.loses_answer(topic);
    let upto = if lost { world.trouble.between(0, batch.len() as u64) as usize } else { batch.len() };
    for record in &batch.records[..upto] {
        if record.dead.is_some() && topic != DEAD {
            continue;
        }
        world.trouble.step().await;
        let written = match topic {
            DEAD => {
                world.letters.append(record, epoch);
                Ok(())
            }
            "data" if record.kind == Kind::Mark => mark(world, record, epoch, lost),
            _ => world.log.write(topic, world.log.partition_of(&record.device), record, epoch, lost),
        };
        if let Err(Superseded { by }) = written {
            world.trouble.note(|| format!("{topic}: {epoch} was superseded by {by}"));
            return Submitted::Fatal(format!("fenced: {epoch} by {by}"));
        }
    }
    world.trouble.step().await;
    if lost { retry("injected: the answer is lost") } else { Submitted::Delivered }
}

/// Writes a mark to every partition, with what was delivered to it before.
fn mark(world: &World, record: &Record, epoch: Epoch, lost: bool) -> Result<(), Superseded> {
    let mut body: Value = serde_json::from_slice(&record.payload).expect("the ingress writes JSON");
    for partition in 0..world.log.partitions() {
        let end = world.log.end("data", partition);
        body["delivered"] = if end > 0 { json!({ "data": end - 1 }) } else { json!({}) };
        let mark = Record { payload: body.to_string().into(), ..record.clone() };
        world.log.write("marks", partition, &mark, epoch, lost)?;
    }
    Ok(())
}
