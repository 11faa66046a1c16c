//! The sessions of one keyed stage in one shard.
//!
//! A [`KeyedHost`] owns the states of its stage as plain values in a slab: no allocation, task or mailbox a session.
//! It is the panic boundary of the session: `step` runs under `catch_unwind` with the session cloned before, and a step
//! that panics or refuses leaves the session as it was. The table itself is never inside the unwinding path.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::device_id::DeviceId;
use crate::keyed::{Effects, Input, Keyed, Now, read_session};
use crate::position::Position;
use crate::record::{EventId, Record};
use crate::stage::StageError;

/// Why a step did not get through. The session is as it was before.
#[derive(Debug, Clone)]
pub enum StepFailure {
    /// The component said so.
    Refused(StageError),
    /// The component panicked with this message.
    Panicked(String),
}

/// The sessions of one keyed stage in one shard, by slot.
pub trait KeyedHost: Send {
    /// Fills an empty slot with the state of a device that was never seen.
    fn open(&mut self, slot: u32, device: &DeviceId, first: Option<EventId>, now: Now<'_>);
    /// One step; effects count only when it returns `Ok`.
    fn step(
        &mut self,
        slot: u32,
        device: &DeviceId,
        input: Input<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StepFailure>;
    /// Brings the states in these slots into the processor's cache.
    fn prefetch(&self, slots: &[Option<u32>]);
    /// Empties a slot.
    fn close(&mut self, slot: u32);
    /// Appends the session's checkpoint form.
    fn encode(&self, slot: u32, out: &mut Vec<u8>);
    /// Fills an empty slot from a checkpoint form of `version`.
    fn decode(&mut self, slot: u32, version: u8, bytes: &[u8]) -> Result<(), String>;
    /// [`Keyed::STATE_VERSION`].
    fn state_version(&self) -> u8;
    /// [`Keyed::restored`].
    fn restored(&self, slot: u32, out: &mut Effects);
    /// [`Keyed::cause_of`].
    fn cause_of(&self, journalled: &Record) -> Option<Position>;
    /// [`Keyed::may_passivate`].
    fn may_passivate(&self, slot: u32, now: Now<'_>) -> bool;
}

/// Hosts a keyed stage.
pub fn host<K: Keyed>(stage: K) -> Box<dyn KeyedHost> {
    Box::new(Table { stage, slots: Vec::new() })
}

struct Table<K: Keyed> {
    stage: K,
    slots: Vec<Option<K::Session>>,
}

impl<K: Keyed> Table<K> {
    fn fill(&mut self, slot: u32, session: K::Session) {
        let slot = slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        self.slots[slot] = Some(session);
    }

    fn session(&self, slot: u32) -> &K::Session {
        self.slots[slot as usize].as_ref().expect("the shard calls only slots that it has filled")
    }
}

impl<K: Keyed> KeyedHost for Table<K> {
    fn open(&mut self, slot: u32, device: &DeviceId, first: Option<EventId>, now: Now<'_>) {
        let session = self.stage.open(device, first, now);
        self.fill(slot, session);
    }

    fn step(
        &mut self,
        slot: u32,
        device: &DeviceId,
        input: Input<'_>,
        now: Now<'_>,
        out: &mut Effects,
    ) -> Result<(), StepFailure> {
        let stage = &self.stage;
        let session = self.slots[slot as usize].as_mut().expect("the shard calls only slots that it has filled");
        let before = session.clone();
        // Unwind safety: on a panic the session is replaced by its clone and the effects are cleared; `step` is `&self`.
        let result = catch_unwind(AssertUnwindSafe(|| stage.step(device, session, input, now, out)));
        let failure = match result {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => StepFailure::Refused(refused),
            Err(panic) => StepFailure::Panicked(panic_message(panic.as_ref())),
        };
        self.slots[slot as usize] = Some(before);
        out.clear();
        Err(failure)
    }

    fn prefetch(&self, slots: &[Option<u32>]) {
        let is_open = |slot: &&u32| self.slots.get(**slot as usize).is_some_and(Option::is_some);
        // Looking whether there is one is enough to fetch it; the count makes sure that it is looked at.
        std::hint::black_box(slots.iter().flatten().filter(is_open).count());
    }

    fn close(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
    }

    fn encode(&self, slot: u32, out: &mut Vec<u8>) {
        let encoded = postcard::to_extend(self.session(slot), std::mem::take(out));
        *out = encoded.expect("a session is plain data, and a vector grows as needed");
    }

    fn decode(&mut self, slot: u32, version: u8, bytes: &[u8]) -> Result<(), String> {
        let session = match version == K::STATE_VERSION {
            true => read_session(bytes)?,
            false => K::read_earlier(version, bytes)?,
        };
        self.fill(slot, session);
        Ok(())
    }

    fn state_version(&self) -> u8 {
        K::STATE_VERSION
    }

    fn restored(&self, slot: u32, out: &mut Effects) {
        self.stage.restored(self.session(slot), out);
    }

    fn cause_of(&self, journalled: &Record) -> Option<Position> {
        self.stage.cause_of(journalled)
    }

    fn may_passivate(&self, slot: u32, now: Now<'_>) -> bool {
        self.stage.may_passivate(self.session(slot), now)
    }
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic without a message".to_owned())
}
