//! Every code that the components show, in a problem of a topology file or in a log line, with what `telemill explain`
//! says about it: the one list of this crate.

use telemill_engine::codes::Explanation;

use crate::{alert_evaluator, embedded};

/// All of them. Those of the rules, and of the embedded default, stand with them.
pub fn explanations() -> impl Iterator<Item = Explanation> {
    let embedded = embedded::codes::EXPLANATIONS;
    alert_evaluator::EXPLANATIONS.iter().chain(embedded).chain(PROBLEMS).chain(LOG).copied()
}

/// The codes of problems of a topology file.
const PROBLEMS: &[Explanation] = &[
    ("kafka::bad_broker", "A broker's address is `host:port`, such as `kafka-1:9092`; several are a list."),
    (
        "kafka::bad_buffer",
        "The memory for records that wait to be written is between 1 MiB and 2 GiB; 64MiB is the default.",
    ),
    (
        "kafka::bad_linger",
        "A record may wait for others to share a request with it for 1 s at most; every record waits that long when few come.",
    ),
    (
        "kafka::bad_property",
        "librdkafka has no such property, or does not take this value. Its CONFIGURATION.md lists all.",
    ),
    ("kafka::bad_topic", "A topic's name has 1 to 249 of `A-Z a-z 0-9 . _ -`, and is not `.` or `..`."),
    (
        "kafka::no_brokers",
        "A `kafka` connection needs the address of at least one broker; the others are found through it.",
    ),
    (
        "kafka::refused_property",
        "The property cannot be set: Telemill sets it itself, because a promise depends on it, or it has a field of its own. \
         The message says which.",
    ),
    (
        "kafka_router::bad_kind",
        "Marks carry the time of the ingress and have a topic of their own; they cannot be routed.",
    ),
    (
        "kafka_router::no_target",
        "A router needs `topic`, for all records, or `routes`, a topic for each kind of record.",
    ),
    (
        "kafka_router::partitions_differ",
        "The topics of a router must have the same number of partitions, so that a device is in the same partition of all: \
         who reads them together has all of its records.",
    ),
    ("kafka_router::too_many_topics", "A router writes to 4095 topics at most. Use several routers for more."),
    (
        "kafka_router::two_targets",
        "A router has `topic`, for all records, or `routes`, a topic for each kind, and not both.",
    ),
    ("kafka_source::bad_topic", "A topic's name has 1 to 249 of `A-Z a-z 0-9 . _ -`, and is not `.` or `..`."),
    (
        "kafka_source::fetch_max",
        "At least 4 MiB of messages are fetched ahead of what is asked for; with less the source would wait for each request.",
    ),
    (
        "kafka_source::no_group",
        "A source commits its positions under a consumer group, which needs a name. Sources that must not share the \
         partitions have different ones.",
    ),
    ("kafka_source::no_topics", "A source reads at least one topic. The first leads the assignment of partitions."),
    (
        "kafka_source::session_timeout",
        "The group waits from 6 s to 30 min for a member that is not heard of: brokers accept nothing else \
         (`group.min.session.timeout.ms`, `group.max.session.timeout.ms`).",
    ),
    ("kafka_source::topic_twice", "A topic is named twice. Each topic of a source is read once."),
    (
        "mqtt::keep_alive",
        "How long the broker may be silent is in whole seconds, from 1s to 1h: MQTT has it so. A broken connection is \
         noticed after one and a half times that.",
    ),
    (
        "mqtt::login",
        "User and password stand in the URL or in fields of their own, not in both; a password needs a user.",
    ),
    (
        "mqtt::max_inflight",
        "How many messages the broker sends before it waits for acknowledgements must be finite, and as the broker has it: \
         what is redelivered is recognised among so many.",
    ),
    (
        "mqtt::url",
        "The URL is `mqtt://[user[:password]@]host[:port]`, with `%40` for an `@` in user or password. The message never \
         repeats what stands in it.",
    ),
    (
        "mqtt_commands::topic",
        "The topic of commands has the device as one whole level, such as `devices/{device_id}/commands`, and no wildcards.",
    ),
    (
        "mqtt_ingress::json",
        "`json` names the kinds of record whose body must be JSON: last levels of the topics. No topic ends in this one.",
    ),
    (
        "mqtt_ingress::max_payload",
        "The largest payload is from 1 byte to 16 MiB; what is larger goes to the dead letters. 256KiB is the default.",
    ),
    (
        "mqtt_ingress::qos",
        "The ingress subscribes at QoS 1: at QoS 0 the broker may drop any message, so nothing could be promised. QoS 2 adds \
         nothing, because what is redelivered is recognised.",
    ),
    (
        "mqtt_ingress::slots",
        "This version reads with one session. Several instances cannot share the devices of a broker yet.",
    ),
    (
        "mqtt_ingress::topic",
        "A topic template has the device as one whole level, such as `devices/{device_id}/data`, and no wildcards; no two of \
         an ingress may match the same message.",
    ),
    (
        "mqtt_ingress::topics",
        "An ingress subscribes to at least one topic template, such as `devices/{device_id}/data`.",
    ),
    (
        "redis::bad_timeout",
        "How long an answer of Redis may take has bounds; too short a time makes every slow answer a failure.",
    ),
    ("redis::bad_url", "The URL is `redis://[user:password@]host[:port][/database]`."),
    (
        "redis::cluster",
        "A batch and its guard are one atomic write, which Redis Cluster cannot do across slots. Name a single server, or the \
         primary of a replicated pair.",
    ),
    ("redis::tls", "This version speaks no TLS to Redis. Let a local proxy (stunnel) do it."),
    (
        "redis_writer::bad_history",
        "How far back a device's history reaches is in whole seconds, because its timestamps are. At least one.",
    ),
    (
        "redis_writer::bad_window",
        "From 1 to 32 batches may be on their way to Redis at once; 4 keeps one connection busy.",
    ),
];

