//! The commands that wait for an offline device: in order, bounded in number and bytes.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::record::EventId;

/// The most commands that wait for one device.
pub(super) const MAX_COMMANDS: usize = 100;
/// The most bytes of commands that wait for one device.
pub(super) const MAX_BYTES: usize = 256 << 10;

/// A command that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Queued {
    pub(super) id: EventId,
    pub(super) received_at: Timestamp,
    pub(super) expires_at: Timestamp,
    /// As posted.
    #[serde(with = "plain_bytes")]
    pub(super) body: Bytes,
}

/// The commands of one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Queue {
    commands: VecDeque<Queued>,
    /// When the shard's time is expected to reach the first `expires_at`.
    pub(super) wake: LogTime,
}

impl Queue {
    /// Puts a command behind the others; gives it back when there is no room.
    pub(super) fn push(&mut self, command: Queued) -> Result<(), Queued> {
        let bytes: usize = self.commands.iter().map(|waiting| waiting.body.len()).sum();
        if self.commands.len() >= MAX_COMMANDS || bytes + command.body.len() > MAX_BYTES {
            return Err(command);
        }
        self.commands.push_back(command);
        Ok(())
    }

    /// Takes out those whose time has passed, in order.
    pub(super) fn take_expired(&mut self, wall: Timestamp) -> Vec<Queued> {
        let (expired, waiting) = self.commands.drain(..).partition(|command| command.expires_at <= wall);
        self.commands = waiting;
        Vec::from_iter::<VecDeque<_>>(expired)
    }

    /// All that wait, in order.
    pub(super) fn into_commands(self) -> VecDeque<Queued> {
        self.commands
    }

    /// Works out anew when the first of them expires; none when none waits. Expiry is in wall time, because whoever
    /// posted the command meant that; the shard's time never runs ahead of it, so the wake-up may come late, and an
    /// early one is asked for again.
    pub(super) fn schedule(&mut self, wall: Timestamp, log: LogTime) -> Option<LogTime> {
        let first = self.commands.iter().map(|command| command.expires_at).min()?;
        self.wake = log + first.since(wall).max(Duration::from_millis(1));
        Some(self.wake)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }
}

/// Bytes as postcard writes a byte string.
pub(super) mod plain_bytes {
    use std::marker::PhantomData;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(in super::super) fn deserialize<'de, D, B>(deserializer: D) -> Result<B, D::Error>
    where
        D: Deserializer<'de>,
        B: From<Vec<u8>>,
    {
        struct Copied<B>(PhantomData<B>);
        impl<B: From<Vec<u8>>> Visitor<'_> for Copied<B> {
            type Value = B;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<B, E> {
                Ok(B::from(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Copied(PhantomData))
    }
}
