//! The MQTT endpoint as written in an `embedded` connection, and proven.
//!
//! Without authentication only this machine may connect: whoever can reach the port can be any device.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::CheckContext;
use telemill_engine::topology::{HumanDuration, Secret};

use crate::mqtt::TopicTemplate;

/// Who may connect.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthSpec {
    /// Lines of `device:hash`; the hash is Argon2 in its usual text form (`$argon2id$v=19$m=…`). A device logs in with
    /// its id as user name and as client id.
    pub users: Secret,
}

/// TLS on the endpoint's port.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSpec {
    /// The endpoint's certificate and those above it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: Secret,
    /// The authority that has signed the devices' certificates, PEM. With it, every device must have one that names its
    /// id as a DNS name among the subject's alternative names.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// What bounds the endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// The most devices connected at a time.
    pub connections: u32,
    /// The most sessions that outlive their connection.
    pub sessions: u32,
    /// The longest that a session outlives its connection, whatever the device asks for.
    pub session_expiry: HumanDuration,
    /// The longest topic to publish to, in bytes.
    pub topic: u32,
    /// The most subscriptions of one session.
    pub subscriptions: u32,
    /// The most messages of one device that wait for their acknowledgement: told to devices that speak version 5; one
    /// that speaks 3.1.1 is not read any further at four times as many.
    pub inflight: u16,
    /// The most commands that wait for one device.
    pub commands: u32,
    /// How long a new connection may take until its CONNECT is there.
    pub connect_within: HumanDuration,
}

impl Default for LimitsSpec {
    fn default() -> Self {
        LimitsSpec {
            connections: 20_000,
            sessions: 100_000,
            session_expiry: Duration::from_secs(24 * 3600).into(),
            topic: 1024,
            subscriptions: 8,
            inflight: 256,
            commands: 100,
            connect_within: Duration::from_secs(10).into(),
        }
    }
}

/// The topic on which a device gets its commands, unless the file says otherwise.
pub const COMMANDS: &str = "devices/{device_id}/commands";

/// The fields of an `embedded` connection that concern the endpoint.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// `address:port`.
    pub mqtt_listen: String,
    /// Who may connect.
    pub auth: Option<AuthSpec>,
    /// TLS.
    pub tls: Option<TlsSpec>,
    /// What bounds it.
    pub limits: LimitsSpec,
    /// The topic of a device's commands.
    pub commands: String,
}

/// The endpoint's settings, proven.
#[derive(Clone, Debug)]
pub struct EndpointSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) users: Option<Secret>,
    pub(crate) tls: Option<TlsSpec>,
    pub(crate) commands: TopicTemplate,
    pub(crate) limits: Limits,
}

/// [`LimitsSpec`], proven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) sessions: usize,
    /// In seconds.
    pub(crate) session_expiry: u32,
    pub(crate) topic: usize,
    pub(crate) subscriptions: usize,
    pub(crate) inflight: u16,
    pub(crate) commands: usize,
    pub(crate) connect_within: Duration,
}

