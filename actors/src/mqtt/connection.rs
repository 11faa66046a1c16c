//! `mqtt` under `connections:`: a broker, and what has to be known of it.
//!
//! The password is best a secret by reference; it may also stand in the URL. It is kept apart from everything that is
//! printed: `Debug`, errors and logs show host, port and user at most. For the same reason rumqttc's `MqttOptions`, whose
//! `Debug` prints it, is made at each connect and handed over at once; so a rotated secret is used at the next connect.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use rumqttc::MqttOptions;
use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, Connection};
use telemill_engine::stage::BuildError;
use telemill_engine::topology::document::SecretError;
use telemill_engine::topology::{HumanDuration, Secret};
use thiserror::Error;

/// The highest `max_inflight`: a quarter of all packet ids, so that what may come again, and as much that is to come,
/// stay within the half cycle in which a running packet id is certain.
pub const MAX_INFLIGHT: u16 = 16_383;

/// An MQTT broker, as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MqttConnectionSpec {
    /// `mqtt://[user[:password]@]host[:port]`; the port defaults to 1883. `%40` stands for an `@` in user or password.
    pub url: String,
    /// The user, where it does not stand in the URL.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password: `{ secret: { env: MQTT_PASSWORD } }` or `{ secret: { file: /run/secrets/mqtt } }`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How the broker hands out packet ids. With `cyclic`, true of Mosquitto, a redelivered message that had already
    /// been taken is recognised; with `unknown` it is produced again.
    #[serde(default)]
    pub packet_ids: PacketIds,
    /// How many messages the broker sends before it waits for an acknowledgement (Mosquitto:
    /// `max_inflight_messages`). 1 to 16383. Too small a number makes reading wait for acknowledgements.
    #[serde(default = "default_max_inflight")]
    pub max_inflight: u32,
    /// How long the broker may be silent. Whole seconds, `1s` to `1h`.
    #[serde(default = "default_keep_alive")]
    pub keep_alive: HumanDuration,
}

const DEFAULT_MAX_INFLIGHT: u16 = 1000;
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(10);

fn default_max_inflight() -> u32 {
    DEFAULT_MAX_INFLIGHT.into()
}

fn default_keep_alive() -> HumanDuration {
    DEFAULT_KEEP_ALIVE.into()
}

/// How a broker hands out packet ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PacketIds {
    /// One after the other, round all 65,535, also over a reconnect.
    Cyclic,
    /// Nothing is known.
    #[default]
    Unknown,
}

/// An MQTT broker, proven.
#[derive(Clone, Debug)]
pub struct MqttConnection {
    host: String,
    port: u16,
    login: Option<Login>,
    /// How the broker hands out packet ids.
    pub packet_ids: PacketIds,
    /// How many messages the broker sends before it waits for an acknowledgement.
    pub max_inflight: u16,
    /// How long the broker may be silent.
    pub keep_alive: Duration,
}

#[derive(Clone, Debug)]
struct Login {
    user: String,
    password: Password,
}

#[derive(Clone, PartialEq)]
enum Password {
    Written(String),
    Referred(Secret),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Password {
    fn value(&self) -> Result<Cow<'_, str>, SecretError> {
        match self {
            Password::Written(password) => Ok(password.into()),
            Password::Referred(secret) => {
                let value = secret.resolve(&|name| std::env::var(name).ok(), &|path| std::fs::read_to_string(path))?;
                Ok(value.expose().to_owned().into())
            }
        }
    }
}

impl MqttConnection {
    /// The broker at a URL, with the defaults of everything else.
    pub fn at(url: &str) -> Result<Self, UrlProblem> {
        let (host, port, login) = parse_url(url)?;
        Ok(MqttConnection {
            host,
            port,
            login,
            packet_ids: PacketIds::default(),
            max_inflight: DEFAULT_MAX_INFLIGHT,
            keep_alive: DEFAULT_KEEP_ALIVE,
        })
    }

    /// `host:port`, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The broker's name among the other sides of a stage.
    pub(crate) fn peer(&self) -> String {
        format!("mqtt {}", self.address())
    }

