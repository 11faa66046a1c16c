//! The named points of the code at which the engine is killed, or panics: those of the pipeline, and of the embedded
//! default.

use std::collections::BTreeSet;
use std::path::Path;

/// Come to all the time while records flow.
pub const AT_WORK: [&str; 24] = [
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
    "checkpoint.snapshot",
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

/// Come to when the writer gives a record up.
pub const AT_BURIAL: [&str; 2] = ["sink.before_burial", "sink.buried"];

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

/// The same for the embedded default.
pub mod embedded {
    pub const AT_WORK: [&str; 19] = [
        "mqtt_endpoint.received",
        "mqtt_endpoint.before_ack",
        "log.before_append",
        "log.appended",
        "disk.before_commit",
        "disk.committed",
        "source.batch",
        "source.before_acknowledge",
        "source.acknowledged",
        "embedded_source.committed",
        "store.before_write",
        "sink.answered",
        "device_session.step",
        "alert_evaluator.step",
        "shard.before_flush",
        "shard.flushed",
        "checkpoint.snapshot",
        "checkpoint.before_save",
        "checkpoint.saved",
    ];
    pub const AT_START: [&str; 4] = ["shard.fenced", "shard.restored", "source.assigned", "source.resumed"];
    pub const PANICS: [&str; 9] = [
        "mqtt_endpoint.received",
        "log.before_append",
        "source.batch",
        "source.before_acknowledge",
        "store.before_write",
        "sink.answered",
        "device_session.step",
        "alert_evaluator.step",
        "shard.before_flush",
    ];
}

/// A point that no class comes to is tested by nobody, and one that the code has no more is waited for in vain.
#[test]
fn faults_come_to_every_point_of_the_code() {
    let lists: [&[&str]; 8] = [
        &AT_WORK,
        &AT_START,
        &AT_FIRST,
        &AT_BURIAL,
        &PANICS,
        &embedded::AT_WORK,
        &embedded::AT_START,
        &embedded::PANICS,
    ];
    let listed: BTreeSet<String> = lists.concat().into_iter().map(str::to_owned).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut in_code = BTreeSet::new();
    ["src", "engine/src", "actors/src"].iter().for_each(|folder| points_of(&root.join(folder), &mut in_code));
    assert!(!in_code.is_empty(), "no point in the code");
    let untested: Vec<_> = in_code.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&in_code).collect();
    assert!(untested.is_empty() && unknown.is_empty(), "in no list: {untested:?}; not in the code: {unknown:?}");
}

/// The points that the Rust files of a folder name.
fn points_of(folder: &Path, points: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the sources are there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            points_of(&path, points);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source is text");
            for call in text.split("faults::point(").skip(1) {
                let name = call.trim_start().strip_prefix('"').and_then(|name| name.split('"').next());
                points.insert(name.unwrap_or_else(|| panic!("{}: a point without a name", path.display())).to_owned());
            }
        }
    }
}
