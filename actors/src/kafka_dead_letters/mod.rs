//! Dead letters in a Kafka topic: `dead_letters: { kafka: { connection: log, topic: iot-data-dlq } }`.
//!
//! The value is what could not be used, byte for byte; why, where from and when stand in the headers
//! (`docs/formats.md`, "Headers"). The topic must hold the largest message that a source lets in: that is checked with
//! the topology.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext, Connection, TopicDecl};
use telemill_engine::registry::Description;
use telemill_engine::sink::{Completion, Sink};
use telemill_engine::stage::{BuildError, Component};
use telemill_engine::topology::ByteSize;

use crate::kafka::connection::KafkaConnection;
use crate::kafka::handover::Lives;
use crate::kafka::producer::{Producer, Settings};
use crate::kafka::recall::Tails;
use crate::kafka::submit::{Submitter, WINDOW};
use crate::kafka::topics::ensure;
use crate::kafka::writer::{Compression, check_settings};
use crate::log::form::LetterForm;
use crate::log::spec::{check_topic, topic_of_letters};

/// Dead letters as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaDeadLettersSpec {
    /// The `kafka` connection to write to.
    pub connection: String,
    /// The topic. Its `max_message_size` must exceed the largest packet; 2 MiB where it is not declared.
    pub topic: String,
    /// How batches are compressed; `none` when absent.
    #[serde(default)]
    pub compression: Compression,
    /// The most memory for letters that wait to be written; 64MiB when absent. Beyond it the stages before wait.
    #[serde(default)]
    pub buffer: Option<ByteSize>,
}

/// Dead letters, checked.
pub struct CheckedDeadLetters {
    connection: Arc<KafkaConnection>,
    /// The topic, with its `max_message_bytes`.
    declared: TopicDecl,
    settings: Settings,
    lives: Lives,
}

/// Dead letters, running.
pub struct KafkaDeadLetters {
    submitter: Submitter<LetterForm>,
}

impl Component for KafkaDeadLetters {
    const KIND: &'static str = "kafka";
    const CONNECTION: &'static str = KafkaConnection::KIND;
    type Spec = KafkaDeadLettersSpec;
    type Checked = CheckedDeadLetters;

    fn check(spec: KafkaDeadLettersSpec, cx: &mut CheckContext<'_>) -> Option<CheckedDeadLetters> {
        let connection = cx.connection::<KafkaConnection>("connection", &spec.connection);
        let settings = check_settings(None, spec.compression, spec.buffer, cx);
        let declared = check_topic("topic", &spec.topic, cx).then(|| topic_of_letters(cx.topics, &spec.topic));
        Some(CheckedDeadLetters {
            connection: connection?,
            declared: declared?,
            settings: settings?,
            lives: Lives::default(),
        })
    }

    fn describe(checked: &CheckedDeadLetters) -> Description {
        let takes = checked.declared.max_message_bytes;
        Description { writes: vec![checked.declared.name.clone()], takes, ..Description::default() }
    }

    async fn build(checked: &CheckedDeadLetters, cx: &BuildContext) -> Result<Self, BuildError> {
        let CheckedDeadLetters { connection, declared, settings, lives } = checked;
        let began = cx.clock.now();
        let topics = ensure(connection, std::slice::from_ref(declared)).await?;
        let (earlier, before) = lives.last(connection, &cx.stage, &topics).await?;
        let producer = Producer::connect(connection, &cx.stage, &cx.peers, settings, &topics, None, before)?;
        lives.begin(producer.view(), &topics, began, &earlier);
        let submitter = Submitter::new(producer, LetterForm::new(&cx.topology, cx.clock.clone()), earlier);
        let view = submitter.view();
        let tails = Arc::new(Tails::new(connection, &cx.stage, &topics, view));
        cx.ports.offer_recall(&cx.stage, tails.clone());
        cx.ports.offer_letters(tails);
        Ok(KafkaDeadLetters { submitter })
    }
}

impl Sink for KafkaDeadLetters {
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
