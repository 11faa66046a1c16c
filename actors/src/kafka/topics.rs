//! Topics as the topology declares them: created where they are missing, checked where they exist.
//!
//! A topic that exists is never changed. Where it holds less than was declared (other partitions, fewer in-sync
//! replicas, smaller records) the component that needs it is not built: order or a promise would break later, silently.
//! A shorter retention is only warned of, because it is a question of how long, not of whether.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::Client;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use telemill_engine::context::TopicDecl;
use telemill_engine::position::TopicId;
use telemill_engine::stage::BuildError;
use tokio::runtime::Handle;

use super::client::{Logged, off_runtime};
use super::connection::{KafkaConnection, REQUEST_TIMEOUT};
use super::topic_description::{Description, describe};

/// A topic that is there and is as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsuredTopic {
    /// Its name.
    pub name: String,
    /// Its identity; another one after it was deleted and made again.
    pub id: TopicId,
    /// The number of partitions, as declared.
    pub partitions: i32,
    /// The largest record batch that it takes, in bytes.
    pub max_message_bytes: u64,
}

/// How long new topics may take until every partition has a leader.
const SETTLE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Makes sure that these topics exist as declared; the answer is in the same order.
///
/// [`BuildError::Unavailable`] within bounded time when the cluster does not answer, [`BuildError::Impossible`] when a
/// topic cannot be created as declared or exists otherwise.
pub async fn ensure(connection: &KafkaConnection, topics: &[TopicDecl]) -> Result<Vec<EnsuredTopic>, BuildError> {
    let work = Work { connection: connection.clone(), topics: topics.to_vec(), runtime: Handle::current() };
    let deadline = REQUEST_TIMEOUT * 4 + SETTLE;
    let ensured = off_runtime(deadline, move |result| {
        let admin = work.admin();
        let ensured = admin.as_ref().map_err(|e| impossible(e.to_string())).and_then(|admin| work.ensure(admin));
        let _ = result.send(ensured);
    });
    match ensured.await {
        Ok(ensured) => ensured,
        Err(late) => Err(unavailable(connection, late)),
    }
}

/// The topic's present identity and number of partitions; `None` when it does not exist. For watching a topic that is
/// being read.
pub async fn identity(connection: &KafkaConnection, topic: &str) -> Result<Option<(TopicId, i32)>, BuildError> {
    let work = Work { connection: connection.clone(), topics: Vec::new(), runtime: Handle::current() };
    let topic = topic.to_owned();
    let described = off_runtime(REQUEST_TIMEOUT * 2, move |result| {
        let admin = work.admin();
        let described = admin.as_ref().map_err(|e| impossible(e.to_string()));
        let _ = result.send(described.and_then(|admin| work.describe(admin, &[&topic])));
    });
    match described.await {
        Ok(described) => Ok(described?.first().copied().flatten().map(|d| (d.id, d.partitions))),
        Err(late) => Err(unavailable(connection, late)),
    }
}

/// As [`identity`], of several topics, by a client that is there already. Blocks for `timeout` at most.
///
/// The library sends such a question to the cluster's controller only. A client that has lived through a restart of the
/// broker may wait for a controller in vain, however long, while its other requests are answered. A new client is not
/// held up: so the second half of the time is for one.
pub fn identities<C: ClientContext>(
    connection: &KafkaConnection,
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<Option<(TopicId, i32)>>, RDKafkaErrorCode> {
    let described = match describe(client, topics, timeout / 2) {
        Err(RDKafkaErrorCode::OperationTimedOut) => {
            let admin: Result<Admin, _> = connection.client_config().create_with_context(Logged::new("topics"));
            let admin = admin
                .map_err(|error| error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::CriticalSystemResource))?;
            describe(admin.inner(), topics, timeout / 2)?
        }
        described => described?,
    };
    Ok(described.into_iter().map(|found| found.map(|found| (found.id, found.partitions))).collect())
}

type Admin = AdminClient<Logged>;

struct Work {
    connection: KafkaConnection,
    topics: Vec<TopicDecl>,
    runtime: Handle,
}

impl Work {
    fn admin(&self) -> Result<Admin, KafkaError> {
        self.connection.client_config().create_with_context(Logged::new("topics"))
    }

