//! The engine as it is deployed, with a source that is fed and a sink that drops what it gets, all on one thread.
//!
//! `feed` → `sessions` (the real `device_session`) → `alerts` (the real `alert_evaluator`, one rule); what the sessions
//! hand on goes to `out`. Checkpoints go to a store in memory.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::json;
use telemill_actors::alert_evaluator::AlertEvaluator;
use telemill_actors::device_session::DeviceSession;
use telemill_engine::batch::{Batch, Previous};
use telemill_engine::checkpoint::Owner;
use telemill_engine::clock::Clock;
use telemill_engine::context::{CheckContext, Connections, Topics};
use telemill_engine::keyed::Keyed;
use telemill_engine::position::Partition;
use telemill_engine::record::Record;
use telemill_engine::registry::{Description, StageFactory};
use telemill_engine::runtime::{Deployment, Environment, Placement, deploy, host};
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::source::{Acker, Source, SourceBatch, SourceError, SourceEvent, SourceReader};
use telemill_engine::stage::Component;
use telemill_engine::testing::{PlanBuilder, make, sink, source};
use tokio::sync::{Notify, oneshot};
use ulid::Ulid;

use crate::store::MemoryStore;

/// When the alert begins.
pub const CONDITION: &str = "payload.temperature > 80.0";
/// When it ends.
pub const CLEAR: &str = "payload.temperature < 75.0";

/// A topology at work.
pub struct Rig {
    feed: Feed,
    out: Out,
    deployment: Deployment,
    sent: u64,
}

impl Rig {
    /// Deploys it and waits until its shard is open.
    pub async fn start(store: &MemoryStore, checkpoint_every: Duration) -> Rig {
        let (feed, out) = (Feed::default(), Out::default());
        let sessions = json!({ "offline_after": "60s", "max_sessions": 2_000_000 });
        let rule = json!({
            "alert": "DeviceOverheating", "expr": CONDITION, "clear": CLEAR, "for": "30s",
            "labels": { "severity": "critical" },
            "annotations": { "summary": "{{ device_id }} at {{ value }} °C" },
        });
        let (sessions, about_sessions) = keyed::<DeviceSession>(sessions);
        let (alerts, about_alerts) = keyed::<AlertEvaluator>(json!({ "rules": [rule] }));
        let (reads, writes) = (feed.clone(), out.clone());
        let plan = PlanBuilder::new(Arc::new(store.clone()), sink(|_| Ok(Out::default())))
            .stage("feed", &[], source(move |_| Ok(reads.clone())))
            .stage("sessions", &["feed"], sessions)
            .with(|stage| {
                stage.outlets = [""].iter().chain(DeviceSession::OUTLETS).copied().collect();
                stage.description = about_sessions;
            })
            .stage("alerts", &["sessions"], alerts)
            // No sink keeps the transitions, so there is nothing to read back.
            .with(|stage| stage.description = Description { journal: None, ..about_alerts })
            .stage("out", &["sessions"], sink(move |_| Ok(writes.clone())))
            .plan(|plan| plan.checkpoint_every = checkpoint_every)
            .build();
        let owner = Owner { instance: Ulid::from_parts(0, 1), host: "bench".to_owned(), pid: std::process::id() };
        let environment = Environment { clock: Clock::system(), placement: Placement::Here, owner };
        let deployment = deploy(plan, environment).await.expect("a valid plan");
        while !feed.lock().is_assigned {
            feed.0.changed.notified().await;
        }
        Rig { feed, out, deployment, sent: 0 }
    }

    /// Feeds batches and waits until everything that they give has reached the sink.
    pub async fn pass(&mut self, batches: Vec<Vec<Record>>) {
        let handed_on = |record: &&Record| record.kind != telemill_engine::record::Kind::Mark;
        self.sent += batches.iter().flatten().filter(handed_on).count() as u64;
        self.push(batches);
        while self.out.0.records.load(Ordering::Relaxed) < self.sent {
            self.out.0.changed.notified().await;
        }
    }

    fn push(&self, batches: Vec<Vec<Record>>) {
        self.feed.lock().waiting.extend(batches);
        self.feed.0.more.notify_one();
    }

