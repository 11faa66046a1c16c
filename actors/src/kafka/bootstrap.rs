//! Brings a client back that has lost sight of its whole cluster.
//!
//! librdkafka (2.12 at least) lets go of every broker that an answer about the cluster leaves out. An answer without any
//! broker, as a single node gives while it is fenced after a pause longer than `broker.session.timeout.ms`, leaves the
//! client with none. It then begins anew with `bootstrap.servers`, but the timer that is to do so is the one that the
//! very same answer stops once it is read to its end (`rd_kafka_handle_Metadata`): when the order of the two threads is
//! unlucky, nothing is ever asked again and everything queued waits for ever. To name the first addresses once more, as
//! the library itself would have done, helps; where the brokers are only away it changes nothing.
#![allow(unsafe_code, reason = "rdkafka does not wrap rd_kafka_brokers_add")]

use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::client::Client;

use super::connection::KafkaConnection;

/// The first pause between two tries; each one is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: the library keeps every list of addresses that it is given for as long as the client lives.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The addresses that one client began with, and when it was last given them again.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    brokers: CString,
    pauses: Pauses,
}

impl Bootstrap {
    pub(crate) fn of(connection: &KafkaConnection) -> Self {
        // The topology's check refuses an address with a control character.
        Bootstrap { brokers: CString::new(connection.brokers()).unwrap_or_default(), pauses: Pauses::default() }
    }

    /// Nothing answers this client: gives it the first addresses again, unless that was just done. Does not block.
    pub(crate) fn begin_again<C: ClientContext>(&mut self, client: &Client<C>) {
        if self.pauses.is_over(Instant::now()) {
            // SAFETY: the client is alive for as long as the borrowed `Client` is, any thread may call this, and the
            // library copies the text, which ends with NUL.
            unsafe { sys::rd_kafka_brokers_add(client.native_ptr(), self.brokers.as_ptr()) };
        }
    }

    /// The cluster answers this client.
    pub(crate) fn has_answered(&mut self) {
        self.pauses = Pauses::default();
    }
}

#[derive(Debug, Default)]
struct Pauses {
    /// When the next try may be, and how long the pause after it is.
    next: Option<(Instant, Duration)>,
}

impl Pauses {
    fn is_over(&mut self, now: Instant) -> bool {
        let pause = match self.next {
            Some((next, _)) if now < next => return false,
            Some((_, pause)) => pause,
            None => FIRST_PAUSE,
        };
        self.next = Some((now + pause, (pause * 2).min(LONGEST_PAUSE)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_start_over_when_there_was_an_answer() {
        let start = Instant::now();
        let mut pauses = Pauses::default();
        let tried: Vec<u64> = (0..200).filter(|after| pauses.is_over(start + Duration::from_secs(*after))).collect();
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
        pauses = Pauses::default();
        assert!(pauses.is_over(start));
    }
}
