//! What an error of Redis means for what was asked.
//!
//! Redis never says that a record is at fault: what it refuses it refuses for its own state (loading, out of memory, a
//! replica, a full disk), and that passes. So almost everything is [`FailureKind::NotNow`], to be tried again for as
//! long as it takes.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use telemill_engine::record::Reason;
use telemill_engine::sink::Submitted;
use telemill_engine::stage::{BuildError, StageError};
use thiserror::Error;

/// A request that was not answered as hoped. Its text names the server, never a secret.
#[derive(Debug, Clone, Error)]
#[error("{detail}")]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

/// What can be done about a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Try again later. With `lost` the connection is of no use any more, and whether the request took effect is
    /// unknown.
    NotNow { reason: Reason, lost: bool },
    /// The server does not let us: credentials, rights, or its mode. It will say the same again.
    Denied,
    /// A key holds another type than is kept there.
    WrongType,
    /// The script is not in the server's cache; nothing was executed.
    NoScript,
}

impl Failure {
    pub(crate) fn denied(detail: String) -> Self {
        Failure { kind: FailureKind::Denied, detail }
    }

    pub(crate) fn timeout(address: &str, doing: &str) -> Self {
        let kind = FailureKind::NotNow { reason: Reason("timeout"), lost: true };
        Failure { kind, detail: format!("redis at {address}: no answer in time to {doing}") }
    }

    pub(crate) fn new(address: &str, error: &RedisError) -> Self {
        Failure { kind: kind_of(error), detail: format!("redis at {address}: {error}") }
    }

    /// Whether the connection is to be given up.
    pub(crate) fn lost(&self) -> bool {
        matches!(self.kind, FailureKind::NotNow { lost: true, .. })
    }
}

fn kind_of(error: &RedisError) -> FailureKind {
    if error.is_timeout() {
        return FailureKind::NotNow { reason: Reason("timeout"), lost: true };
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => return FailureKind::NoScript,
        ErrorKind::Server(_) | ErrorKind::Extension => {}
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => return FailureKind::Denied,
        _ => return FailureKind::NotNow { reason: Reason("unavailable"), lost: true },
    }
    // Servers before 7 wrap the error of a command inside a script into an `ERR` whose text holds the word.
    let text = error.detail().unwrap_or_default();
    let says = |word: &str| error.code() == Some(word) || text.split([' ', ':', '-']).any(|w| w == word);
    let not_now = |reason, lost| FailureKind::NotNow { reason: Reason(reason), lost };
    if says("READONLY") {
        not_now("read_only", true)
    } else if says("LOADING") {
        not_now("loading", false)
    } else if says("BUSY") {
        not_now("busy", false)
    } else if says("OOM") {
        not_now("out_of_memory", false)
    } else if says("MISCONF") || says("NOREPLICAS") {
        not_now("not_writable", false)
    } else if says("WRONGTYPE") {
        FailureKind::WrongType
    } else if says("NOAUTH") || says("WRONGPASS") || says("NOPERM") {
        FailureKind::Denied
    } else {
        not_now("redis_error", false)
    }
}

impl From<Failure> for BuildError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Denied => BuildError::Impossible(failure.detail),
            _ => BuildError::Unavailable(failure.detail),
        }
    }
}

impl From<Failure> for Submitted {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::NotNow { reason, .. } => Submitted::Retry { reason, detail: failure.detail, after: None },
            FailureKind::NoScript => {
                Submitted::Retry { reason: Reason("no_script"), detail: failure.detail, after: None }
            }
            FailureKind::Denied | FailureKind::WrongType => Submitted::Fatal(failure.detail),
        }
    }
}

impl From<Failure> for StageError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::NotNow { reason, .. } => StageError::Retry { reason, detail: failure.detail, after: None },
            FailureKind::NoScript => {
                StageError::Retry { reason: Reason("no_script"), detail: failure.detail, after: None }
            }
            FailureKind::Denied | FailureKind::WrongType => StageError::Fatal(failure.detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{Value, parse_redis_value};

    fn said(line: &str) -> FailureKind {
        let Ok(Value::ServerError(error)) = parse_redis_value(format!("-{line}\r\n").as_bytes()) else {
            panic!("{line} is an error");
        };
        kind_of(&error.into())
    }

    #[test]
    fn the_state_of_the_server_is_never_the_fault_of_a_record() {
        let retried = |line: &str, expect: &str, lost: bool| {
            assert_eq!(said(line), FailureKind::NotNow { reason: Reason(Box::leak(expect.into())), lost }, "{line}");
        };
        retried("LOADING Redis is loading the dataset in memory", "loading", false);
        retried("BUSY Redis is busy running a script.", "busy", false);
        retried("OOM command not allowed when used memory > 'maxmemory'.", "out_of_memory", false);
        retried(
            "ERR Error running script (call to f_1): @user_script:9: -OOM command not allowed",
            "out_of_memory",
            false,
        );
        retried("MISCONF Errors writing to the AOF file: No space left on device", "not_writable", false);
        retried("NOREPLICAS Not enough good replicas to write.", "not_writable", false);
        retried("READONLY You can't write against a read only replica.", "read_only", true);
        retried("ERR something that nobody has thought of", "redis_error", false);
    }

    #[test]
    fn what_will_not_pass_is_told_apart() {
        assert_eq!(said("NOSCRIPT No matching script. Please use EVAL."), FailureKind::NoScript);
        assert_eq!(said("NOPERM this user has no permissions to run the 'evalsha' command"), FailureKind::Denied);
        assert_eq!(said("NOAUTH Authentication required."), FailureKind::Denied);
        assert_eq!(said("WRONGTYPE Operation against a key holding the wrong kind of value"), FailureKind::WrongType);
    }
}
