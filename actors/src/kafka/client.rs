//! What librdkafka has to say goes to `tracing`, and its blocking calls leave the runtime.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;
use tokio::sync::oneshot;

/// A client context that logs under the name of the stage that the client belongs to.
#[derive(Clone, Debug)]
pub struct Logged {
    stage: String,
}

impl Logged {
    /// A context for a client of this stage.
    pub fn new(stage: impl Into<String>) -> Self {
        Logged { stage: stage.into() }
    }
}

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(&self.stage, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Asked for by whoever reads to an end, who hears of it where it reads.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::warn!(code = "kafka_client", stage = self.stage, %error, "{reason}");
    }
}

impl ConsumerContext for Logged {}

/// Passes a log line of librdkafka on.
pub(crate) fn log(stage: &str, level: RDKafkaLogLevel, facility: &str, message: &str) {
    // A connection's properties serve producers and consumers alike; each warns of what is meant for the other.
    if facility == "CONFWARN" {
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(code = "kafka_client", stage, facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(code = "kafka_client", stage, facility, "{message}");
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(code = "kafka_client", stage, facility, "{message}");
        }
    }
}

/// A blocking call gave no answer.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// It took longer than it may; its thread ends by itself.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// Its thread panicked, or could not be started.
    #[error("the client's thread ended without an answer")]
    Died,
}

/// Runs blocking client calls on a thread of their own and waits for the result at most `deadline`.
///
/// Not on the runtime's blocking pool: closing a client can hang, and the pool's threads hold up the end of the
/// process. `work` hands its result to the sender and may then take its time to close what it used.
pub async fn off_runtime<T: Send + 'static>(
    deadline: Duration,
    work: impl FnOnce(oneshot::Sender<T>) + Send + 'static,
) -> Result<T, NoAnswer> {
    let (result, answer) = oneshot::channel();
    let spawned = std::thread::Builder::new().name("kafka client".to_owned()).spawn(move || work(result));
    spawned.map_err(|_| NoAnswer::Died)?;
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(NoAnswer::Died),
        Err(_) => Err(NoAnswer::Late(deadline)),
    }
}
