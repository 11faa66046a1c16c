//! The run: the schedule hands messages to the connections; it is over when the broker has acknowledged all of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rumqttc::{Publish, QoS};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::connection::{Connection, GaveUp, Shared};
use super::fleet::Fleet;
use super::schedule::{Schedule, Step};
use super::tally::{Kind, Summary};
use super::window::{WINDOW, Window};
use crate::cli::signals::StopSignals;

/// Why not everything was acknowledged.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("{0}")]
    GaveUp(#[from] GaveUp),
    #[error("interrupted a second time; not everything is acknowledged")]
    Interrupted,
}

/// Runs to the end; the figures are good however it ended.
pub(super) async fn run(
    shared: Arc<Shared>,
    schedule: Schedule,
    fleet: Fleet,
    connections: u32,
    stop: Stop,
) -> (Summary, Result<(), Failure>) {
    let result = publish(&shared, schedule, fleet, connections, stop).await;
    shared.report.clear();
    (shared.tally.summary(shared.start.elapsed()), result)
}

async fn publish(
    shared: &Arc<Shared>,
    schedule: Schedule,
    fleet: Fleet,
    connections: u32,
    mut stop: Stop,
) -> Result<(), Failure> {
    let mut clients = JoinSet::new();
    let mut senders = Vec::new();
    let run_id = ulid::Ulid::generate();
    for number in 1..=connections {
        let (sender, messages) = mpsc::channel(WINDOW);
        senders.push(sender);
        let client_id = format!("telemill-simulate-{run_id}-{number}");
        let window = Window::default();
        clients.spawn(Connection { shared: shared.clone(), number, client_id, messages, window }.run());
    }
    let mut tick = tokio::time::interval_at(Instant::now() + shared.report.every(), shared.report.every());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let progress = || shared.report.progress(&shared.tally.summary(shared.start.elapsed()));
    {
        // Dropped at the end of this block, and the senders with it: the connections then finish what they have.
        let pump = pump(shared, schedule, fleet, senders);
        tokio::pin!(pump);
        loop {
            tokio::select! {
                () = &mut pump => break,
                () = stop.wait() => {
                    shared.report.note("stopping: waiting for what is not acknowledged yet");
                    break;
                }
                Some(ended) = clients.join_next() => finished(ended)?,
                _ = tick.tick() => progress(),
            }
        }
    }
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(ended) => finished(ended)?,
                None => return Ok(()),
            },
            () = stop.wait() => return Err(Failure::Interrupted),
            _ = tick.tick() => progress(),
        }
    }
}

fn finished(ended: Result<Result<(), GaveUp>, tokio::task::JoinError>) -> Result<(), GaveUp> {
    match ended {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Hands over message after message, each when it is due. A connection that is held up holds up all: the fleet is one
/// load. Returns at the end of the schedule, or when a connection is gone.
async fn pump(shared: &Shared, mut schedule: Schedule, mut fleet: Fleet, senders: Vec<mpsc::Sender<Publish>>) {
    loop {
        match schedule.next(shared.start.elapsed()) {
            Step::Done => return,
            Step::Wait(due) => tokio::time::sleep(due.saturating_sub(shared.start.elapsed())).await,
            Step::Hello(device) => {
                let hello = (fleet.hello(device), Vec::new(), Kind::Hello);
                if hand_over(shared, &senders, device, hello).await.is_err() {
                    return;
                }
            }
            Step::Data(device) => {
                let data = fleet.data(device, unix_ms());
                let again = data.twice.then(|| (data.topic.clone(), data.payload.clone(), Kind::Duplicate));
                let record = (data.topic, data.payload, Kind::Record { malformed: data.malformed });
                for message in std::iter::once(record).chain(again) {
                    if hand_over(shared, &senders, device, message).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// The connection has gone; it has said why.
struct Gone;

/// A device keeps to one connection, so that its messages stay in order.
async fn hand_over(
    shared: &Shared,
    senders: &[mpsc::Sender<Publish>],
    device: u32,
    (topic, payload, kind): (String, Vec<u8>, Kind),
) -> Result<(), Gone> {
    let publish = Publish::new(topic, QoS::AtLeastOnce, payload);
    senders[device as usize % senders.len()].send(publish).await.map_err(|_| Gone)?;
    shared.tally.publish(kind);
    Ok(())
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What ends a run before its schedule does: the first time it waits for what is not acknowledged, the second it does not.
pub(super) struct Stop(Told);

enum Told {
    Signals(StopSignals),
    Once(watch::Receiver<bool>),
    Never,
}

impl Stop {
    /// By the signals that end a process.
    pub(super) fn signals() -> Result<Self, std::io::Error> {
        Ok(Stop(Told::Signals(StopSignals::new()?)))
    }

    /// Once, when this turns true or its sender is gone.
    pub(super) fn told(stop: watch::Receiver<bool>) -> Self {
        Stop(Told::Once(stop))
    }

    async fn wait(&mut self) {
        match &mut self.0 {
            Told::Signals(signals) => signals.wait().await,
            Told::Once(stop) => {
                // A sender that is gone says the same.
                let _ = stop.wait_for(|stop| *stop).await;
                self.0 = Told::Never;
            }
            Told::Never => std::future::pending().await,
        }
    }
}