impl EndpointSettings {
    /// Whether a device has to prove who it is.
    pub(crate) fn authenticates(&self) -> bool {
        self.users.is_some() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// Proves the spec.
    pub fn check(spec: EndpointSpec, cx: &mut CheckContext<'_>) -> Option<Self> {
        let before = cx.problems.len();
        let listen = spec.mqtt_listen.parse::<SocketAddr>().map_err(|_| {
            let message = format!("`{}` is not an address and a port", spec.mqtt_listen);
            cx.problem("mqtt_listen", "embedded::mqtt_listen", message, "such as 127.0.0.1:1883 or [::1]:1883");
        });
        let commands = TopicTemplate::parse(&spec.commands).map_err(|error| {
            let message = format!("`{}`: {error}", spec.commands);
            cx.problem("commands", "embedded::commands", message, "such as devices/{device_id}/commands");
        });
        let limits = check_limits(&spec.limits, cx);
        let settings = EndpointSettings {
            listen: listen.ok()?,
            users: spec.auth.map(|auth| auth.users),
            tls: spec.tls,
            commands: commands.ok()?,
            limits,
        };
        if !settings.listen.ip().is_loopback() && !settings.authenticates() {
            let message =
                format!("{} can be reached from other machines, and anyone could be any device", settings.listen);
            let hint = "listen on 127.0.0.1, or say who may connect: `auth: { users: … }`, or `tls:` with `client_ca:`";
            cx.problem("mqtt_listen", "embedded::open_endpoint", message, hint);
        }
        (cx.problems.len() == before).then_some(settings)
    }
}

fn check_limits(spec: &LimitsSpec, cx: &mut CheckContext<'_>) -> Limits {
    let mut within = |name: &str, value: u64, least: u64, most: u64| {
        if !(least..=most).contains(&value) {
            let message = format!("{name} is {least} to {most}, not {value}");
            cx.problem(format!("limits.{name}"), "embedded::limits", message, "");
        }
        value
    };
    let session_expiry = Duration::from(spec.session_expiry).as_secs();
    let connect_within = Duration::from(spec.connect_within);
    Limits {
        connections: within("connections", spec.connections.into(), 1, 1_000_000) as usize,
        sessions: within("sessions", spec.sessions.into(), 0, 10_000_000) as usize,
        session_expiry: within("session_expiry", session_expiry, 1, u64::from(u32::MAX) - 1) as u32,
        topic: within("topic", spec.topic.into(), 16, 65_535) as usize,
        subscriptions: within("subscriptions", spec.subscriptions.into(), 1, 1000) as usize,
        inflight: within("inflight", spec.inflight.into(), 1, 16_383) as u16,
        commands: within("commands", spec.commands.into(), 1, 10_000) as usize,
        connect_within: Duration::from_secs(within("connect_within", connect_within.as_secs(), 1, 600)),
    }
}

#[cfg(test)]
mod tests {
    use telemill_engine::context::{Connections, Topics};

    use super::*;

    fn spec(listen: &str) -> EndpointSpec {
        EndpointSpec {
            mqtt_listen: listen.to_owned(),
            auth: None,
            tls: None,
            limits: LimitsSpec::default(),
            commands: COMMANDS.to_owned(),
        }
    }

    fn problems(spec: EndpointSpec) -> Vec<(String, String)> {
        let (connections, topics, mut problems) = (Connections::new(), Topics::default(), Vec::new());
        let mut cx = CheckContext {
            name: "local",
            inputs: &[],
            connections: &connections,
            topics: &topics,
            problems: &mut problems,
        };
        let checked = EndpointSettings::check(spec, &mut cx);
        assert_eq!(checked.is_some(), problems.is_empty());
        problems.into_iter().map(|p| (p.at, p.message)).collect()
    }

    fn tls(client_ca: bool) -> Option<TlsSpec> {
        let client_ca = client_ca.then(|| "ca.pem".into());
        Some(TlsSpec { certificate: "cert.pem".into(), key: Secret::file("key.pem"), client_ca })
    }

    #[test]
    fn only_this_machine_connects_without_authentication() {
        let open = |spec: EndpointSpec| problems(spec).iter().any(|(at, _)| at == "mqtt_listen");
        assert!(!open(spec("127.0.0.1:1883")) && !open(spec("[::1]:1883")) && !open(spec("127.0.0.9:0")));
        assert!(open(spec("0.0.0.0:1883")) && open(spec("[::]:1883")) && open(spec("192.168.0.1:1883")));
        assert!(
            open(EndpointSpec { tls: tls(false), ..spec("0.0.0.0:1883") }),
            "TLS alone says who we are, not who they are"
        );
        assert!(!open(EndpointSpec { tls: tls(true), ..spec("0.0.0.0:1883") }));
        let auth = Some(AuthSpec { users: Secret::env("USERS") });
        assert!(!open(EndpointSpec { auth, ..spec("0.0.0.0:1883") }));
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let limits = LimitsSpec { connections: 0, topic: 70_000, inflight: 0, ..LimitsSpec::default() };
        let spec = EndpointSpec { limits, commands: "devices/+/commands".to_owned(), ..spec("localhost:1883") };
        let places: Vec<_> = problems(spec).into_iter().map(|(at, _)| at).collect();
        assert_eq!(places, ["mqtt_listen", "commands", "limits.connections", "limits.topic", "limits.inflight"]);
    }
}