    /// rumqttc's options for one client, for [`Link::connect`](super::link::Link::connect). Never print them.
    ///
    /// `packet_limit` bounds what is read; what is sent is bounded by MQTT alone.
    ///
    /// # Errors
    /// When the password cannot be had.
    pub fn options(
        &self,
        client_id: &str,
        clean_session: bool,
        packet_limit: usize,
    ) -> Result<MqttOptions, SecretError> {
        const MQTT_PACKET_LIMIT: usize = 268_435_455;
        let mut options = MqttOptions::new(client_id, &self.host, self.port);
        options.set_clean_session(clean_session);
        options.set_keep_alive(self.keep_alive);
        options.set_manual_acks(true);
        options.set_max_packet_size(packet_limit, MQTT_PACKET_LIMIT);
        if let Some(login) = &self.login {
            options.set_credentials(&login.user, login.password.value()?);
        }
        Ok(options)
    }

    /// Whether the password can be had, to be asked when a component is built.
    pub(crate) fn check_secret(&self) -> Result<(), BuildError> {
        let Some(login) = &self.login else { return Ok(()) };
        login.password.value().map(drop).map_err(BuildError::from)
    }
}

impl Connection for MqttConnection {
    const KIND: &'static str = "mqtt";
    type Spec = MqttConnectionSpec;

    fn check(spec: Self::Spec, cx: &mut CheckContext<'_>) -> Option<Self> {
        let url = parse_url(&spec.url)
            .map_err(|problem| {
                cx.problem("url", "mqtt::url", problem.to_string(), "mqtt://[user[:password]@]host[:port]")
            })
            .ok();
        let max_inflight = u16::try_from(spec.max_inflight).ok().filter(|n| (1..=MAX_INFLIGHT).contains(n));
        if max_inflight.is_none() {
            cx.problem(
                "max_inflight",
                "mqtt::max_inflight",
                format!("max_inflight is 1 to {MAX_INFLIGHT}, not {}", spec.max_inflight),
                "give the broker the same finite window (Mosquitto: `max_inflight_messages`); 0 there means no limit, \
                 and redelivered messages could not be recognised",
            );
        }
        let keep_alive = Duration::from(spec.keep_alive);
        let whole = keep_alive.subsec_nanos() == 0 && (1..=3600).contains(&keep_alive.as_secs());
        if !whole {
            let message = format!("keep_alive is whole seconds from 1s to 1h, not {keep_alive:?}");
            cx.problem("keep_alive", "mqtt::keep_alive", message, "10s is a good value");
        }
        let ((host, port, login), max_inflight) = (url?, max_inflight?);
        let login = check_login(login, spec.username, spec.password, cx)?;
        whole.then_some(MqttConnection { host, port, login, packet_ids: spec.packet_ids, max_inflight, keep_alive })
    }
}

/// The login from the URL, or from its own fields; a problem when it is said twice or in part.
fn check_login(
    url: Option<Login>,
    user: Option<String>,
    password: Option<Secret>,
    cx: &mut CheckContext<'_>,
) -> Option<Option<Login>> {
    let (url_user, url_password) = match url {
        Some(Login { user, password }) => {
            (Some(user), Some(password).filter(|p| *p != Password::Written(String::new())))
        }
        None => (None, None),
    };
    if url_user.is_some() && user.is_some() {
        cx.problem("username", "mqtt::login", "the user stands in the url already", "remove one of them");
        return None;
    }
    if url_password.is_some() && password.is_some() {
        cx.problem("password", "mqtt::login", "the password stands in the url already", "remove it from the url");
        return None;
    }
    let password = password.map(Password::Referred).or(url_password);
    match (user.or(url_user), password) {
        (Some(user), password) => {
            let password = password.unwrap_or_else(|| Password::Written(String::new()));
            Some(Some(Login { user, password }))
        }
        (None, None) => Some(None),
        (None, Some(_)) => {
            cx.problem("password", "mqtt::login", "there is a password and no user", "add `username:`");
            None
        }
    }
}

