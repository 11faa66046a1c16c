//! Sessions that outlive their connection, and the commands that wait in them, on disk (`docs/formats.md`, "MQTT
//! sessions of the embedded endpoint").
//!
//! One task writes: all changes that have gathered go into one atomic write, so that ten thousand devices that connect
//! at once do not cost ten thousand times the disk.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use telemill_engine::record::EventId;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

/// The place on disk. Blocking.
pub(crate) trait Keeper: Send + Sync + 'static {
    /// Everything that is there, in the order of the keys.
    fn load(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String>;
    /// Puts and removes (none) in one atomic write; durable when it returns.
    fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), String>;
}

/// A session as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    v: u32,
    /// How long it outlives its connection, in seconds.
    pub(crate) expiry: u32,
    /// Filters and their quality of service.
    pub(crate) subscriptions: Vec<(String, u8)>,
}

impl SessionRecord {
    /// The present form of it.
    pub(crate) fn new(expiry: u32, subscriptions: Vec<(String, u8)>) -> Self {
        SessionRecord { v: VERSION, expiry, subscriptions }
    }
}

/// A command as it is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandRecord {
    pub(crate) sequence: u64,
    pub(crate) id: EventId,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
}

#[derive(Serialize, Deserialize)]
struct CommandHead {
    v: u32,
    id: EventId,
    topic: String,
}

const VERSION: u32 = 1;
const SESSION: u8 = b's';
const COMMAND: u8 = b'c';

/// A change to what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change(Vec<u8>, Option<Vec<u8>>);

impl Change {
    /// A session is, or is something else now.
    pub(crate) fn session(client: &str, record: &SessionRecord) -> Self {
        let value = serde_json::to_vec(record).expect("numbers and texts are JSON");
        Change(session_key(client), Some(value))
    }

    /// A session is no more.
    pub(crate) fn no_session(client: &str) -> Self {
        Change(session_key(client), None)
    }

    /// A command waits.
    pub(crate) fn command(client: &str, sequence: u64, id: EventId, topic: &str, payload: &[u8]) -> Self {
        let head = CommandHead { v: VERSION, id, topic: topic.to_owned() };
        let mut value = serde_json::to_vec(&head).expect("numbers and texts are JSON");
        value.push(0);
        value.extend_from_slice(payload);
        Change(command_key(client, sequence), Some(value))
    }

    /// A command waits no more.
    pub(crate) fn no_command(client: &str, sequence: u64) -> Self {
        Change(command_key(client, sequence), None)
    }
}

fn session_key(client: &str) -> Vec<u8> {
    [&[SESSION], client.as_bytes()].concat()
}

fn command_key(client: &str, sequence: u64) -> Vec<u8> {
    // No client id has a zero byte in it.
    [&[COMMAND], client.as_bytes(), &[0], &sequence.to_be_bytes()].concat()
}

/// What was kept of one session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) client: String,
    pub(crate) session: SessionRecord,
    pub(crate) commands: Vec<CommandRecord>,
}