    fn ensure(&self, admin: &Admin) -> Result<Vec<EnsuredTopic>, BuildError> {
        let names: Vec<_> = self.topics.iter().map(|topic| topic.name.as_str()).collect();
        let mut described = self.describe(admin, &names)?;
        let missing = self.topics.iter().zip(&described).filter(|(_, d)| d.is_none()).map(|(topic, _)| topic);
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            self.create(admin, &missing)?;
        }
        let ready = |described: &[Option<Description>]| described.iter().all(|d| d.is_some_and(|d| d.led));
        let mut tries = SETTLE.as_millis() / POLL.as_millis();
        while !ready(&described) {
            if tries == 0 {
                return Err(unavailable(&self.connection, "not every partition has a leader"));
            }
            tries -= 1;
            // The timer belongs to the runtime that makes it.
            self.runtime.block_on(async { tokio::time::sleep(POLL).await });
            described = self.describe(admin, &names)?;
        }
        let configs = self.configs(admin, &names)?;
        let described = described.into_iter().flatten();
        self.topics.iter().zip(described).zip(configs).map(|((topic, d), config)| check(topic, d, &config)).collect()
    }

    fn describe(&self, admin: &Admin, names: &[&str]) -> Result<Vec<Option<Description>>, BuildError> {
        describe(admin.inner(), names, REQUEST_TIMEOUT).map_err(|code| self.failed("describing topics", code))
    }

    fn create(&self, admin: &Admin, missing: &[&TopicDecl]) -> Result<(), BuildError> {
        let settings: Vec<_> = missing.iter().map(|topic| settings(topic)).collect();
        let new = missing.iter().zip(&settings).map(|(topic, settings)| {
            let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication));
            settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        });
        let new: Vec<_> = new.collect();
        let options =
            AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
        let created = self.runtime.block_on(admin.create_topics(&new, &options));
        for created in created.map_err(|error| self.request_failed("creating topics", &error))? {
            match created {
                Ok(name) => tracing::info!(code = "topic_created", topic = name, "created"),
                // Somebody else was quicker; it is checked like any other.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(self.failed(&format!("creating topic `{name}`"), code));
                }
            }
        }
        Ok(())
    }

    fn configs(&self, admin: &Admin, names: &[&str]) -> Result<Vec<ConfigResource>, BuildError> {
        let topics: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
        let configs = self.runtime.block_on(admin.describe_configs(&topics, &options));
        let configs = configs.map_err(|error| self.request_failed("reading topic settings", &error))?;
        let failed = |code| self.failed("reading topic settings", code);
        configs.into_iter().map(|config| config.map_err(failed)).collect()
    }

    fn request_failed(&self, what: &str, error: &KafkaError) -> BuildError {
        match error.rdkafka_error_code() {
            Some(code) => self.failed(what, code),
            None => unavailable(&self.connection, format!("{what}: {error}")),
        }
    }

    fn failed(&self, what: &str, code: RDKafkaErrorCode) -> BuildError {
        use RDKafkaErrorCode as Code;
        match code {
            Code::InvalidReplicationFactor => impossible(format!(
                "{what}: the cluster has fewer brokers than the declared replication; lower `replication` or add brokers"
            )),
            Code::InvalidTopic
            | Code::InvalidPartitions
            | Code::InvalidConfig
            | Code::InvalidRequest
            | Code::PolicyViolation
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedFeature => impossible(format!("{what}: {code}")),
            _ => unavailable(&self.connection, format!("{what}: {code}")),
        }
    }
}

fn settings(topic: &TopicDecl) -> Vec<(&'static str, String)> {
    let retention = topic.retention.map(|time| ("retention.ms", time.as_millis().to_string()));
    let in_sync = topic.min_insync_replicas.map(|count| ("min.insync.replicas", count.to_string()));
    let largest = topic.max_message_bytes.map(|bytes| ("max.message.bytes", bytes.to_string()));
    [retention, in_sync, largest].into_iter().flatten().collect()
}

fn check(topic: &TopicDecl, is: Description, config: &ConfigResource) -> Result<EnsuredTopic, BuildError> {
    let name = &topic.name;
    if is.partitions != topic.partitions {
        return Err(impossible(format!(
            "topic `{name}` has {} partitions, but {} are declared; a topic's partitions cannot change without breaking \
             the order of its records: declare {}, or use another topic",
            is.partitions, topic.partitions, is.partitions
        )));
    }
    let setting = |key: &str| config.get(key).and_then(|entry| entry.value.as_ref()?.parse::<i64>().ok());
    let too_low = |key: &str, declared: Option<i64>| match (declared, setting(key)) {
        (Some(declared), Some(is)) if is < declared => Err(impossible(format!(
            "topic `{name}` has {key}={is}, but {declared} is declared; change the topic \
             (kafka-configs.sh --alter --topic {name} --add-config {key}={declared}) or the declaration"
        ))),
        _ => Ok(()),
    };
    too_low("min.insync.replicas", topic.min_insync_replicas.map(i64::from))?;
    too_low("max.message.bytes", topic.max_message_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)))?;
    if let (Some(declared), Some(is @ 0..)) = (topic.retention, setting("retention.ms"))
        && u128::from(is.unsigned_abs()) < declared.as_millis()
    {
        tracing::warn!(
            code = "topic_retention",
            topic = name,
            retention_ms = is,
            declared_ms = declared.as_millis() as u64,
            "topic keeps its records for less time than declared"
        );
    }
    let max_message_bytes = setting("max.message.bytes").and_then(|bytes| u64::try_from(bytes).ok());
    Ok(EnsuredTopic {
        name: name.clone(),
        id: is.id,
        partitions: is.partitions,
        max_message_bytes: max_message_bytes.unwrap_or(BROKER_DEFAULT_MAX_MESSAGE),
    })
}

/// Kafka's own default of `max.message.bytes`, for a broker that does not tell.
const BROKER_DEFAULT_MAX_MESSAGE: u64 = 1_048_588;

fn impossible(why: impl Into<String>) -> BuildError {
    BuildError::Impossible(why.into())
}

fn unavailable(connection: &KafkaConnection, why: impl std::fmt::Display) -> BuildError {
    BuildError::Unavailable(format!("kafka at {} is not available: {why}", connection.brokers()))
}
