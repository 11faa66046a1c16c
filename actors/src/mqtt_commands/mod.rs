//! `mqtt_commands`: the sink that publishes commands to devices.
//!
//! A record's payload goes to its device's command topic at QoS 1, over a client of its own, so that no command waits
//! behind telemetry and none is published on the ingress' session. It is delivered when the broker has acknowledged it.
//! At least once: after a cut a batch is sent again, and a command carries an id by which a device knows it. A broker
//! that is gone is never a reason to give a command up.

mod client;
mod outstanding;

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext};
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::stage::{BuildError, Component};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::client::{Client, Job, retry};
use crate::mqtt::{MqttConnection, TopicTemplate};

/// How long a graceful end may take, before the connection is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Where commands are published.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttCommandsSpec {
    /// The broker: a connection of kind `mqtt`.
    pub connection: String,
    /// The topic of a device's commands, such as `devices/{device_id}/commands`.
    pub topic: String,
}

/// `mqtt_commands`, proven.
#[derive(Clone, Debug)]
pub struct MqttCommandsChecked {
    /// The broker.
    pub connection: Arc<MqttConnection>,
    /// The topic of a device's commands.
    pub topic: TopicTemplate,
}

impl MqttCommandsSpec {
    /// Proves the spec where it stands inside another one: `at` is its place there, empty for its own.
    pub fn check_at(self, at: &str, cx: &mut CheckContext<'_>) -> Option<MqttCommandsChecked> {
        let place = |field: &str| if at.is_empty() { field.to_owned() } else { format!("{at}.{field}") };
        let connection = cx.connection::<MqttConnection>(&place("connection"), &self.connection);
        let topic = TopicTemplate::parse(&self.topic).map_err(|error| {
            let message = format!("`{}`: {error}", self.topic);
            cx.problem(place("topic"), "mqtt_commands::topic", message, "such as devices/{device_id}/commands");
        });
        Some(MqttCommandsChecked { connection: connection?, topic: topic.ok()? })
    }
}

/// A sink that publishes commands.
pub struct MqttCommands {
    topic: TopicTemplate,
    jobs: Option<mpsc::Sender<Job>>,
    task: JoinHandle<()>,
}

impl Drop for MqttCommands {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Component for MqttCommands {
    const KIND: &'static str = "mqtt_commands";
    type Spec = MqttCommandsSpec;
    type Checked = MqttCommandsChecked;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked> {
        spec.check_at("", cx)
    }

    async fn build(checked: &Self::Checked, cx: &BuildContext) -> Result<Self, BuildError> {
        checked.connection.check_secret()?;
        let (jobs, receiver) = mpsc::channel(1);
        let client = Client {
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            connection: checked.connection.clone(),
            client_id: format!("telemill-{}-{}", cx.topology, cx.stage),
            jobs: receiver,
            broker: cx.peers.peer(checked.connection.peer()),
        };
        let task = tokio::spawn(client.run());
        Ok(MqttCommands { topic: checked.topic.clone(), jobs: Some(jobs), task })
    }
}

impl Sink for MqttCommands {
    async fn submit(&mut self, batch: Arc<Batch>) -> Completion {
        let living = batch.records.iter().filter(|record| record.dead.is_none());
        let commands: Vec<_> =
            living.map(|record| (self.topic.topic_of(&record.device), record.payload.clone())).collect();
        if commands.is_empty() {
            return Box::pin(async { Submitted::Delivered });
        }
        let (done, outcome) = oneshot::channel();
        let sent = match &self.jobs {
            Some(jobs) => jobs.send(Job { commands, done }).await.is_ok(),
            None => false,
        };
        Box::pin(async move {
            if !sent {
                return Submitted::Fatal("the MQTT client's task has ended".to_owned());
            }
            // The client lets go of a batch whose connection ended.
            outcome.await.unwrap_or_else(|_| retry("the connection to the broker ended before it had the command"))
        })
    }

    async fn close(&mut self) {
        self.jobs = None;
        if !self.task.is_finished() && tokio::time::timeout(CLOSE_WITHIN, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use telemill_engine::context::{Connections, Topics};

    use super::*;

    #[test]
    fn problems_are_at_their_place_in_the_spec_around() {
        let (connections, topics, mut problems) = (Connections::new(), Topics::default(), Vec::new());
        let mut cx = CheckContext {
            name: "sessions",
            inputs: &[],
            connections: &connections,
            topics: &topics,
            problems: &mut problems,
        };
        let spec = MqttCommandsSpec { connection: "broker".to_owned(), topic: "devices/+/commands".to_owned() };
        assert!(spec.clone().check_at("commands", &mut cx).is_none());
        assert!(MqttCommands::check(spec, &mut cx).is_none());
        let places: Vec<_> = problems.iter().map(|p| p.at.as_str()).collect();
        assert_eq!(places, ["commands.connection", "commands.topic", "connection", "topic"]);
    }
}