/// The codes of log lines.
const LOG: &[Explanation] = &[
    (
        "claim_awaited",
        "Another instance has the claim on the topology. If it does not renew it within its lease, this one takes over; if \
         it does, this one refuses to start.",
    ),
    (
        "claim_taken_over",
        "The claim belonged to a process of this host that no longer exists, so it was taken over at once.",
    ),
    (
        "commit_failed",
        "Partitions were given up without their last commit. What is not committed is read again by the next owner, and \
         skipped by what already has it.",
    ),
    (
        "journal_foreign",
        "A record in the topic that a keyed stage keeps its transitions in is none of its own, and was left out when the \
         journal was read.",
    ),
    (
        "kafka_client",
        "What the Kafka client library says of its connections. It reconnects by itself; that a stage waits shows in \
         `/readyz`.",
    ),
    (
        "kafka_close",
        "A Kafka producer was closed before everything was answered. What is not known to be written is not acknowledged.",
    ),
    (
        "kafka_gap",
        "A position to begin at lies below what the log retains, and `resume: earliest` lets the source go on: the records \
         between are gone.",
    ),
    ("kafka_source_goes_on", "Kafka answers again, after a `kafka_source_waits`."),
    (
        "kafka_source_waits",
        "A source hears nothing from Kafka, or a request of it failed. It goes on by itself; each sort of complaint is logged \
         once until all is well again.",
    ),
    ("librdkafka", "A line of the Kafka client library's own log; shown at level `debug` only."),
    ("mqtt::connected", "The ingress has connected to the broker. `session` says whether its session was resumed."),
    (
        "mqtt::disconnected",
        "The connection to the broker is gone, or was never made; `error` says why. It is tried again for as long as it takes.",
    ),
    (
        "mqtt::session_lost",
        "The broker no longer knows the ingress' session: what was queued in it while nobody read is lost. Let the broker \
         keep sessions (Mosquitto: `persistence true`).",
    ),
    (
        "mqtt::session_renewed",
        "It could not be told whether the broker's session is the one from before, so it counts as another: what is \
         redelivered from before is not recognised and may be in the log twice.",
    ),
    (
        "partitions_gained",
        "The consumer group has given these partitions to this instance; they are restored, then read.",
    ),
    (
        "partitions_lost",
        "The consumer group took partitions away without notice, because this instance was not heard of for too long. What \
         was not committed is read by the next owner.",
    ),
    (
        "partitions_not_drained",
        "Partitions had to be given up before everything in flight was done. It is read again by the next owner.",
    ),
    ("partitions_revoked", "Partitions were given up in order: drained, checkpointed and committed."),
    (
        "producer_rebuilt",
        "A producer failed and was made anew. What the log already had of its last records was read back, so nothing is \
         written twice.",
    ),
    (
        "redis_evicts",
        "Redis may evict keys when its memory is full, guards and checkpoints among them; then everything is read again from \
         the earliest record. Set `maxmemory-policy noeviction`.",
    ),
    (
        "redis_reconnected",
        "A connection to Redis was lost and another one was made; what was in flight is submitted again.",
    ),
    ("topic_created", "A topic that the topology declares was missing and was created as declared under `topics:`."),
    (
        "topic_retention",
        "A topic keeps its records for a shorter time than `topics:` declares. It is not changed; an outage that lasts longer \
         than the topic's own retention loses records.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::testing::codes_of;

    #[test]
    fn every_code_in_the_sources_is_explained_and_no_other() {
        codes_of(env!("CARGO_MANIFEST_DIR")).are_explained_by(explanations());
    }
}