/// Reads all sessions back.
///
/// # Errors
/// Says which key does not have the form that it should have.
fn decode(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Vec<Kept>, String> {
    let malformed = |key: &[u8], why: &str| Err(format!("the entry `{}` of MQTT sessions {why}", key.escape_ascii()));
    let mut commands: Vec<(String, CommandRecord)> = Vec::new();
    let mut sessions: Vec<Kept> = Vec::new();
    for (key, value) in entries {
        match key.split_first() {
            Some((&SESSION, client)) => match (std::str::from_utf8(client), serde_json::from_slice(&value)) {
                (Ok(client), Ok(session @ SessionRecord { v: VERSION, .. })) => {
                    sessions.push(Kept { client: client.to_owned(), session, commands: Vec::new() });
                }
                (_, Ok(_)) => return malformed(&key, "is of a newer version"),
                _ => return malformed(&key, "is damaged"),
            },
            Some((&COMMAND, rest)) => match decode_command(rest, value) {
                Some(command) => commands.push(command),
                None => return malformed(&key, "is damaged, or of a newer version"),
            },
            _ => return malformed(&key, "is of no known kind"),
        }
    }
    for (client, command) in commands {
        // A command whose session is gone is one that was being removed with it.
        if let Some(kept) = sessions.iter_mut().find(|kept| kept.client == client) {
            kept.commands.push(command);
        }
    }
    Ok(sessions)
}

fn decode_command(key: &[u8], value: Vec<u8>) -> Option<(String, CommandRecord)> {
    let (client, sequence) = key.split_at_checked(key.len().checked_sub(9)?)?;
    let sequence = u64::from_be_bytes(sequence.strip_prefix(&[0])?.try_into().ok()?);
    let client = std::str::from_utf8(client).ok()?.to_owned();
    let end = value.iter().position(|byte| *byte == 0)?;
    let head: CommandHead = serde_json::from_slice(&value[..end]).ok().filter(|head: &CommandHead| head.v == VERSION)?;
    let payload = Bytes::from(value).slice(end + 1..);
    Some((client, CommandRecord { sequence, id: head.id, topic: head.topic, payload }))
}

type Job = (Vec<Change>, oneshot::Sender<Result<(), Arc<str>>>);

/// Where changes are handed in.
#[derive(Clone)]
pub(crate) struct Store {
    keeper: Arc<dyn Keeper>,
    jobs: mpsc::Sender<Job>,
}

/// How many changes are handed in before handing in waits.
const QUEUE: usize = 1024;

impl Store {
    /// Starts the task that writes. It ends with the last copy of this.
    pub(crate) fn start(keeper: Arc<dyn Keeper>) -> Self {
        let (jobs, receiver) = mpsc::channel(QUEUE);
        let writer = keeper.clone();
        tokio::task::spawn_blocking(move || write_all(&*writer, receiver));
        Store { keeper, jobs }
    }

    /// Everything that was kept.
    pub(crate) async fn load(&self) -> Result<Vec<Kept>, String> {
        let keeper = self.keeper.clone();
        let loaded = tokio::task::spawn_blocking(move || keeper.load().and_then(decode)).await;
        loaded.unwrap_or_else(|error| Err(format!("reading MQTT sessions failed: {error}")))
    }

    /// Returns when the changes are durable.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), Arc<str>> {
        if changes.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        let gone = || Arc::from("the task that writes MQTT sessions has ended");
        self.jobs.send((changes, done)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn write_all(keeper: &dyn Keeper, mut jobs: mpsc::Receiver<Job>) {
    let mut gathered: Vec<Job> = Vec::new();
    while jobs.blocking_recv_many(&mut gathered, QUEUE) > 0 {
        let changes = gathered.iter_mut().flat_map(|(changes, _)| changes.drain(..)).map(|Change(k, v)| (k, v));
        let written = keeper.write(changes.collect()).map_err(Arc::from);
        if let Err(why) = &written {
            error!(code = "mqtt_endpoint::sessions_not_written", error = %why, "MQTT sessions cannot be written");
        }
        for (_, done) in gathered.drain(..) {
            // Whoever asked may have gone.
            let _ = done.send(written.clone());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use ulid::Ulid;

    use super::*;

    /// Keeps everything in memory; can be told to fail.
    #[derive(Default)]
    pub(crate) struct Memory {
        entries: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    }

    impl Keeper for Memory {
        fn load(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, String> {
            Ok(self.entries.lock().unwrap().clone().into_iter().collect())
        }

        fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), String> {
            let mut entries = self.entries.lock().unwrap();
            for (key, value) in changes {
                match value {
                    Some(value) => drop(entries.insert(key, value)),
                    None => drop(entries.remove(&key)),
                }
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_is_committed_is_read_back() {
        let store = Store::start(Arc::new(Memory::default()));
        let session = SessionRecord::new(60, vec![("devices/d1/commands".to_owned(), 1)]);
        let id = |n: u128| EventId(Ulid(n));
        let changes = vec![
            Change::session("d1", &session),
            Change::session("d\r\n+#", &SessionRecord::new(u32::MAX, Vec::new())),
            Change::command("d1", 300, id(2), "devices/d1/commands", b"{}\0"),
            Change::command("d1", 2, id(1), "devices/d1/commands", b""),
            Change::command("d1", 3, id(3), "devices/d1/commands", b"gone"),
            Change::command("nobody", 1, id(4), "devices/nobody/commands", b"1"),
        ];
        store.commit(changes).await.unwrap();
        store.commit(vec![Change::no_command("d1", 3)]).await.unwrap();
        let kept = store.load().await.unwrap();
        let command = |sequence, n, payload: &'static [u8]| CommandRecord {
            sequence,
            id: id(n),
            topic: "devices/d1/commands".to_owned(),
            payload: payload.into(),
        };
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[1].client, "d1");
        assert_eq!(kept[1].session, session);
        assert_eq!(kept[1].commands, [command(2, 1, b""), command(300, 2, b"{}\0")]);
        assert_eq!((kept[0].client.as_str(), kept[0].commands.len()), ("d\r\n+#", 0));
        store.commit(vec![Change::no_session("d1")]).await.unwrap();
        assert_eq!(store.load().await.unwrap().len(), 1);
    }

    #[test]
    fn what_has_another_form_is_refused_by_name() {
        let check = |key: &[u8], value: &[u8], says: &str| {
            let error = decode(vec![(key.to_vec(), value.to_vec())]).unwrap_err();
            assert!(error.contains(says), "{error}");
        };
        check(b"sd1", br#"{"v":2,"expiry":1,"subscriptions":[]}"#, "`sd1` of MQTT sessions is of a newer version");
        check(b"sd1", b"{", "`sd1` of MQTT sessions is damaged");
        check(b"cd1\0\0\0\0\0\0\0\0\x01", b"{}\0", "damaged");
        check(b"c", b"", "damaged");
        check(b"x", b"", "no known kind");
        check(b"", b"", "no known kind");
    }
}