/// What is wrong with a URL. Says nothing of what stands in it but the scheme, because the rest may be a secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UrlProblem {
    /// Nothing stands in front of `://`, or there is none.
    #[error("the url has no scheme")]
    NoScheme,
    /// A scheme that asks for TLS.
    #[error(
        "this version speaks no TLS to brokers; use `mqtt://` on a network you trust, or put a TLS tunnel in front"
    )]
    Tls,
    /// A scheme of something else.
    #[error("`{0}` is not a scheme of an MQTT broker")]
    Scheme(String),
    /// No host.
    #[error("the url names no host")]
    NoHost,
    /// A port that is none.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A path or query.
    #[error("the url has something behind the port")]
    Path,
    /// A broken escape in user or password.
    #[error("a `%` in user or password is not followed by two hex digits")]
    Escape,
}

type Url = (String, u16, Option<Login>);

fn parse_url(url: &str) -> Result<Url, UrlProblem> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlProblem::NoScheme)?;
    match scheme {
        "mqtt" | "tcp" => {}
        "mqtts" | "ssl" => return Err(UrlProblem::Tls),
        // A scheme is a short word; anything else may be part of a secret.
        other if other.len() <= 8 && other.bytes().all(|b| b.is_ascii_alphabetic()) => {
            return Err(UrlProblem::Scheme(other.to_owned()));
        }
        _ => return Err(UrlProblem::NoScheme),
    }
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains(['/', '?', '#']) {
        return Err(UrlProblem::Path);
    }
    // The colons of an IPv6 address stand in brackets.
    let name_end = place.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match place[name_end..].split_once(':') {
        Some((name, port)) => {
            let port = port.parse().ok().filter(|port| *port != 0).ok_or(UrlProblem::Port)?;
            (&place[..name_end + name.len()], port)
        }
        None => (place, 1883),
    };
    if host.is_empty() {
        return Err(UrlProblem::NoHost);
    }
    let login = match login {
        Some(login) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            Some(Login { user: unescape(user)?, password: Password::Written(unescape(password)?) })
        }
        None => None,
    };
    Ok((host.to_owned(), port, login))
}

fn unescape(text: &str) -> Result<String, UrlProblem> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or(UrlProblem::Escape)?;
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(UrlProblem::Escape);
        }
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| UrlProblem::Escape)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| UrlProblem::Escape)
}

#[cfg(test)]
mod tests {
    use telemill_engine::context::{Connections, FieldProblem, Topics};

    use super::*;

    fn spec(url: &str) -> MqttConnectionSpec {
        MqttConnectionSpec {
            url: url.to_owned(),
            username: None,
            password: None,
            packet_ids: PacketIds::default(),
            max_inflight: default_max_inflight(),
            keep_alive: default_keep_alive(),
        }
    }

