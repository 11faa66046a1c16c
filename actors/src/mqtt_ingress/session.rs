//! The slot's broker session, and what is written down of it.
//!
//! A persistent session lives at the broker; whether it still subscribes to what we want can only be known by keeping
//! books. The slot's durable record (`docs/formats.md`, "MQTT sessions and redelivery") says which session it is, which
//! filters it has or may have, and whether the broker confirmed all of them. Three moments need a write:
//!
//! - **before every CONNECT**, `subscribed: false`. CONNECT makes a session where there was none; were the process to
//!   die before it could write anything, the next one would find a session that is "resumed", a record that says
//!   "subscribed", and hear nothing for ever. The same write proves that this instance still owns the slot (it
//!   carries the epoch), so that two instances never take the session from each other in turns;
//! - **before SUBSCRIBE**, the filters that the session may have from now on;
//! - **when all is confirmed**, `subscribed: true`.
//!
//! A CONNECT whose answer was never seen (a crash, a cut) leaves the same doubt: the broker may have lost the session
//! and made a new, empty one, which it "resumes" the next time. Then everything is subscribed anew, and, because the
//! SUBSCRIBE fills a new session, under a new id, which is written down first: were the connection cut right behind it,
//! the messages of the new session would be taken for the old one's. The first word from the broker decides. A message
//! with the DUP flag was sent before, which a session that was never subscribed cannot have done: it is the old session
//! after all, and keeps its id. Anything else (a SUBACK, or a message without the flag, which a broker may send before
//! it) means that there is nothing to recognise, because a broker begins with what it has to send again.

use std::sync::Arc;

use telemill_engine::checkpoint::{SlotRecord, StateStore, StoreError};
use telemill_engine::context::BuildContext;
use telemill_engine::position::Epoch;
use ulid::Ulid;

/// The broker session of one slot.
pub(super) struct SlotSession {
    store: Arc<dyn StateStore>,
    topology: Arc<str>,
    stage: Arc<str>,
    slot: u16,
    epoch: Epoch,
    wanted: Vec<String>,
    books: Books,
}

/// What is known of the session at the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Books {
    id: Ulid,
    /// The filters it has or may have. None at all: it was never subscribed.
    filters: Vec<String>,
    /// The broker confirmed these filters, and the session has not been lost since.
    confirmed: bool,
    /// The id that it had, and has if it is the known one after all.
    doubted: Option<Ulid>,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The known session goes on.
    Resumed,
    /// Either that, or a new one that has never been subscribed: from here on it counts as new, until it is
    /// [restored](SlotSession::restore).
    Doubtful,
    /// The first of this slot.
    First,
    /// The broker no longer has the session that there was: what was queued in it is gone.
    Lost,
}

/// What the session lacks, and what it has too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) subscribe: Vec<String>,
    pub(super) unsubscribe: Vec<String>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.unsubscribe.is_empty()
    }
}

impl Books {
    /// A session that has never been subscribed.
    fn new(id: Ulid) -> Self {
        Books { id, filters: Vec::new(), confirmed: false, doubted: None }
    }

    fn begin(&mut self, resumed: bool, new_id: impl FnOnce() -> Ulid) -> Beginning {
        let known = !self.filters.is_empty();
        match (known, resumed) {
            (true, true) if self.confirmed => Beginning::Resumed,
            (true, true) => {
                self.doubted = Some(std::mem::replace(&mut self.id, new_id()));
                Beginning::Doubtful
            }
            (true, false) => {
                *self = Books::new(new_id());
                Beginning::Lost
            }
            (false, _) => Beginning::First,
        }
    }

    fn restore(&mut self) {
        if let Some(known) = self.doubted.take() {
            self.id = known;
        }
    }

    fn changes(&self, wanted: &[String]) -> Changes {
        let has = |filter: &&String| self.confirmed && self.filters.contains(filter);
        Changes {
            subscribe: wanted.iter().filter(|filter| !has(filter)).cloned().collect(),
            unsubscribe: self.filters.iter().filter(|filter| !wanted.contains(filter)).cloned().collect(),
        }
    }
}

impl SlotSession {
    /// Takes up the slot as last written down. Also says whether there was anything.
    pub(super) async fn load(
        cx: &BuildContext,
        slot: u16,
        wanted: Vec<String>,
        new_id: Ulid,
    ) -> Result<(SlotSession, bool), StoreError> {
        let record = cx.store.load_slot(&cx.topology, &cx.stage, slot).await?;
        let found = record.is_some();
        let books = match record {
            Some(SlotRecord { slot_session, filters, subscribed }) => {
                Books { filters, confirmed: subscribed, ..Books::new(slot_session) }
            }
            None => Books::new(new_id),
        };
        let session = SlotSession {
            store: cx.store.clone(),
            topology: cx.topology.clone(),
            stage: cx.stage.clone(),
            slot,
            epoch: cx.epoch,
            wanted,
            books,
        };
        Ok((session, found))
    }

    /// The incarnation of the session.
    pub(super) fn id(&self) -> Ulid {
        self.books.id
    }

