//! The threads of a source: started together, stopped together, waited for with a deadline.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::error::KafkaResult;
use telemill_engine::source::SourceError;
use telemill_engine::stage::BuildError;
use tokio::sync::{mpsc, oneshot};

use super::contexts::Complaints;
use super::setup::Setup;
use super::shared::Shared;
use super::{fetch, group, keeper, presence};

/// How long the threads are waited for. A client that hangs while it is closed is left to itself.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A running source.
pub(super) struct Running {
    stop: Stop,
    ending: Ending,
}

/// Keeps the threads running; they are asked to end when it is dropped.
pub(super) struct Stop(pub(super) Arc<Shared>);

/// Hears of the end of the threads.
pub(super) struct Ending {
    /// Closed when all threads have ended.
    threads: mpsc::Receiver<Infallible>,
    last_commit: oneshot::Receiver<KafkaResult<()>>,
}

type Alive = mpsc::Sender<Infallible>;

impl Running {
    /// Connects the clients and starts the threads.
    pub(super) fn start(setup: Setup) -> Result<Self, BuildError> {
        let complaints = Arc::new(Complaints::new(setup.topology.clone(), setup.stage.clone()));
        let shared = Arc::new(Shared::new(setup));
        let stop = Stop(shared.clone());
        let impossible = |error| BuildError::Impossible(format!("the kafka client cannot be set up: {error}"));
        let member = group::member(&shared, &complaints).map_err(impossible)?;
        let fetcher = fetch::fetcher(&shared.setup, &complaints).map_err(impossible)?;

        let (alive, threads) = mpsc::channel(1);
        let (committed, last_commit) = oneshot::channel();
        let joined = member.clone();
        thread("kafka group", &shared, &alive, None, move |shared| group::run(joined, shared))?;
        let (fetching, grouped, heard) = (fetcher.clone(), member.clone(), complaints.clone());
        thread("kafka presence", &shared, &alive, None, move |shared| {
            presence::run(&fetching, &grouped, shared, &heard)
        })?;
        thread("kafka fetch", &shared, &alive, Some(|shared| &shared.fetcher), move |shared| {
            fetch::run(&fetcher, shared)
        })?;
        thread("kafka keeper", &shared, &alive, Some(|shared| &shared.keeper), move |shared| {
            let last = keeper::run(member, shared, &complaints);
            // Nobody listens when the source was dropped rather than closed.
            let _ = committed.send(last);
        })?;
        Ok(Running { stop, ending: Ending { threads, last_commit } })
    }

    pub(super) fn split(self) -> (Stop, Ending) {
        (self.stop, self.ending)
    }
}

type Place = fn(&Shared) -> &OnceLock<Thread>;

/// Starts a thread that others can wake by the `place` that it is known in.
fn thread(
    name: &str,
    shared: &Arc<Shared>,
    alive: &Alive,
    place: Option<Place>,
    run: impl FnOnce(&Shared) + Send + 'static,
) -> Result<(), BuildError> {
    let (shared, alive) = (shared.clone(), alive.clone());
    let body = move || {
        if let Some(place) = place {
            place(&shared).get_or_init(thread::current);
        }
        // Unwind safety: after a panic the source only fails; its state is behind one lock and is read no further.
        if catch_unwind(AssertUnwindSafe(|| run(&shared))).is_err() {
            let name = thread::current().name().unwrap_or_default().to_owned();
            shared
                .fail(SourceError::Unavailable(format!("thread `{name}` of stage `{}` panicked", shared.setup.stage)));
        }
        drop(alive);
    };
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
    spawned.map(drop).map_err(|error| BuildError::Unavailable(format!("no thread for `{name}`: {error}")))
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Ending {
    /// Waits until everything that is safe is committed and the clients are closed.
    pub(super) async fn wait(self) -> Result<(), SourceError> {
        let Ending { mut threads, last_commit } = self;
        let all = async {
            let last_commit = last_commit.await;
            while threads.recv().await.is_some() {}
            last_commit
        };
        match tokio::time::timeout(CLOSE_WITHIN, all).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(error))) => Err(SourceError::Unavailable(format!("the last commit failed: {error}"))),
            Ok(Err(_)) => Err(SourceError::Unavailable("the last commit was not tried".to_owned())),
            Err(_) => {
                Err(SourceError::Unavailable(format!("the kafka clients were not closed within {CLOSE_WITHIN:?}")))
            }
        }
    }
}
