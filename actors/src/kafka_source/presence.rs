//! Whether the brokers are there, for those who look at the stage, and that neither client loses sight of them for good.
//!
//! The client library says when a connection fails, which may have been one of several; it does not say when all is well
//! again. So once there was a complaint the cluster is asked, on a thread of its own: the others may be held up by the
//! very outage that is to be told of.

use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use super::contexts::Complaints;
use super::fetch::Fetcher;
use super::group::Member;
use super::shared::Shared;
use crate::kafka::bootstrap::Bootstrap;

/// How often it is looked whether there was a complaint.
const NAP: Duration = Duration::from_millis(200);
/// How long the brokers may take to answer.
const WITHIN: Duration = Duration::from_secs(1);

/// Looks until the source is stopped.
pub(super) fn run(fetcher: &Fetcher, member: &Member, shared: &Shared, complaints: &Complaints) {
    let brokers = &shared.setup.brokers;
    let topic = shared.setup.topics.first().map(|topic| &*topic.name);
    let mut bootstraps = [(); 2].map(|()| Bootstrap::of(&shared.setup.connection));
    let mut in_doubt = false;
    while !shared.is_stopped() {
        in_doubt |= complaints.take_doubt();
        if in_doubt {
            let [of_fetcher, of_member] = &mut bootstraps;
            match ask(fetcher.client(), topic, of_fetcher).and(ask(member.client(), topic, of_member)) {
                Ok(()) => {
                    brokers.back();
                    in_doubt = false;
                }
                Err(error) => brokers.lost(error),
            }
        }
        thread::park_timeout(NAP);
    }
}

/// Whether the cluster answers this client; one that hears nothing starts from the first addresses again.
fn ask<C: ClientContext>(client: &Client<C>, topic: Option<&str>, bootstrap: &mut Bootstrap) -> Result<(), KafkaError> {
    match client.fetch_metadata(topic, WITHIN) {
        Ok(_) => bootstrap.has_answered(),
        Err(error) => {
            bootstrap.begin_again(client);
            return Err(error);
        }
    }
    Ok(())
}
