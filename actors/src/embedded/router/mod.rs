//! `kafka_router` on the embedded log: records become durable, keyed by device.
//!
//! Guarantees: the records of a device stand in its partition in the order in which they came; none is reported that is
//! not on the disk; a full disk is waited out; a rebuild writes nothing twice. What stands in the log is fixed in
//! `docs/formats.md`, "Message", "Headers", "Time" and "Embedded log".

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

use super::EmbeddedConnection;
use super::log::Log;
use super::submit::{Lives, Submitter, WINDOW};
use super::tails::EmbeddedTails;
use crate::log::form::RouterForm;
use crate::log::route::{Route, RouterKey, check_targets};

use alert_log::EmbeddedAlertLog;
use journal::EmbeddedJournal;

/// `kafka_router` on an embedded connection, as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedRouterSpec {
    /// The `embedded` connection to write to.
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
}

/// The router, checked.
pub struct CheckedRouter {
    connection: Arc<EmbeddedConnection>,
    topics: Vec<String>,
    route: Route,
    lives: Lives,
}

/// The router, running.
pub struct EmbeddedRouter {
    submitter: Submitter<RouterForm>,
}

impl Component for EmbeddedRouter {
    const KIND: &'static str = "kafka_router";
    const CONNECTION: &'static str = EmbeddedConnection::KIND;
    type Spec = EmbeddedRouterSpec;
    type Checked = CheckedRouter;

    fn check(spec: EmbeddedRouterSpec, cx: &mut CheckContext<'_>) -> Option<CheckedRouter> {
        let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection);
        let (topics, route) = check_targets(spec.topic, spec.routes, cx)?;
        Some(CheckedRouter { connection: connection?, topics, route, lives: Lives::default() })
    }

    fn describe(checked: &CheckedRouter) -> Description {
        Description { writes: checked.topics.clone(), marks: MarksRole::Carries, ..Description::default() }
    }

    async fn build(checked: &CheckedRouter, cx: &BuildContext) -> Result<Self, BuildError> {
        let CheckedRouter { connection, topics, route, lives } = checked;
        let log = Log::of(&connection.disk().await?);
        let mut wanted: Vec<_> = topics.iter().map(|topic| cx.topics.get(topic)).collect();
        wanted.extend(cx.marks.clone());
        let mut topics = log.ensure(&wanted).await?;
        let marks = cx.marks.as_ref().and_then(|_| topics.pop());

        let tails = EmbeddedTails { log: log.clone(), topics: topics.clone() };
        cx.ports.offer_recall(&cx.stage, Arc::new(tails));
        if let (Route::Single, [topic]) = (route, topics.as_slice()) {
            let (stage, topic) = (cx.stage.clone(), topic.clone());
            let journal = EmbeddedJournal { log: log.clone(), topic: topic.clone(), stage: stage.clone() };
            cx.ports.offer_journal(&cx.stage, Arc::new(journal));
            cx.ports.offer_alert_log(&cx.stage, Arc::new(EmbeddedAlertLog { log: log.clone(), topic, stage }));
        }
        let form = RouterForm::new(route.clone());
        let submitter = Submitter::new(&log, topics, marks, form, cx.clock.clone(), lives).await?;
        Ok(EmbeddedRouter { submitter })
    }
}

impl Sink for EmbeddedRouter {
    fn window(&self) -> usize {
        WINDOW
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        self.submitter.submit(batch).await
    }
}
