//! The named points of the code at which the engine is killed, or panics.

/// Come to all the time while records flow.
pub const AT_WORK: [&str; 23] = [
    "mqtt_ingress.received",
    "mqtt_ingress.handed_on",
    "mqtt_ingress.before_ack",
    "mqtt_ingress.after_ack",
    "kafka.before_send",
    "kafka.sent",
    "kafka.reported",
    "kafka.delivered",
    "kafka.mark",
    "source.batch",
    "source.before_acknowledge",
    "source.acknowledged",
    "kafka_source.before_commit",
    "kafka_source.after_commit",
    "store.before_write",
    "store.written",
    "sink.answered",
    "device_session.step",
    "alert_evaluator.step",
    "shard.before_flush",
    "shard.flushed",
    "checkpoint.before_save",
    "checkpoint.saved",
];

/// Come to while the engine starts.
pub const AT_START: [&str; 8] = [
    "mqtt_ingress.before_connect",
    "mqtt_ingress.connected",
    "mqtt_ingress.before_confirm",
    "mqtt_ingress.after_confirm",
    "shard.fenced",
    "shard.restored",
    "source.assigned",
    "source.resumed",
];

/// Come to once, when the session is subscribed for the first time.
pub const AT_FIRST: [&str; 2] = ["mqtt_ingress.before_subscribe", "mqtt_ingress.before_confirm"];

/// Where a panic is a component's or an actor's own. The others are on threads of client libraries, or in the engine's
/// own books.
pub const PANICS: [&str; 10] = [
    "mqtt_ingress.received",
    "mqtt_ingress.before_ack",
    "kafka.before_send",
    "source.batch",
    "source.before_acknowledge",
    "store.before_write",
    "sink.answered",
    "device_session.step",
    "alert_evaluator.step",
    "shard.before_flush",
];
