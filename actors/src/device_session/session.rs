//! One device's state.
//!
//! There may be a million of them, so it is flat: what most devices do not have (waiting commands) is behind a pointer,
//! and the counters have the width that a device's life needs.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::keyed::Presence;
use telemill_engine::record::EventId;
use ulid::Ulid;

use super::identity::Seen;
use super::queue::Queue;

/// What is known of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The event id of the record that opened the session; zero before there was one.
    incarnation: [u8; 16],
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    /// `last_seen` on the shard's time, on which `offline_after` is counted.
    pub(super) heard_at: LogTime,
    /// Since when `connected` is what it is.
    pub(super) since: Timestamp,
    /// Records of the device besides keep-alives.
    pub(super) data: u64,
    /// Keep-alives.
    pub(super) hello: u32,
    /// The number of the last presence event.
    pub(super) sequence: u32,
    /// Commands sent.
    pub(super) commands: u32,
    pub(super) connected: Connected,
    /// The last payload, where it was not larger than `last_payload`; else empty. Of its own: a slice of the message
    /// would keep all of that in memory, and takes twice the room here.
    #[serde(with = "super::queue::plain_bytes")]
    pub(super) last_payload: Arc<[u8]>,
    /// Commands that wait for the device; none while it is online.
    pub(super) queue: Option<Box<Queue>>,
    /// The device's own ids of its last messages, where the topology names them.
    pub(super) seen: Option<Box<Seen>>,
}

/// The form of version 1.
#[derive(Serialize, Deserialize)]
pub(super) struct SessionV1 {
    incarnation: [u8; 16],
    first_seen: Timestamp,
    last_seen: Timestamp,
    heard_at: LogTime,
    since: Timestamp,
    data: u64,
    hello: u32,
    sequence: u32,
    commands: u32,
    connected: Connected,
    #[serde(with = "super::queue::plain_bytes")]
    last_payload: Arc<[u8]>,
    queue: Option<Box<Queue>>,
}

impl From<SessionV1> for Session {
    fn from(old: SessionV1) -> Session {
        Session {
            incarnation: old.incarnation,
            first_seen: old.first_seen,
            last_seen: old.last_seen,
            heard_at: old.heard_at,
            since: old.since,
            data: old.data,
            hello: old.hello,
            sequence: old.sequence,
            commands: old.commands,
            connected: old.connected,
            last_payload: old.last_payload,
            queue: old.queue,
            seen: None,
        }
    }
}

/// A session's share of the 256 bytes that an idle device may take; more is to be paid for elsewhere.
const _: () = assert!(std::mem::size_of::<Option<Session>>() <= 104);

/// Whether the device is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Connected {
    /// It was never heard of.
    #[default]
    Unknown,
    Offline,
    Online,
}

impl Session {
    /// Takes the first record's identity as the session's.
    pub(super) fn opened_by(&mut self, id: EventId) {
        if self.incarnation == [0; 16] {
            self.incarnation = id.0.to_bytes();
        }
    }

    pub(super) fn incarnation(&self) -> Ulid {
        Ulid::from_bytes(self.incarnation)
    }

    pub(super) fn is_online(&self) -> bool {
        self.connected == Connected::Online
    }

    /// What the directory shows; nothing of a device that was never heard of.
    pub(super) fn presence(&self) -> Option<Presence> {
        match self.connected {
            Connected::Unknown => None,
            Connected::Offline => Some(Presence { online: false, since: self.since }),
            Connected::Online => Some(Presence { online: true, since: self.since }),
        }
    }
}
