//! `device_session`: whether a device is there, what it last said, and the commands that wait for it.
//!
//! Everything that a device publishes makes it online; after `offline_after` without a word, on the shard's own time,
//! it is offline, and so it is as soon as its will is said. Both are events on the outlet `presence`. The records themselves are handed on unchanged on the main
//! outlet.
//!
//! A command is taken out of the stream. While the device is online it goes to the outlet `commands` at once; a device
//! that is offline gets it when it is back, if the command may wait so long (`expires_at`), and in the order in which
//! the commands came. What cannot reach its device is never silent: a command that cannot wait, or whose time has
//! passed when it is read, goes to the dead letters (`offline`, `expired`, `queue_full`); one whose time passes while
//! it waits comes out of the outlet `expired`, as it was posted, and is counted there.
//!
//! Only what the device itself sent makes it online: a command to a device that was never heard of waits, or is
//! refused, like one to a device that is offline, and does not make it known.
//!
//! A device that is forgotten while it is online is offline with that, and the commands that wait for it come out of
//! `expired`.
//!
//! Where `identity` names the device's own message id, a message that it sent twice makes it online and is dropped.
//!
//! The state is a plain value and a step is pure, so a replay of the log repeats every event with the same id.

mod command;
mod identity;
mod presence;
mod queue;
mod session;
mod step;
#[cfg(test)]
mod tests;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{BuildContext, CheckContext};
use telemill_engine::registry::{CommandSink, CommandsSpec, Companion, Description, SessionLimits};
use telemill_engine::stage::{BuildError, Component, Outlet};
use telemill_engine::topology::document::codes;
use telemill_engine::topology::{ByteSize, HumanDuration};

use identity::Identity;

pub use identity::{IdentitySpec, IdentityWindowSpec};
pub use session::Session;

/// On- and offline events.
const PRESENCE: Outlet = Outlet(1);
/// Commands in the form that the device gets.
const COMMANDS: Outlet = Outlet(2);
/// Commands whose time passed while they waited, as they were posted.
const EXPIRED: Outlet = Outlet(3);

/// The component.
#[derive(Debug)]
pub struct DeviceSession {
    offline_after: Duration,
    last_payload: usize,
    identity: Option<Identity>,
}

/// As written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceSessionSpec {
    /// A device that was not heard of for this long is offline.
    #[serde(default = "defaults::offline_after")]
    pub offline_after: HumanDuration,
    /// A device that was not heard of for this long leaves memory; it comes back with its next record.
    #[serde(default = "defaults::passivate_after")]
    pub passivate_after: HumanDuration,
    /// The most devices to know, each partition an equal share of them. For one more, the one that was not heard of for
    /// longest is forgotten.
    #[serde(default = "defaults::max_sessions")]
    pub max_sessions: usize,
    /// A device that was not heard of for this long is forgotten. Not given: none is for that.
    #[serde(default)]
    pub forget_after: Option<HumanDuration>,
    /// The largest payload that is kept as the device's last one; 0 keeps none.
    #[serde(default = "defaults::last_payload")]
    pub last_payload: ByteSize,
    /// The field in which the device numbers its messages, such as `payload.msg_id`: a message whose id was seen is
    /// dropped. Not given: nothing is.
    #[serde(default)]
    pub identity: Option<IdentitySpec>,
    /// Where commands are published. Not given: they come out of the outlet `commands` alone.
    #[serde(default)]
    pub commands: Option<CommandsSpec>,
}

mod defaults {
    use std::time::Duration;

    use telemill_engine::topology::{ByteSize, HumanDuration};

    pub(super) fn offline_after() -> HumanDuration {
        Duration::from_secs(60).into()
    }
    pub(super) fn passivate_after() -> HumanDuration {
        Duration::from_secs(15 * 60).into()
    }
    pub(super) fn max_sessions() -> usize {
        1_000_000
    }
    pub(super) fn last_payload() -> ByteSize {
        (4 << 10).into()
    }
}

/// Proven good.
#[derive(Debug)]
pub struct CheckedDeviceSession {
    offline_after: Duration,
    last_payload: usize,
    identity: Option<Identity>,
    limits: SessionLimits,
    commands: Option<CommandSink>,
}

impl Component for DeviceSession {
    const KIND: &'static str = "device_session";
    const OUTLETS: &'static [&'static str] = &["presence", "commands", "expired"];
    type Spec = DeviceSessionSpec;
    type Checked = CheckedDeviceSession;

    fn check(spec: DeviceSessionSpec, cx: &mut CheckContext<'_>) -> Option<CheckedDeviceSession> {
        const CODE: &str = codes::INVALID_VALUE;
        let before = cx.problems.len();
        let offline_after = Duration::from(spec.offline_after);
        let passivate_after = Duration::from(spec.passivate_after);
        if offline_after.is_zero() {
            cx.problem("offline_after", CODE, "a device would be offline at once", "such as `60s`");
        }
        if passivate_after.is_zero() {
            cx.problem("passivate_after", CODE, "a device would leave memory at once", "such as `15m`");
        }
        if spec.max_sessions == 0 {
            cx.problem("max_sessions", CODE, "there would be room for no device", "such as `1000000`");
        }
        let forget_after = spec.forget_after.map(Duration::from);
        if forget_after.is_some_and(|after| after <= offline_after) {
            cx.problem("forget_after", CODE, "a device would be forgotten before it is offline", "such as `30d`");
        }
        let identity = spec.identity.and_then(|identity| identity.check(cx));
        let commands = spec.commands.and_then(|commands| cx.command_sink("commands", commands));
        (cx.problems.len() == before).then(|| CheckedDeviceSession {
            offline_after,
            last_payload: usize::try_from(u64::from(spec.last_payload)).unwrap_or(usize::MAX),
            identity,
            limits: SessionLimits { passivate_after, max_sessions: spec.max_sessions, forget_after },
            commands,
        })
    }

    fn describe(checked: &CheckedDeviceSession) -> Description {
        let commands = checked.commands.clone();
        let companions = commands.map(|sink| Companion::commands("commands", COMMANDS, sink));
        Description {
            companions: companions.into_iter().collect(),
            sessions: Some(checked.limits),
            ..Description::default()
        }
    }

    async fn build(checked: &CheckedDeviceSession, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(DeviceSession {
            offline_after: checked.offline_after,
            last_payload: checked.last_payload,
            identity: checked.identity.clone(),
        })
    }
}
