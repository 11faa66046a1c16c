//! Sessions that outlive their connection, and the commands that wait in them, on disk (`docs/formats.md`, "MQTT
//! sessions of the embedded endpoint").
//!
//! The data directory gathers what is committed at the same time into one write, so ten thousand devices that connect at
//! once do not cost ten thousand times the disk.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use telemill_engine::record::EventId;

use crate::embedded::disk::{Disk, DiskError, KeyRange, Read, Row, Space, Tx, View};

/// The space of all of it.
const SPACE: Space = Space("mqtt_sessions");

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

/// Reads all sessions back; also what to remove.
///
/// # Errors
/// Says which key does not have the form that it should have.
fn decode(entries: Vec<Row>) -> Result<(Vec<Kept>, Vec<Change>), String> {
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
            Some((&COMMAND, rest)) => match decode_command(rest, &value) {
                Some(command) => commands.push(command),
                None => return malformed(&key, "is damaged, or of a newer version"),
            },
            _ => return malformed(&key, "is of no known kind"),
        }
    }
    let mut stale = Vec::new();
    for (client, command) in commands {
        // In the order of their clients, as the keys are.
        match sessions.binary_search_by(|kept| kept.client.as_bytes().cmp(client.as_bytes())) {
            Ok(index) => sessions[index].commands.push(command),
            // Its session ended while it was being written.
            Err(_) => stale.push(Change::no_command(&client, command.sequence)),
        }
    }
    Ok((sessions, stale))
}

fn decode_command(key: &[u8], value: &Bytes) -> Option<(String, CommandRecord)> {
    let (client, sequence) = key.split_at_checked(key.len().checked_sub(9)?)?;
    let sequence = u64::from_be_bytes(sequence.strip_prefix(&[0])?.try_into().ok()?);
    let client = std::str::from_utf8(client).ok()?.to_owned();
    let end = value.iter().position(|byte| *byte == 0)?;
    let head: CommandHead =
        serde_json::from_slice(&value[..end]).ok().filter(|head: &CommandHead| head.v == VERSION)?;
    let payload = value.slice(end + 1..);
    Some((client, CommandRecord { sequence, id: head.id, topic: head.topic, payload }))
}

/// Where changes are handed in.
#[derive(Clone)]
pub(crate) struct Store(Arc<Disk>);

impl Store {
    /// The sessions in a data directory.
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        Store(disk)
    }

    /// Everything that was kept. What belongs to no session is taken off the disk.
    pub(crate) async fn load(&self) -> Result<Vec<Kept>, DiskError> {
        let read = |view: &View<'_>| view.rows(SPACE, KeyRange::prefix("")).collect::<Result<Vec<Row>, DiskError>>();
        let (kept, stale) = decode(self.0.read(read).await?).map_err(DiskError::Broken)?;
        self.commit(stale).await?;
        Ok(kept)
    }

    /// Returns when the changes are durable.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), DiskError> {
        if changes.is_empty() { Ok(()) } else { self.commit_then(changes, || ()).await }
    }

    /// As [`Store::commit`]; runs `then` as soon as the changes are durable, in the order of the calls. It must be quick.
    pub(crate) async fn commit_then(
        &self,
        changes: Vec<Change>,
        then: impl FnOnce() + Send + 'static,
    ) -> Result<(), DiskError> {
        let write = move |tx: &mut Tx<'_>| {
            for Change(key, value) in changes {
                match value {
                    Some(value) => tx.insert(SPACE, key, value),
                    None => tx.remove(SPACE, key),
                }
            }
            tx.on_durable(then);
            Ok::<_, DiskError>(())
        };
        self.0.write(write).await
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[tokio::test]
    async fn what_is_committed_is_read_back() {
        let dir = std::env::temp_dir().join(format!("telemill-mqtt-sessions-{}", std::process::id()));
        let store = Store::new(Disk::open(&dir, 0).await.unwrap());
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
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_has_another_form_is_refused_by_name() {
        let check = |key: &[u8], value: &[u8], says: &str| {
            let error = decode(vec![(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))]).unwrap_err();
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
