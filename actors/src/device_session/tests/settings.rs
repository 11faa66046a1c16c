//! What the settings of device sessions may be, and what they come to.

use std::sync::Arc;
use std::time::Duration;

use telemill_engine::context::{CheckContext, Connection, Connections, FieldProblem, Topics};
use telemill_engine::registry::{CommandSinks, CommandsSpec};
use telemill_engine::stage::{Component, Outlet};

use crate::device_session::{CheckedDeviceSession, DeviceSession, DeviceSessionSpec, IdentitySpec, defaults};
use crate::mqtt::{MqttConnection, MqttConnectionSpec, PacketIds};
use crate::mqtt_commands::MqttCommands;

pub(super) fn spec() -> DeviceSessionSpec {
    DeviceSessionSpec {
        offline_after: defaults::offline_after(),
        passivate_after: defaults::passivate_after(),
        max_sessions: defaults::max_sessions(),
        forget_after: None,
        last_payload: defaults::last_payload(),
        identity: None,
        commands: None,
    }
}

pub(super) fn identity(json: &str) -> Option<IdentitySpec> {
    Some(serde_json::from_str(json).unwrap())
}

fn commands(connection: &str) -> Option<CommandsSpec> {
    let topic = "devices/{device_id}/commands".to_owned();
    Some(CommandsSpec { connection: connection.to_owned(), topic })
}

/// Runs a check in a topology with these connections.
fn checking<T>(connections: &Connections, check: impl FnOnce(&mut CheckContext<'_>) -> T) -> (T, Vec<FieldProblem>) {
    let (topics, mut problems) = (Topics::default(), Vec::new());
    let mut cx = CheckContext { name: "sessions", inputs: &[], connections, topics: &topics, problems: &mut problems };
    let result = check(&mut cx);
    (result, problems)
}

pub(super) fn checked(spec: DeviceSessionSpec) -> (Option<CheckedDeviceSession>, Vec<FieldProblem>) {
    let broker = MqttConnectionSpec {
        url: "mqtt://127.0.0.1".to_owned(),
        username: None,
        password: None,
        packet_ids: PacketIds::Unknown,
        max_inflight: 10,
        keep_alive: Duration::from_secs(10).into(),
    };
    let (broker, _) = checking(&Connections::new(), |cx| MqttConnection::check(broker, cx));
    let mut sinks = CommandSinks::default();
    sinks.add::<MqttCommands>();
    let broker = Arc::new(broker.expect("a good connection"));
    let connections = Connections::with_command_sinks(sinks).with("broker", broker);
    checking(&connections, |cx| DeviceSession::check(spec, cx))
}

#[test]
fn the_defaults_are_good_and_described() {
    let (stage, problems) = checked(spec());
    assert_eq!(problems, []);
    let limits = DeviceSession::describe(&stage.unwrap()).sessions.unwrap();
    assert_eq!((limits.passivate_after, limits.max_sessions), (Duration::from_secs(900), 1_000_000));
    assert_eq!(limits.forget_after, None);
}

#[test]
fn commands_have_a_sink_of_their_own_where_they_are_given_one() {
    let (stage, problems) = checked(DeviceSessionSpec { commands: commands("broker"), ..spec() });
    assert_eq!(problems, []);
    let companions = DeviceSession::describe(&stage.unwrap()).companions;
    let named: Vec<_> = companions.iter().map(|sink| (sink.name, sink.outlet, sink.kind)).collect();
    assert_eq!(named, [("commands", Outlet(2), "mqtt_commands")]);
    let (stage, _) = checked(spec());
    assert!(DeviceSession::describe(&stage.unwrap()).companions.is_empty());
}

#[test]
fn every_bad_value_is_reported_where_it_stands() {
    let check = |spec: DeviceSessionSpec, at: &[&str]| {
        let (stage, problems) = checked(spec);
        assert!(stage.is_none());
        assert_eq!(problems.iter().map(|problem| problem.at.as_str()).collect::<Vec<_>>(), at);
    };
    let zero = || Duration::ZERO.into();
    check(DeviceSessionSpec { offline_after: zero(), ..spec() }, &["offline_after"]);
    check(
        DeviceSessionSpec { passivate_after: zero(), max_sessions: 0, ..spec() },
        &["passivate_after", "max_sessions"],
    );
    let as_soon = Some(defaults::offline_after());
    check(DeviceSessionSpec { forget_after: as_soon, ..spec() }, &["forget_after"]);
    check(DeviceSessionSpec { commands: commands("elsewhere"), ..spec() }, &["commands.connection"]);
    check(DeviceSessionSpec { identity: identity(r#""payload""#), ..spec() }, &["identity"]);
    check(DeviceSessionSpec { identity: identity(r#""payload.id >""#), ..spec() }, &["identity"]);
    let both = identity(r#"{"from":"header.id","window":0}"#);
    check(DeviceSessionSpec { identity: both, ..spec() }, &["identity.window", "identity.from"]);
}

#[test]
fn an_identity_has_two_forms_and_mistakes_are_named() {
    let refused = |json: &str, what: &str| {
        let error = serde_json::from_str::<IdentitySpec>(json).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused(r#"{"from":"payload.id","windw":8}"#, "unknown field `windw`");
    refused(r#"{"window":8}"#, "missing field `from`");
    refused("7", "expected a field such as `payload.msg_id`, or `{ from: payload.msg_id, window: 64 }`");
}
