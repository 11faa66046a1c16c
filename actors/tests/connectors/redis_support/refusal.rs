//! States of a server in which it refuses what it would do in another: each brought about for real, and left again.

use std::fs;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use telemill_services::{Redis, eventually};

use super::{DEADLINE, client};

/// Why a server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `maxmemory` is reached.
    OutOfMemory,
    /// It was made a replica, as by a failover.
    ReadOnly,
    /// Too few replicas follow it.
    TooFewReplicas,
    /// Its last snapshot could not be written (MISCONF).
    NotPersisted,
    /// It reads its data from disk.
    Loading,
    /// A script of somebody else runs on and on.
    Busy,
    /// It has no scripts any more.
    NoScript,
}

impl Refusal {
    pub(crate) const ALL: [Refusal; 7] = [
        Refusal::OutOfMemory,
        Refusal::ReadOnly,
        Refusal::TooFewReplicas,
        Refusal::NotPersisted,
        Refusal::Loading,
        Refusal::Busy,
        Refusal::NoScript,
    ];

    /// A server that can be brought into all of these states.
    pub(crate) fn server() -> Redis {
        let slow_to_load = "loading-process-events-interval-bytes 1024";
        Redis::start_with(&["--set", "enable-debug-command yes", "--set", slow_to_load])
    }

    /// What a try is counted under meanwhile.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refusal::OutOfMemory => "out_of_memory",
            Refusal::ReadOnly => "read_only",
            Refusal::TooFewReplicas | Refusal::NotPersisted => "not_writable",
            Refusal::Loading => "loading",
            Refusal::Busy => "busy",
            Refusal::NoScript => "no_script",
        }
    }

    /// Brings a server into the state.
    pub(crate) async fn begin(self, server: &Redis) {
        let mut client = client(&server.url()).await;
        match self {
            Refusal::OutOfMemory => say(&mut client, "CONFIG SET maxmemory 1").await,
            Refusal::ReadOnly => say(&mut client, "REPLICAOF 127.0.0.1 1").await,
            Refusal::TooFewReplicas => say(&mut client, "CONFIG SET min-replicas-to-write 3").await,
            Refusal::NoScript => say(&mut client, "SCRIPT FLUSH").await,
            Refusal::NotPersisted => {
                // A snapshot takes the place of the last one by a rename, which this prevents.
                fs::create_dir_all(server.dir().join("dump.rdb/taken")).unwrap();
                let mut save = redis::cmd("CONFIG");
                let _: () = save.arg("SET").arg("save").arg("3600 1").query_async(&mut client).await.unwrap();
                snapshot(&mut client, "err").await;
            }
            Refusal::Loading => {
                // It looks at its clients every so many bytes, and takes its time for each key.
                let filler = "x".repeat(2000);
                for n in 0..300 {
                    let _: () = redis::cmd("SET")
                        .arg(format!("filler-{n}"))
                        .arg(&filler)
                        .query_async(&mut client)
                        .await
                        .unwrap();
                }
                say(&mut client, "CONFIG SET key-load-delay 10000").await;
                within(server, "DEBUG RELOAD").await;
                until_it_says(server, "LOADING").await;
            }
            Refusal::Busy => {
                say(&mut client, "CONFIG SET busy-reply-threshold 50").await;
                let mut spin = redis::cmd("EVAL");
                spin.arg("while true do end").arg(0);
                let mut other = super::client(&server.url()).await;
                tokio::spawn(async move { spin.query_async::<Value>(&mut other).await });
                until_it_says(server, "BUSY").await;
            }
        }
    }

    /// Brings it back.
    pub(crate) async fn end(self, server: &Redis) {
        let mut client = client(&server.url()).await;
        match self {
            Refusal::OutOfMemory => say(&mut client, "CONFIG SET maxmemory 0").await,
            Refusal::ReadOnly => say(&mut client, "REPLICAOF NO ONE").await,
            Refusal::TooFewReplicas => say(&mut client, "CONFIG SET min-replicas-to-write 0").await,
            Refusal::NotPersisted => {
                fs::remove_dir_all(server.dir().join("dump.rdb")).unwrap();
                snapshot(&mut client, "ok").await;
            }
            Refusal::Busy => say(&mut client, "SCRIPT KILL").await,
            // These end by themselves.
            Refusal::Loading | Refusal::NoScript => {}
        }
    }
}

fn command(line: &str) -> redis::Cmd {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    command
}

async fn say(client: &mut MultiplexedConnection, line: &str) {
    let _: Value = command(line).query_async(client).await.unwrap();
}

/// Has a server do something that takes long.
async fn within(server: &Redis, line: &str) {
    let (mut client, command) = (client(&server.url()).await, command(line));
    tokio::spawn(async move { command.query_async::<Value>(&mut client).await });
}

async fn snapshot(client: &mut MultiplexedConnection, expect: &str) {
    say(client, "BGSAVE").await;
    eventually(DEADLINE, "the snapshot to be tried", async || {
        let info: String = redis::cmd("INFO").arg("persistence").query_async(client).await.ok()?;
        let is_done = info.contains("rdb_bgsave_in_progress:0");
        (is_done && info.contains(&format!("rdb_last_bgsave_status:{expect}"))).then_some(())
    })
    .await;
}

async fn until_it_says(server: &Redis, word: &str) {
    eventually(DEADLINE, &format!("the server to say {word}"), async || {
        let client = redis::Client::open(server.url()).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(5)));
        let mut client = client.get_multiplexed_async_connection_with_config(&config).await.ok()?;
        let answer: RedisResult<Value> = redis::cmd("GET").arg("x").query_async(&mut client).await;
        answer.is_err_and(|error| error.code() == Some(word)).then_some(())
    })
    .await;
}
