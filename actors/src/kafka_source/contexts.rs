//! What the client library says, said once.
//!
//! An outage is no failure: the library reconnects for as long as it takes. Its errors repeat with every attempt, so
//! each sort is logged the first time and again only after things were well in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// The complaints of a source's clients since all was well.
#[derive(Debug)]
pub(super) struct Complaints {
    topology: Arc<str>,
    stage: Arc<str>,
    heard: Mutex<Vec<RDKafkaErrorCode>>,
    /// Whether the brokers are there is to be found out.
    in_doubt: AtomicBool,
}

impl Complaints {
    pub(super) fn new(topology: Arc<str>, stage: Arc<str>) -> Self {
        Complaints { topology, stage, heard: Mutex::default(), in_doubt: AtomicBool::new(false) }
    }

    /// Logs an error of a sort not heard since all was well; whether it did.
    pub(super) fn hear(&self, error: &KafkaError, reason: &str) -> bool {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        if code == RDKafkaErrorCode::PartitionEOF {
            return false;
        }
        self.in_doubt.store(true, Ordering::Relaxed);
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !heard.contains(&code);
        if is_new {
            heard.push(code);
            let (topology, stage) = (&*self.topology, &*self.stage);
            tracing::warn!(code = "kafka_source_waits", topology, stage, %error, "{reason}; waiting for kafka");
        }
        is_new
    }

    /// There is no complaint, and yet nothing comes: a client does not always say that it has lost its brokers.
    pub(super) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether there was a complaint since this was last asked: the one that was heard may be of one broker of several.
    pub(super) fn take_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::Relaxed)
    }

    /// All is well: whoever was heard may be heard again.
    pub(super) fn is_well(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !heard.is_empty() {
            heard.clear();
            let (topology, stage) = (&*self.topology, &*self.stage);
            tracing::info!(code = "kafka_source_goes_on", topology, stage, "kafka answers again");
        }
    }
}

/// The context of the client that reads.
pub(super) struct FetchContext(pub(super) Arc<Complaints>);

impl ClientContext for FetchContext {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.hear(&error, reason);
    }
}

impl ConsumerContext for FetchContext {}

/// What the library logs is for debugging: what matters of it arrives as an error, too.
pub(super) fn log(facility: &str, message: &str) {
    tracing::debug!(code = "librdkafka", facility, "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_complaint_is_heard_once_until_all_is_well() {
        let complaints = Complaints::new("t".into(), "s".into());
        let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
        let gone = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        let heard = [&down, &down, &gone, &down].map(|error| complaints.hear(error, "x"));
        assert_eq!(heard, [true, false, true, false]);
        complaints.is_well();
        assert!(complaints.hear(&down, "x"));
        assert!(!complaints.hear(&KafkaError::Global(RDKafkaErrorCode::PartitionEOF), "x"), "that is no complaint");
    }
}
