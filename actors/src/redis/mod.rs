//! The connection to a Redis server, shared by everything here that talks to one.
//!
//! [`RedisConnection`] is what a topology file says of it, proven; [`Link`] is the running side: one multiplexed
//! connection that is made when it is needed and made anew when it is of no more use; [`Failure`] says what an error
//! means for what was asked. Three things hold for every user of a link:
//!
//! - the password is in no message, log line or debug form;
//! - a command whose answer did not come has an unknown outcome: it is never repeated here, but by the caller, who knows
//!   whether that is safe;
//! - what a given-up connection still holds is not executed behind what its successor sends.

mod failure;
mod link;
mod script;
mod subscription;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::ConnectionInfo;
use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, Connection};
use telemill_engine::topology::HumanDuration;

pub(crate) use failure::{Failure, FailureKind};
pub(crate) use link::{Link, Live, no_scripts, size};
pub(crate) use script::{Answer, evalsha};

/// What a topology file says of a Redis server.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisSpec {
    /// `redis://[user:password@]host[:port][/database]`.
    pub url: String,
    /// How long an answer may take before the connection is given up and the work tried again. Set it above the longest
    /// pause that the server makes (a save, a slow script of another client), since a lower one turns each into a retry.
    /// What is sent has a second more for each 64 KiB of it.
    #[serde(default = "default_response_timeout")]
    pub response_timeout: HumanDuration,
}

fn default_response_timeout() -> HumanDuration {
    Duration::from_secs(10).into()
}

/// A Redis server: where it is, and how long it may take.
#[derive(Clone)]
pub struct RedisConnection {
    info: ConnectionInfo,
    address: Arc<str>,
    response_timeout: Duration,
}

impl RedisConnection {
    /// `host:port/database`, for messages.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection")
            .field("address", &self.address)
            .field("response_timeout", &self.response_timeout)
            .finish()
    }
}

const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

impl Connection for RedisConnection {
    const KIND: &'static str = "redis";
    type Spec = RedisSpec;

    fn check(spec: RedisSpec, cx: &mut CheckContext<'_>) -> Option<Self> {
        let response_timeout = Duration::from(spec.response_timeout);
        let timeout_fits = (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&response_timeout);
        if !timeout_fits {
            let hint = "10s is the default; below it, a server that saves its data looks like one that is gone";
            let message = "response_timeout is to be between 100ms and 10m";
            cx.problem("response_timeout", "redis::bad_timeout", message, hint);
        }
        let info = match url::parse(&spec.url) {
            Ok(info) => info,
            Err(refused) => {
                cx.problem("url", refused.code, refused.message, refused.hint);
                return None;
            }
        };
        let address = format!("{}/{}", info.addr(), info.redis_settings().db()).into();
        timeout_fits.then_some(RedisConnection { info, address, response_timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::context::{Connections, FieldProblem, Topics};

    fn check(url: &str, response_timeout: Duration) -> (Option<RedisConnection>, Vec<FieldProblem>) {
        let mut problems = Vec::new();
        let spec = RedisSpec { url: url.to_owned(), response_timeout: response_timeout.into() };
        let mut cx = CheckContext {
            name: "state",
            inputs: &[],
            connections: &Connections::new(),
            topics: &Topics::default(),
            problems: &mut problems,
        };
        let checked = RedisConnection::check(spec, &mut cx);
        (checked, problems)
    }

    #[test]
    fn the_password_is_in_no_text() {
        let (checked, problems) = check("redis://telemill:s3cr3t@store:6380/2", Duration::from_secs(5));
        assert!(problems.is_empty(), "{problems:?}");
        let shown = format!("{:?}", checked.unwrap());
        assert!(shown.contains("store:6380/2"), "{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
        for url in ["rediss://u:s3cr3t@h", "redis://u:s3cr3t@h:x", "redis://u:s3cr3t@h/x", "u:s3cr3t@h"] {
            let (checked, problems) = check(url, Duration::from_secs(5));
            assert!(checked.is_none(), "{url}");
            assert!(!format!("{problems:?}").contains("s3cr3t"), "{problems:?}");
        }
    }

    #[test]
    fn all_problems_are_reported_with_their_place() {
        let (checked, problems) = check("rediss://h", Duration::ZERO);
        assert!(checked.is_none());
        let found: Vec<_> = problems.iter().map(|p| (p.at.as_str(), p.code)).collect();
        assert_eq!(found, [("response_timeout", "redis::bad_timeout"), ("url", "redis::tls")]);
    }
}
