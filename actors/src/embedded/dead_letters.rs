//! Dead letters in a topic of the embedded log: `dead_letters: { embedded: { connection: local, topic: iot-data-dlq } }`.
//!
//! The value is what could not be used, byte for byte; why, where from and when stand in the headers
//! (`docs/formats.md`, "Headers"). The topic must hold the largest message that a source lets in: that
//! is checked with the topology.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext, Connection, TopicDecl};
use telemill_engine::registry::Description;
use telemill_engine::sink::{Completion, Sink};
use telemill_engine::stage::{BuildError, Component};

use super::EmbeddedConnection;
use super::log::Log;
use super::submit::{Lives, Submitter, WINDOW};
use super::tails::EmbeddedTails;
use crate::log::form::LetterForm;
use crate::log::spec::{check_topic, topic_of_letters};

/// Dead letters as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedDeadLettersSpec {
    /// The `embedded` connection to write to.
    pub connection: String,
    /// The topic. Its `max_message_size` must exceed the largest packet; 2 MiB where it is not declared.
    pub topic: String,
}

/// Dead letters, checked.
pub struct CheckedDeadLetters {
    connection: Arc<EmbeddedConnection>,
    /// The topic, with its `max_message_bytes`.
    declared: TopicDecl,
    lives: Lives,
}

/// Dead letters, running.
pub struct EmbeddedDeadLetters {
    submitter: Submitter<LetterForm>,
}

impl Component for EmbeddedDeadLetters {
    const KIND: &'static str = "embedded";
    const CONNECTION: &'static str = EmbeddedConnection::KIND;
    type Spec = EmbeddedDeadLettersSpec;
    type Checked = CheckedDeadLetters;

    fn check(spec: EmbeddedDeadLettersSpec, cx: &mut CheckContext<'_>) -> Option<CheckedDeadLetters> {
        let connection = cx.connection::<EmbeddedConnection>("connection", &spec.connection);
        let declared = check_topic("topic", &spec.topic, cx).then(|| topic_of_letters(cx.topics, &spec.topic));
        Some(CheckedDeadLetters { connection: connection?, declared: declared?, lives: Lives::default() })
    }

    fn describe(checked: &CheckedDeadLetters) -> Description {
        let takes = checked.declared.max_message_bytes;
        Description { writes: vec![checked.declared.name.clone()], takes, ..Description::default() }
    }

    async fn build(checked: &CheckedDeadLetters, cx: &BuildContext) -> Result<Self, BuildError> {
        let log = Log::of(&checked.connection.disk().await?);
        let topics = log.ensure(std::slice::from_ref(&checked.declared)).await?;
        let tails = Arc::new(EmbeddedTails { log: log.clone(), topics: topics.clone() });
        cx.ports.offer_recall(&cx.stage, tails.clone());
        cx.ports.offer_letters(tails);
        let form = LetterForm::new(&cx.topology, cx.clock.clone());
        let submitter = Submitter::new(&log, topics, None, form, cx.clock.clone(), &checked.lives).await?;
        Ok(EmbeddedDeadLetters { submitter })
    }
}

impl Sink for EmbeddedDeadLetters {
    fn window(&self) -> usize {
        WINDOW
    }

    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        self.submitter.submit(batch).await
    }
}
