//! Stages with state per device.
//!
//! A keyed stage is a pure function over one device's state: `step(state, input, now) → state, effects`. The engine
//! hosts the states as virtual actors in a shard, one shard a partition of the source: it finds the session, takes a
//! savepoint, calls `step` under its own panic boundary, and puts the session back as it was when the step panicked or
//! refused. What a step wants done it says to [`Effects`]; nothing is visible before the step returned `Ok`.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::{LogTime, Timestamp};
use crate::device_id::DeviceId;
use crate::position::{Cursor, Position};
use crate::record::{EventId, Reason, Record};
use crate::stage::{Outlet, StageError};

/// What a session is called with.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record of this device.
    Record(&'a Record),
    /// The session's wake-up time has come.
    Timer,
    /// The device is forgotten, because it was silent for too long or because there is no room for one more: the session
    /// is dropped after this step, so whatever others still believe of it is to be put right now (it is offline, its
    /// alerts are resolved). Not called for a session that has left memory: that one has nothing to say.
    Forgotten,
    /// A record that this stage had journalled after the checkpoint that is being restored. It is to be applied as
    /// it stands: `step` must bring the state to where it was, and must not derive it again before `now.cursor` has
    /// passed what caused it. Nothing may be emitted.
    Journal(&'a Record),
}

/// When a step happens, on all the clocks that matter.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The shard's own time: all durations and wake-ups are measured on it.
    pub log: LogTime,
    /// The wall time of the input: for what a person reads.
    pub wall: Timestamp,
    /// How far the shard has come in its topics, this input included.
    pub cursor: &'a Cursor,
    /// Where it happens: the position of the record; for a timer, that of the last mark passed, or of the last record
    /// where the source has no marks.
    pub cause: Position,
}

/// What is shown of a device's connection without asking its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether it was seen within `offline_after`.
    pub online: bool,
    /// Since when it has been so.
    pub since: Timestamp,
}

/// What a step wants done.
#[derive(Debug, Default)]
pub struct Effects {
    pub(crate) forward: bool,
    pub(crate) dropped: Option<Reason>,
    pub(crate) emitted: Vec<(Outlet, Record)>,
    pub(crate) wake_at: Option<Option<LogTime>>,
    pub(crate) presence: Option<Presence>,
}

impl Effects {
    /// Hands the input record on unchanged on the main outlet. Only for [`Input::Record`].
    pub fn forward(&mut self) {
        self.forward = true;
    }

    /// Drops the input record, as the topology says; it is counted with the reason, whatever else is emitted. Only for
    /// [`Input::Record`].
    pub fn drop_record(&mut self, reason: Reason) {
        self.dropped = Some(reason);
    }

    /// Emits a new record on an outlet.
    pub fn emit(&mut self, outlet: Outlet, record: Record) {
        self.emitted.push((outlet, record));
    }

    /// Calls the session with [`Input::Timer`] once the shard's time reaches `at`; replaces what was asked before.
    /// The call may come for an earlier request that was replaced: the session looks at `now` and asks again.
    pub fn wake_at(&mut self, at: LogTime) {
        self.wake_at = Some(Some(at));
    }

    /// Withdraws the request to be woken.
    pub fn no_wake(&mut self) {
        self.wake_at = Some(None);
    }

    /// Shows the device's presence in the directory that the API reads.
    pub fn presence(&mut self, presence: Presence) {
        self.presence = Some(presence);
    }

    pub(crate) fn clear(&mut self) {
        self.forward = false;
        self.dropped = None;
        self.emitted.clear();
        self.wake_at = None;
        self.presence = None;
    }
}

/// Readers for tests of a stage without an engine.
impl Effects {
    /// Whether the input is handed on.
    pub fn is_forwarded(&self) -> bool {
        self.forward
    }

    /// Why the input is dropped, if it is.
    pub fn dropped(&self) -> Option<Reason> {
        self.dropped
    }

    /// The records emitted so far.
    pub fn emitted(&self) -> &[(Outlet, Record)] {
        &self.emitted
    }

    /// The request to be woken: `None` unchanged, `Some(None)` withdrawn.
    pub fn requested_wake(&self) -> Option<Option<LogTime>> {
        self.wake_at
    }

    /// The presence shown, if it changed.
    pub fn shown_presence(&self) -> Option<Presence> {
        self.presence
    }
}

/// A keyed stage.
pub trait Keyed: Send + 'static {
    /// One device's state. Cloned before each step, so cheap to clone; written to the checkpoint, so changes of its
    /// form need a new [`Keyed::STATE_VERSION`].
    type Session: Clone + Serialize + DeserializeOwned + Send + 'static;
    /// The version of the session's form in a checkpoint.
    const STATE_VERSION: u8;

    /// Reads a session that an earlier version of the stage wrote, in the form `version`; see [`read_session`]. The
    /// engine writes all sessions anew after an upgrade.
    fn read_earlier(version: u8, bytes: &[u8]) -> Result<Self::Session, String> {
        let _ = bytes;
        Err(format!("session form {version} is not the form {} that this version reads", Self::STATE_VERSION))
    }

    /// The state of a device that was never seen, or that was forgotten. `first` is the id of the record that is about
    /// to be its first; there is none when the session is opened for what the journal or the checkpoint has of it.
    fn open(&self, device: &DeviceId, first: Option<EventId>, now: Now<'_>) -> Self::Session;

    /// One step. Pure: the same arguments give the same result, because a replay calls it again.
    fn step(
        &self,
        device: &DeviceId,
        session: &mut Self::Session,
        input: Input<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StageError>;

    /// A session has been read from the checkpoint: say its presence and when it wants to be woken. Nothing may be
    /// emitted.
    fn restored(&self, session: &Self::Session, out: &mut Effects);

    /// What a record of this stage's journal was put down to, which is `now.cause` of the step that emitted it. After a
    /// crash the shard keeps the record until it has come past this: a device that is forgotten and comes back before
    /// that has the journalled transitions of its second session applied, too. A stage with a journal has to say it.
    fn cause_of(&self, journalled: &Record) -> Option<Position> {
        let _ = journalled;
        None
    }

    /// Whether the session may leave memory now: it has nothing to wait for, and nobody would have to hear of it if it
    /// were forgotten. It stays in the checkpoint, and comes back with the device's next record.
    fn may_passivate(&self, session: &Self::Session, now: Now<'_>) -> bool;
}

/// A session, or an earlier form of one, from its bytes in a checkpoint: all of them. The encoding names no fields, so
/// bytes left over are the sign of another form whose beginning happens to fit.
pub fn read_session<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((session, [])) => Ok(session),
        Ok((_, rest)) => Err(format!("session cannot be read: {} bytes are left over", rest.len())),
        Err(error) => Err(format!("session cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_all_of_its_bytes() {
        let bytes = postcard::to_allocvec(&(1u32, "x")).unwrap();
        let read = |bytes: &[u8]| read_session::<(u32, String)>(bytes);
        assert_eq!(read(&bytes), Ok((1, "x".to_owned())));
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(read(&longer), Err("session cannot be read: 1 bytes are left over".to_owned()));
        let shorter = read(&bytes[..bytes.len() - 1]).unwrap_err();
        assert!(shorter.starts_with("session cannot be read: "), "{shorter}");
    }
}