    /// To be called before CONNECT: proves ownership and puts what is known in doubt.
    pub(super) async fn before_connect(&self) -> Result<(), StoreError> {
        self.write(false).await
    }

    /// After CONNACK: what this connection goes on with.
    pub(super) fn begin(&mut self, resumed: bool, new_id: impl FnOnce() -> Ulid) -> Beginning {
        self.books.begin(resumed, new_id)
    }

    /// A CONNECT was sent and its answer was not seen.
    pub(super) fn doubt(&mut self) {
        self.books.confirmed = false;
    }

    /// The doubt is settled: it is the known session. It is written down once all is [confirmed](Self::confirmed);
    /// until then the new id stands there, under which nothing was produced.
    pub(super) fn restore(&mut self) {
        self.books.restore();
    }

    /// What is to be subscribed and unsubscribed on this connection. A repeated SUBSCRIBE would bring all retained
    /// messages again, so what is confirmed is left alone.
    pub(super) fn changes(&self) -> Changes {
        self.books.changes(&self.wanted)
    }

    /// To be called before SUBSCRIBE and UNSUBSCRIBE.
    pub(super) async fn before_changes(&mut self, changes: &Changes) -> Result<(), StoreError> {
        for filter in &changes.subscribe {
            if !self.books.filters.contains(filter) {
                self.books.filters.push(filter.clone());
            }
        }
        self.books.confirmed = false;
        self.write(false).await
    }

    /// The broker has confirmed everything that is wanted, or the session was resumed as it should be.
    pub(super) async fn confirmed(&mut self) -> Result<(), StoreError> {
        self.books.filters.clone_from(&self.wanted);
        self.books.confirmed = true;
        self.write(true).await
    }

    async fn write(&self, subscribed: bool) -> Result<(), StoreError> {
        let record = SlotRecord { slot_session: self.books.id, filters: self.books.filters.clone(), subscribed };
        self.store.save_slot(&self.topology, &self.stage, self.slot, self.epoch, &record).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn books(names: &[&str], confirmed: bool) -> Books {
        Books { filters: filters(names), confirmed, ..Books::new(Ulid(1)) }
    }

    #[test]
    fn only_a_session_that_was_subscribed_can_be_resumed_or_lost() {
        let check = |names: &[&str], confirmed, resumed, expect, id, left: &[&str]| {
            let mut books = books(names, confirmed);
            assert_eq!(books.begin(resumed, || Ulid(2)), expect);
            assert_eq!((books.id, books.filters), (Ulid(id), filters(left)));
        };
        check(&["a"], true, true, Beginning::Resumed, 1, &["a"]);
        check(&["a"], false, true, Beginning::Doubtful, 2, &["a"]);
        check(&["a"], true, false, Beginning::Lost, 2, &[]);
        check(&["a"], false, false, Beginning::Lost, 2, &[]);
        check(&[], false, false, Beginning::First, 1, &[]);
        check(&[], false, true, Beginning::First, 1, &[]);
    }

    #[test]
    fn in_doubt_it_is_another_session_unless_it_is_proven_to_be_the_known_one() {
        let mut books = books(&["a"], false);
        assert_eq!(books.begin(true, || Ulid(2)), Beginning::Doubtful);
        books.restore();
        assert_eq!(books.id, Ulid(1));
        // Cut twice without a word: what could be known now is the session that the first SUBSCRIBE may have filled.
        assert_eq!(books.begin(true, || Ulid(3)), Beginning::Doubtful);
        assert_eq!(books.id, Ulid(3));
        assert_eq!(books.begin(true, || Ulid(4)), Beginning::Doubtful);
        assert_eq!(books.id, Ulid(4));
        books.restore();
        assert_eq!(books.id, Ulid(3));
        books.restore();
        assert_eq!(books.id, Ulid(3));
    }

    #[test]
    fn a_session_that_is_lost_in_doubt_is_not_restored() {
        let mut books = books(&["a"], false);
        assert_eq!(books.begin(true, || Ulid(2)), Beginning::Doubtful);
        assert_eq!(books.begin(false, || Ulid(3)), Beginning::Lost);
        books.restore();
        assert_eq!(books.id, Ulid(3));
    }

    #[test]
    fn only_what_is_missing_is_subscribed() {
        let wanted = filters(&["a", "b"]);
        let check = |has: &[&str], confirmed, subscribe: &[&str], unsubscribe: &[&str]| {
            let expect = Changes { subscribe: filters(subscribe), unsubscribe: filters(unsubscribe) };
            assert_eq!(books(has, confirmed).changes(&wanted), expect, "{has:?} {confirmed}");
        };
        check(&["a", "b"], true, &[], &[]);
        check(&["b", "a"], true, &[], &[]);
        check(&["a", "b"], false, &["a", "b"], &[]);
        check(&["a"], true, &["b"], &[]);
        check(&["a", "c"], true, &["b"], &["c"]);
        check(&["c"], false, &["a", "b"], &["c"]);
        check(&["a", "b", "c"], true, &[], &["c"]);
        check(&[], false, &["a", "b"], &[]);
    }
}
