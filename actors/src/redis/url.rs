//! From a URL to where to connect, or why not.

use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};

/// Why a URL is refused. No field repeats any of it: it may hold a password.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: &'static str,
}

const FORM: &str = "write redis://[user:password@]host[:port][/database]";

/// Sends a probe on an idle connection after this, so that a server that vanished is found.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Gives up a connection on which data has not been taken for this long.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn parse(url: &str) -> Result<ConnectionInfo, Refused> {
    let refuse = |code, message: &str, hint| Err(Refused { code, message: message.to_owned(), hint });
    match url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).as_deref() {
        Some("redis") => {}
        Some("rediss" | "valkeys") => {
            let hint = "use redis:// over a private network, or a TLS tunnel such as stunnel beside this process";
            return refuse("redis::tls", "this version does not speak TLS to Redis", hint);
        }
        Some("redis+cluster" | "redis-cluster" | "rediss+cluster") => {
            let message = "a Redis Cluster cannot hold the guard: no script writes keys of several slots atomically";
            return refuse("redis::cluster", message, "name a single server or the primary of a replicated pair");
        }
        Some(scheme) => {
            return refuse("redis::bad_url", &format!("`{scheme}` is not a scheme of a Redis connection"), FORM);
        }
        None => return refuse("redis::bad_url", "this is not a Redis URL", FORM),
    }
    let info = match url.into_connection_info() {
        Ok(info) => info,
        // The library's text may quote the URL; its category does not.
        Err(error) => {
            let what = error.detail().map_or("host, port or database number", |_| "host or port");
            return refuse("redis::bad_url", &format!("the URL's {what} cannot be read"), FORM);
        }
    };
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(USER_TIMEOUT);
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_server_without_tls_is_accepted() {
        let check = |url: &str, expect: Result<&str, &str>| {
            let parsed = parse(url);
            let found = parsed.as_ref().map(|info| info.addr().to_string()).map_err(|refused| refused.code);
            assert_eq!(found, expect.map(str::to_owned), "{url}");
        };
        check("redis://127.0.0.1", Ok("127.0.0.1:6379"));
        check("redis://user:p%40ss@store:6380/3", Ok("store:6380"));
        check("rediss://store", Err("redis::tls"));
        check("redis+cluster://a,b,c", Err("redis::cluster"));
        check("http://store", Err("redis::bad_url"));
        check("store:6379", Err("redis::bad_url"));
        check("redis://", Err("redis::bad_url"));
        check("redis://store/first", Err("redis::bad_url"));
    }

    #[test]
    fn credentials_and_database_are_taken_from_the_url() {
        let info = parse("redis://user:p%40ss@store:6380/3?protocol=resp3").unwrap();
        let redis = info.redis_settings();
        assert_eq!((redis.username(), redis.password(), redis.db()), (Some("user"), Some("p@ss"), 3));
        assert_eq!(redis.protocol(), ProtocolVersion::RESP2, "scripts and their answers are written for RESP2");
    }
}
