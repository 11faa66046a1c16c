//! `kafka_router`: records go to the log, keyed by device.
//!
//! The log is where everything becomes durable: the delivery report of a record is what its acknowledgement waits for.
//! Guarantees: the records of a device stand in its partition in the order in which they came; none is reported that is
//! not on every in-sync replica; an outage is waited out; a rebuild writes nothing twice. What stands in the log is
//! fixed in `docs/formats.md`, "Message", "Headers" and "Time".

mod alert_log;
mod journal;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::registry::{Description, MarksRole};
use telemill_engine::sink::{Completion, Sink};
use telemill_engine::stage::{BuildError, Component};
use telemill_engine::topology::{ByteSize, HumanDuration};

use crate::kafka::connection::KafkaConnection;
use crate::kafka::handover::Lives;
use crate::kafka::place::MAX_TOPICS;
use crate::kafka::producer::{Producer, Settings};
use crate::kafka::recall::Tails;
use crate::kafka::submit::{Submitter, WINDOW};
use crate::kafka::topics::ensure;
use crate::kafka::writer::{Compression, check_settings};
use crate::log::form::RouterForm;
use crate::log::route::{Route, RouterKey, check_targets};

use alert_log::KafkaAlertLog;
use journal::KafkaJournal;

/// `kafka_router` as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaRouterSpec {
    /// The `kafka` connection to write to.
    pub connection: String,
    /// What decides the partition. The device id, so that the records of a device stay in order.
    #[serde(default)]
    pub key: RouterKey,
    /// One topic for all records. Either this or `routes`.
    #[serde(default)]
    pub topic: Option<String>,
    /// The topic for each kind of record, such as `{ data: iot-data, hello: iot-hello }`; all with the same number of
    /// partitions. A record of any other kind goes to the dead letters.
    #[serde(default)]
    pub routes: Option<BTreeMap<String, String>>,
    /// How long a record may wait for others to share a request with it; not at all when absent.
    #[serde(default)]
    pub linger: Option<HumanDuration>,
    /// How batches are compressed; `none` when absent.
    #[serde(default)]
    pub compression: Compression,
    /// The most memory for records that wait to be written; 64MiB when absent. Beyond it the stages before wait.
    #[serde(default)]
    pub buffer: Option<ByteSize>,
}

/// `kafka_router`, checked.
pub struct CheckedRouter {
    connection: Arc<KafkaConnection>,
    topics: Vec<String>,
    route: Route,
    settings: Settings,
    lives: Lives,
}

/// `kafka_router`, running.
pub struct KafkaRouter {
    submitter: Submitter<RouterForm>,
}

impl Component for KafkaRouter {
    const KIND: &'static str = "kafka_router";
    const CONNECTION: &'static str = KafkaConnection::KIND;
    type Spec = KafkaRouterSpec;
    type Checked = CheckedRouter;

    fn check(spec: KafkaRouterSpec, cx: &mut CheckContext<'_>) -> Option<CheckedRouter> {
        let connection = cx.connection::<KafkaConnection>("connection", &spec.connection);
        let settings = check_settings(spec.linger, spec.compression, spec.buffer, cx);
        let (topics, route) = check_targets(spec.topic, spec.routes, cx)?;
        if topics.len() > MAX_TOPICS {
            let message = format!("{} topics are more than {MAX_TOPICS}", topics.len());
            cx.problem("routes", "kafka_router::too_many_topics", message, "use several routers");
            return None;
        }
        Some(CheckedRouter { connection: connection?, topics, route, settings: settings?, lives: Lives::default() })
    }

    fn describe(checked: &CheckedRouter) -> Description {
        Description { writes: checked.topics.clone(), marks: MarksRole::Carries, ..Description::default() }
    }

    async fn build(checked: &CheckedRouter, cx: &BuildContext) -> Result<Self, BuildError> {
        let CheckedRouter { connection, topics, route, settings, lives } = checked;
        let began = cx.clock.now();
        let mut wanted: Vec<_> = topics.iter().map(|topic| cx.topics.get(topic)).collect();
        wanted.extend(cx.marks.clone());
        let mut topics = ensure(connection, &wanted).await?;
        let marks = cx.marks.as_ref().and_then(|_| topics.pop());
        let (earlier, before) = lives.last(connection, &cx.stage, &topics).await?;
        let producer = Producer::connect(connection, &cx.stage, &cx.peers, settings, &topics, marks.as_ref(), before)?;
        lives.begin(producer.view(), &topics, began, &earlier);
        let submitter = Submitter::new(producer, RouterForm::new(route.clone()), earlier);
        let view = submitter.view();

        cx.ports.offer_recall(&cx.stage, Arc::new(Tails::new(connection, &cx.stage, &topics, view.clone())));
        if let (Route::Single, [topic]) = (route, topics.as_slice()) {
            let journal = KafkaJournal::new(connection, &cx.stage, topic, view);
            cx.ports.offer_journal(&cx.stage, Arc::new(journal));
            cx.ports.offer_alert_log(&cx.stage, Arc::new(KafkaAlertLog::new(connection, &cx.stage, topic)));
        }
        Ok(KafkaRouter { submitter })
    }
}

impl Sink for KafkaRouter {
    fn window(&self) -> usize {
        WINDOW
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        self.submitter.submit(batch).await
    }

    async fn close(&mut self) {
        self.submitter.close().await;
    }
}

#[cfg(test)]
mod tests;
