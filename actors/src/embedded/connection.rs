//! The embedded default as a connection: `connections: { local: { embedded: { dir: data/ } } }`.
//!
//! One connection takes the place of broker, log and store. What its parts share hangs on it and is made when the first
//! of them is built; a checked connection has opened nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, Connection};
use telemill_engine::stage::BuildError;
use telemill_engine::topology::ByteSize;

use super::disk::{Disk, Usage};
use super::endpoint::{AuthSpec, COMMANDS, Endpoint, EndpointSettings, EndpointSpec, LimitsSpec, TlsSpec};

/// The embedded default as written.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConnectionSpec {
    /// The data directory: log, device store and checkpoints. Made where it is missing; one process at a time has it.
    pub dir: PathBuf,
    /// Where devices connect over MQTT, as `address:port`; `127.0.0.1:1883` when absent.
    #[serde(default = "default_mqtt_listen")]
    pub mqtt_listen: String,
    /// Who may connect. Without it, and without certificates (`tls`), only this machine may.
    #[serde(default)]
    pub auth: Option<AuthSpec>,
    /// TLS for the devices.
    #[serde(default)]
    pub tls: Option<TlsSpec>,
    /// What bounds the MQTT endpoint.
    #[serde(default)]
    pub limits: LimitsSpec,
    /// The topic on which a device gets its commands, the only one that can be subscribed to;
    /// `devices/{device_id}/commands` when absent.
    #[serde(default = "default_commands")]
    pub commands: String,
    /// What is kept free on the disk of `dir`. Below it nothing is acknowledged until there is room; `256MiB` when absent.
    #[serde(default = "default_min_free")]
    pub min_free: ByteSize,
}

fn default_mqtt_listen() -> String {
    "127.0.0.1:1883".to_owned()
}

fn default_commands() -> String {
    COMMANDS.to_owned()
}

fn default_min_free() -> ByteSize {
    ByteSize::from(256 << 20)
}

/// The embedded default, checked.
#[derive(Debug)]
pub struct EmbeddedConnection {
    dir: PathBuf,
    endpoint: Endpoint,
    min_free: u64,
    /// The directory while somebody has it open.
    disk: Mutex<Weak<Disk>>,
}

impl Connection for EmbeddedConnection {
    const KIND: &'static str = "embedded";
    const HAS_TOPICS: bool = true;
    type Spec = EmbeddedConnectionSpec;

    fn check(spec: EmbeddedConnectionSpec, cx: &mut CheckContext<'_>) -> Option<Self> {
        if spec.dir.as_os_str().is_empty() {
            cx.problem("dir", "embedded::no_dir", "the data directory has no name", "name one, such as `data/`");
        }
        let endpoint = EndpointSpec {
            mqtt_listen: spec.mqtt_listen,
            auth: spec.auth,
            tls: spec.tls,
            limits: spec.limits,
            commands: spec.commands,
        };
        let endpoint = Endpoint::new(EndpointSettings::check(endpoint, cx)?);
        let named = !spec.dir.as_os_str().is_empty();
        named.then(|| EmbeddedConnection {
            dir: spec.dir,
            endpoint,
            min_free: spec.min_free.into(),
            disk: Mutex::default(),
        })
    }
}

impl EmbeddedConnection {
    /// The data directory, as written.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where devices connect over MQTT.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The data directory, opened by the first who asks and shared with all others of this process.
    pub async fn disk(&self) -> Result<Arc<Disk>, BuildError> {
        let disk = Disk::open(&self.dir, self.min_free).await?;
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&disk);
        Ok(disk)
    }

    /// What the data directory takes, as last measured; none while nobody has it open.
    pub fn usage(&self) -> Option<Usage> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        disk?.usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::context::{Connections, Topics};

    #[test]
    fn every_problem_is_reported_at_its_place() {
        let check = |spec: &str, expect: &[&str]| {
            let mut problems = Vec::new();
            let mut cx = CheckContext {
                name: "local",
                inputs: &[],
                connections: &Connections::new(),
                topics: &Topics::default(),
                problems: &mut problems,
            };
            let checked = EmbeddedConnection::check(serde_json::from_str(spec).unwrap(), &mut cx);
            let found: Vec<_> = problems.iter().map(|p| format!("{} {}", p.at, p.code)).collect();
            assert_eq!(found, expect, "{spec}");
            assert_eq!(checked.is_some(), expect.is_empty(), "{spec}");
        };
        check(r#"{"dir":"data/"}"#, &[]);
        check(r#"{"dir":"data/","mqtt_listen":"[::1]:0","min_free":"1MiB"}"#, &[]);
        check(
            r#"{"dir":"","mqtt_listen":"localhost:1883"}"#,
            &["dir embedded::no_dir", "mqtt_listen embedded::mqtt_listen"],
        );
        check(r#"{"dir":"d","mqtt_listen":"0.0.0.0:1883"}"#, &["mqtt_listen embedded::open_endpoint"]);
    }
}
