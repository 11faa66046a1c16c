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

use telemill_engine::batch::Batch;
use telemill_engine::context::{BuildContext, CheckContext, Connection};
use telemill_engine::registry::CommandsSpec;
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::stage::{BuildError, Component};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use self::client::{Client, Job, retry};
use crate::mqtt::{MqttConnection, TopicTemplate};

/// How long a graceful end may take, before the connection is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// `mqtt_commands`, proven.
#[derive(Clone, Debug)]
pub struct MqttCommandsChecked {
    /// The broker.
    pub connection: Arc<MqttConnection>,
    /// The topic of a device's commands.
    pub topic: TopicTemplate,
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
    const CONNECTION: &'static str = MqttConnection::KIND;
    type Spec = CommandsSpec;
    type Checked = MqttCommandsChecked;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self::Checked> {
        let connection = cx.connection::<MqttConnection>("connection", &spec.connection);
        let topic = TopicTemplate::parse(&spec.topic).map_err(|error| {
            let message = format!("`{}`: {error}", spec.topic);
            cx.problem("topic", "mqtt_commands::topic", message, "such as devices/{device_id}/commands");
        });
        Some(MqttCommandsChecked { connection: connection?, topic: topic.ok()? })
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
    use telemill_engine::registry::CommandSinks;

    use super::*;

    #[test]
    fn problems_are_at_their_place_in_the_spec_around() {
        let mut sinks = CommandSinks::default();
        sinks.add::<MqttCommands>();
        let (topics, mut problems) = (Topics::default(), Vec::new());
        let none = Connections::with_command_sinks(sinks.clone());
        let mut cx = CheckContext {
            name: "sessions",
            inputs: &[],
            connections: &none,
            topics: &topics,
            problems: &mut problems,
        };
        let spec = CommandsSpec { connection: "broker".to_owned(), topic: "devices/+/commands".to_owned() };
        assert!(cx.command_sink("commands", spec.clone()).is_none());
        let broker = serde_json::from_str(r#"{"url":"mqtt://broker"}"#).expect("a spec");
        let broker = MqttConnection::check(broker, &mut cx).expect("a good connection");
        let connections = Connections::with_command_sinks(sinks).with("broker", Arc::new(broker));
        cx.connections = &connections;
        assert!(cx.command_sink("commands", spec).is_none());
        let places: Vec<_> = problems.iter().map(|p| p.at.as_str()).collect();
        assert_eq!(places, ["commands.connection", "commands.topic"]);
    }
}