    fn check(spec: MqttConnectionSpec) -> Result<MqttConnection, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let (connections, topics) = (Connections::new(), Topics::default());
        let mut cx = CheckContext {
            name: "broker",
            inputs: &[],
            connections: &connections,
            topics: &topics,
            problems: &mut problems,
        };
        let checked = MqttConnection::check(spec, &mut cx);
        checked.filter(|_| problems.is_empty()).ok_or(problems)
    }

    #[test]
    fn urls_are_taken_apart() {
        let check = |url: &str, host: &str, port: u16, login: Option<(&str, &str)>| {
            let (h, p, l) = parse_url(url).unwrap();
            assert_eq!((h.as_str(), p), (host, port), "{url}");
            let password = |l: &Login| l.password.value().unwrap().into_owned();
            let expect = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(l.as_ref().map(|l| (l.user.clone(), password(l))), expect, "{url}");
        };
        check("mqtt://broker", "broker", 1883, None);
        check("mqtt://127.0.0.1:2883/", "127.0.0.1", 2883, None);
        check("mqtt://[::1]", "[::1]", 1883, None);
        check("mqtt://[::1]:1884", "[::1]", 1884, None);
        check("mqtt://ann@broker", "broker", 1883, Some(("ann", "")));
        check("mqtt://ann:p%40ss:w@broker:1", "broker", 1, Some(("ann", "p@ss:w")));
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_them() {
        let check = |url: &str, expect: UrlProblem| {
            let problem = parse_url(url).map(|_| ()).unwrap_err();
            assert!(!problem.to_string().contains("hunter2"), "{url}");
            assert_eq!(problem, expect, "{url}");
        };
        check("broker:1883", UrlProblem::NoScheme);
        check("mqtts://ann:hunter2@broker", UrlProblem::Tls);
        check("http://broker", UrlProblem::Scheme("http".to_owned()));
        check("mqtt://ann:hunter2@", UrlProblem::NoHost);
        check("mqtt://:1883", UrlProblem::NoHost);
        check("mqtt://broker:0", UrlProblem::Port);
        check("mqtt://broker:hunter2", UrlProblem::Port);
        check("mqtt://broker/hunter2", UrlProblem::Path);
        check("mqtt://ann:hunter2%4@broker", UrlProblem::Escape);
        check("mqtt://ann:hunter2%+1@broker", UrlProblem::Escape);
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let bad = MqttConnectionSpec { max_inflight: 0, keep_alive: Duration::ZERO.into(), ..spec("mqtts://broker") };
        let problems = check(bad).unwrap_err();
        let found: Vec<_> = problems.iter().map(|p| (p.at.as_str(), p.code)).collect();
        let expect = [("url", "mqtt::url"), ("max_inflight", "mqtt::max_inflight"), ("keep_alive", "mqtt::keep_alive")];
        assert_eq!(found, expect);
        let of_window = |max_inflight| check(MqttConnectionSpec { max_inflight, ..spec("mqtt://broker") });
        assert!(of_window(16_383).is_ok() && of_window(16_384).is_err() && of_window(70_000).is_err());
    }

    #[test]
    fn a_login_is_said_once_and_whole() {
        let login = |url: &str, user: Option<&str>, password: Option<Secret>| {
            let spec = MqttConnectionSpec { username: user.map(str::to_owned), password, ..spec(url) };
            check(spec).map(|c| c.login.map(|l| l.user)).map_err(|problems| problems[0].at.clone())
        };
        let secret = || Some(Secret::env("TELEMILL_TEST_UNSET"));
        assert_eq!(login("mqtt://broker", None, None), Ok(None));
        assert_eq!(login("mqtt://broker", Some("ann"), secret()), Ok(Some("ann".to_owned())));
        assert_eq!(login("mqtt://ann@broker", None, secret()), Ok(Some("ann".to_owned())));
        assert_eq!(login("mqtt://ann@broker", Some("bob"), None), Err("username".to_owned()));
        assert_eq!(login("mqtt://ann:hunter2@broker", None, secret()), Err("password".to_owned()));
        assert_eq!(login("mqtt://broker", None, secret()), Err("password".to_owned()));
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_before_anything_connects() {
        let password = Some(Secret::env("TELEMILL_TEST_UNSET"));
        let connection = check(MqttConnectionSpec { password, ..spec("mqtt://ann@broker") }).unwrap();
        assert!(
            matches!(connection.check_secret(), Err(BuildError::Impossible(why)) if why.contains("TELEMILL_TEST_UNSET"))
        );
        assert!(connection.options("id", true, 1000).is_err());
        let connection = check(spec("mqtt://ann:hunter2@broker")).unwrap();
        assert!(connection.check_secret().is_ok());
        let login = connection.options("id", true, 1000).unwrap().credentials().unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str()), ("ann", "hunter2"));
    }

    #[test]
    fn defaults_are_safe_and_the_password_is_not_printed() {
        let connection = check(serde_json::from_str(r#"{"url":"mqtt://ann:hunter2@broker"}"#).unwrap()).unwrap();
        assert_eq!((connection.packet_ids, connection.max_inflight), (PacketIds::Unknown, 1000));
        assert_eq!(connection.keep_alive, Duration::from_secs(10));
        let printed = format!("{connection:?} {}", connection.address());
        assert!(printed.contains("ann") && !printed.contains("hunter2"), "{printed}");
    }
}
