//! Commands go through the log: appended to the topic of commands that a source reads (`docs/formats.md`, "Commands").
//!
//! The guarantee: when [`CommandLog::append`] returns `Ok`, every in-sync replica has the command. When it returns an
//! error the command may be there all the same; a repetition by the caller has an id of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use telemill_engine::ports::{Command, CommandLog, PortError};
use telemill_engine::record::Kind;

use crate::kafka::client::Logged;
use crate::kafka::connection::KafkaConnection;
use crate::log::command::value;
use crate::log::headers::HeaderWriter;

/// How long a command is tried before its sender is told that it is not known to be durable.
const PATIENCE: Duration = Duration::from_secs(10);

type CommandProducer = FutureProducer<Logged>;

/// The log of commands in Kafka.
pub(super) struct KafkaCommandLog {
    connection: Arc<KafkaConnection>,
    topic: String,
    stage: String,
    /// Made anew after an error that it cannot recover from, and when nothing was written for long: a client may have
    /// lost sight of its cluster, see `kafka::bootstrap`.
    producer: Mutex<Option<CommandProducer>>,
}

impl KafkaCommandLog {
    pub(super) fn new(connection: Arc<KafkaConnection>, topic: &str, stage: &str) -> Self {
        KafkaCommandLog { connection, topic: topic.to_owned(), stage: stage.to_owned(), producer: Mutex::new(None) }
    }

    fn producer(&self) -> Result<CommandProducer, PortError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dead) = producer.take_if(|producer| producer.client().fatal_error().is_some()) {
            drop_elsewhere(dead);
        }
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let mut config = self.connection.producer_config();
        config
            .set("linger.ms", "0")
            .set("queue.buffering.max.messages", "10000")
            .set("queue.buffering.max.kbytes", "16384")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string());
        let made: CommandProducer = config
            .create_with_context(Logged::new(self.stage.clone()))
            .map_err(|error| PortError(format!("commands cannot be written to `{}`: {error}", self.topic)))?;
        *producer = Some(made.clone());
        Ok(made)
    }

    /// Gives this producer up, unless another call has done so already and there is a new one.
    fn discard(&self, failed: &CommandProducer) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |now: &mut CommandProducer| now.client().native_ptr() == failed.client().native_ptr();
        producer.take_if(is_it).into_iter().for_each(drop_elsewhere);
    }
}

#[async_trait]
impl CommandLog for KafkaCommandLog {
    async fn append(&self, command: Command) -> Result<(), PortError> {
        let failed = |error: KafkaError| PortError(format!("command was not written to `{}`: {error}", self.topic));
        let producer = self.producer()?;
        let value = value(&command);
        let headers = HeaderWriter::default().identity(command.id, command.accepted_at, &Kind::Command);
        let record = FutureRecord::to(&self.topic).key(command.device.as_str()).payload(&value).headers(headers);
        // Never waits for room: the caller may come back later.
        let delivery = producer.send_result(record).map_err(|(error, _)| failed(error))?;
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut) {
                    self.discard(&producer);
                }
                Err(failed(error))
            }
            Err(_) => Err(failed(KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue))),
        }
    }
}

impl Drop for KafkaCommandLog {
    fn drop(&mut self) {
        let producer = self.producer.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = producer.take() {
            drop_elsewhere(producer);
        }
    }
}

/// Closing a client blocks, and commands are sent from the runtime.
fn drop_elsewhere(producer: CommandProducer) {
    // If no thread can be had, the closure, and the producer in it, are dropped here after all.
    let _ = std::thread::Builder::new().name("kafka close".to_owned()).spawn(move || drop(producer));
}
