//! Whether the brokers are there, for those who look at the stage.
//!
//! The client library says when a connection fails, which may have been one of several; it does not say when all is well
//! again. So once there was a complaint the cluster is asked, on a thread of its own: the others may be held up by the
//! very outage that is to be told of.

use std::thread;
use std::time::Duration;

use rdkafka::consumer::Consumer;

use super::contexts::Complaints;
use super::fetch::Fetcher;
use super::shared::Shared;

/// How often it is looked whether there was a complaint.
const NAP: Duration = Duration::from_millis(200);
/// How long the brokers may take to answer.
const WITHIN: Duration = Duration::from_secs(1);

/// Looks until the source is stopped.
pub(super) fn run(client: &Fetcher, shared: &Shared, complaints: &Complaints) {
    let brokers = &shared.setup.brokers;
    let topic = shared.setup.topics.first().map(|topic| &*topic.name);
    let mut in_doubt = false;
    while !shared.is_stopped() {
        in_doubt |= complaints.take_doubt();
        if in_doubt {
            match client.client().fetch_metadata(topic, WITHIN) {
                Ok(_) => {
                    brokers.back();
                    in_doubt = false;
                }
                Err(error) => brokers.lost(error),
            }
        }
        thread::park_timeout(NAP);
    }
}