    /// Waits until everything that was fed is covered by a checkpoint.
    pub async fn acknowledged(&self) {
        let is_behind = || {
            let inner = self.feed.lock();
            inner.acknowledged < inner.read
        };
        while is_behind() {
            self.feed.0.changed.notified().await;
        }
    }

    /// Drains the topology.
    pub async fn stop(self) {
        let _ = self.deployment.drain().await;
    }
}

/// A real keyed component from its spec, and what it says of itself.
fn keyed<C: Component + Keyed>(spec: serde_json::Value) -> (StageFactory, Description) {
    let spec: C::Spec = serde_json::from_value(spec).unwrap_or_else(|error| panic!("a {}: {error}", C::KIND));
    let (connections, topics, mut problems) = (Connections::new(), Topics::default(), Vec::new());
    let mut cx = CheckContext {
        name: C::KIND,
        inputs: &[],
        connections: &connections,
        topics: &topics,
        problems: &mut problems,
    };
    let checked = C::check(spec, &mut cx);
    let checked = Arc::new(checked.unwrap_or_else(|| panic!("a valid {}: {problems:?}", C::KIND)));
    let description = C::describe(&checked);
    let factory = make(move |cx| {
        let checked = checked.clone();
        async move { C::build(&checked, &cx).await.map(host) }
    });
    (StageFactory::Keyed(factory), description)
}

/// A source of one partition that gives out what it is fed.
#[derive(Clone, Default)]
struct Feed(Arc<Fed>);

#[derive(Default)]
struct Fed {
    inner: Mutex<Waiting>,
    more: Notify,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    waiting: VecDeque<Vec<Record>>,
    is_assigned: bool,
    read: u64,
    acknowledged: u64,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Feed {
    type Reader = Reader;
    type Acker = Feed;

    fn split(self) -> (Reader, Feed) {
        (Reader { feed: self.clone(), asked: None }, self)
    }
}

struct Reader {
    feed: Feed,
    asked: Option<oneshot::Receiver<Vec<(Partition, telemill_engine::source::ResumeAt)>>>,
}

impl SourceReader for Reader {
    async fn next(&mut self, _: usize) -> Result<SourceEvent, SourceError> {
        if !self.feed.lock().is_assigned {
            match &mut self.asked {
                None => {
                    let (reply, asked) = oneshot::channel();
                    self.asked = Some(asked);
                    return Ok(SourceEvent::Assigned { partitions: vec![0], reply });
                }
                Some(asked) => {
                    asked.await.map_err(|_| SourceError::Broken("the shard did not open".to_owned()))?;
                    self.feed.lock().is_assigned = true;
                    self.feed.0.changed.notify_one();
                }
            }
        }
        loop {
            let next = {
                let mut inner = self.feed.lock();
                let records = inner.waiting.pop_front();
                inner.read += u64::from(records.is_some());
                records.map(|records| (records, inner.read))
            };
            if let Some((records, tag)) = next {
                let (rejected, previous) = (Vec::new(), Previous::new());
                return Ok(SourceEvent::Batch(SourceBatch { partition: 0, records, rejected, previous, tag }));
            }
            self.feed.0.more.notified().await;
        }
    }
}

impl Acker for Feed {
    async fn acknowledge(&mut self, batches: Vec<(Partition, u64)>) -> Result<(), SourceError> {
        self.lock().acknowledged += batches.len() as u64;
        self.0.changed.notify_one();
        Ok(())
    }

    async fn give_back(&mut self, _: Partition, tag: u64) -> Result<(), SourceError> {
        Err(SourceError::Broken(format!("batch {tag} was let go of")))
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

/// A sink that counts what it gets.
#[derive(Clone, Default)]
struct Out(Arc<Counted>);

#[derive(Default)]
struct Counted {
    records: AtomicU64,
    changed: Notify,
}

impl Sink for Out {
    fn window(&self) -> usize {
        4
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        self.0.records.fetch_add(batch.len() as u64, Ordering::Relaxed);
        self.0.changed.notify_one();
        std::future::ready(Submitted::Delivered).boxed()
    }
}
