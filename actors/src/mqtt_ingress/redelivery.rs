//! What a slot has produced lately, to know a redelivered PUBLISH when it comes.
//!
//! A broker that resumes a session sends again what was not acknowledged, with the DUP flag. The flag alone proves
//! nothing: it is also set on messages that never got out of a socket. So a PUBLISH is taken as already produced only by
//! the rule of `docs/formats.md`, "MQTT sessions and redelivery". All else is produced again; a repetition can be removed
//! later, a loss cannot.
//!
//! # Running ids
//!
//! A message is known by its *running* id: the packet id, counted on over the ends of its cycle. That of a message that
//! comes again must be the one it had the first time, and that of any other must be a number of its own, however many
//! ids the broker used up for messages that it then dropped because a queue was full, and whichever ids it gives out a
//! second time because it was killed and has its session from an older copy. What is relied on is what MQTT demands: a
//! PUBLISH without DUP was never sent before (3.1.1, 3.3.1.1); on a resumed session the broker sends again all that it has
//! no acknowledgement for, in the order in which it sent it first (4.4, 4.6); and acknowledgements are given in that
//! order.
//!
//! - **Without DUP** a message is new. Its id is ahead of the highest that ever came, whatever its number.
//! - **The first with DUP of a connection** may lie back. If one of the messages of the connection before was not
//!   acknowledged, the broker still has that one (*owed*), and sends it before all that were not read: so the first message
//!   is that one or one before it, and has the highest running id not above the owed one's. If all were acknowledged, the
//!   first may just as well be one that was never read, and counts as ahead.
//! - **Every further one with DUP** is ahead of the one before it. So when the last message that was read has come again,
//!   all that follows has running ids above all that are known, as it must: it was never read.
//! - Of what is known, only that counts that came **on the connection directly before**. What did not come on it may since
//!   have been acknowledged, and its id given out again by a broker that was killed; such a message is without DUP the
//!   first time, but if it is not read then, it has DUP the next. A connection on which it may have been sent to us unseen
//!   is one on which nothing came.
//!
//! What this costs is on the side of repetition: a message that was produced is produced again if the broker did not read
//! its acknowledgement and everything else had been acknowledged, too; or if a connection was cut before the broker came to
//! sending it again; or if it lies more than half a cycle behind what is owed (nobody has that much under way; it bounds
//! the harm that a broker can do that forgets what it owes, for instance because it expired).
//!
//! After a restart it is not known what was acknowledged; were nothing recognised then, all that was on its way would be
//! doubled by every crash. So the newest production in the log is taken for one that is owed. That is wrong if it was
//! acknowledged and the next message has the DUP flag and an id more than half a cycle ahead; and what came on which
//! connection is not in the log. `docs/formats.md` says when that matters.
//!
//! The broker's own window is no help in this. Mosquitto 2.0.11 does not keep it while it empties a queue: with each
//! acknowledgement it sends up to another `max_inflight` messages (`db__message_delete_outgoing` counts only what lies
//! before the acknowledged one), so thousands more than it was told to may be under way and come again.
//!
//! Pure: no clock, no I/O.

mod placing;

use self::placing::Placing;
use crate::mqtt::PacketIds;

/// Packet ids are 1 to 65,535.
const CYCLE: u64 = 65_535;

/// How many of the last productions are to be recalled after a restart: half a cycle, because what comes from further
/// back could not be told from what lies ahead.
pub(super) const RECALLED: usize = CYCLE as usize / 2;

/// The productions of one slot-session, numbered from 1 in the order in which they were handed out.
///
/// Acknowledgements come in that order too, so one number, the last that is safe, divides them into those produced and
/// those in flight.
#[derive(Debug)]
pub(super) struct RedeliveryTable {
    /// The last production under each packet id; none where ids say nothing.
    by_packet: Option<Box<[Production]>>,
    /// Counts the connections.
    connection: u32,
    /// The running id of the last message that came, and the highest of all.
    at: u64,
    highest: u64,
    /// The running id of the last message on this connection that had the DUP flag.
    repeated: Option<u64>,
    /// The running id of a message of the last connection that the broker sends again, if it lost nothing.
    owed: Option<u64>,
    last: u64,
    produced: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Production {
    /// 0: there was none.
    delivery: u64,
    hash: u64,
    running_id: u64,
    /// The last connection on which it came.
    connection: u32,
}

/// What a redelivered PUBLISH turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is on its way as this delivery, whose outcome will be its own.
    InFlight(u64),
    /// It is where it belongs.
    Produced,
}

impl RedeliveryTable {
    /// A table for a broker as declared.
    pub(super) fn new(packet_ids: PacketIds) -> Self {
        let cyclic = packet_ids == PacketIds::Cyclic;
        // Anywhere with room below.
        let start = CYCLE << 32;
        RedeliveryTable {
            by_packet: cyclic.then(|| vec![Production::default(); CYCLE as usize + 1].into()),
            connection: 1,
            at: start,
            highest: start,
            repeated: None,
            owed: None,
            last: 0,
            produced: 0,
        }
    }

    /// A new slot-session: nothing was produced in it.
    pub(super) fn begin(&mut self) {
        (self.last, self.produced, self.owed) = (0, 0, None);
        self.forget(|_| true);
    }

    /// A connection has ended on which the broker may have sent something. `owed`: the running id of the oldest message
    /// that came on it and for which no acknowledgement was sent.
    pub(super) fn disconnected(&mut self, owed: Option<u64>) {
        self.connection += 1;
        (self.repeated, self.owed) = (None, owed);
    }

    /// A message has come; to be called for each, in order, whatever becomes of it. Packet id 0 stands for a message that
    /// has none and is never redelivered. Returns the message's running id.
    pub(super) fn arrive(&mut self, packet_id: u16, dup: bool) -> u64 {
        if packet_id == 0 {
            return self.at;
        }
        self.at = match (self.repeated, self.owed) {
            _ if !dup => ahead(self.highest, packet_id),
            (Some(before), _) => ahead(before, packet_id),
            (None, Some(owed)) => back(owed, packet_id).unwrap_or_else(|| ahead(self.highest, packet_id)),
            (None, None) => ahead(self.highest, packet_id),
        };
        if dup {
            self.repeated = Some(self.at);
        }
        self.highest = self.highest.max(self.at);
        self.at
    }

    /// Numbers a production: the message that came last.
    pub(super) fn produce(&mut self, packet_id: u16, hash: u64) -> u64 {
        self.last += 1;
        self.note(packet_id, self.last, hash, self.connection);
        self.last
    }

    /// Whether the message that came last, with the DUP flag, is one of these productions.
    pub(super) fn recognise(&mut self, packet_id: u16, hash: u64) -> Option<Known> {
        let known = &mut self.by_packet.as_mut()?[usize::from(packet_id)];
        let came_before = known.connection + 1 == self.connection;
        if known.delivery == 0 || known.hash != hash || known.running_id != self.at || !came_before {
            return None;
        }
        known.connection = self.connection;
        Some(if known.delivery > self.produced { Known::InFlight(known.delivery) } else { Known::Produced })
    }

    /// All productions up to this one are safe.
    pub(super) fn acknowledge(&mut self, delivery: u64) {
        self.produced = self.produced.max(delivery.min(self.last));
    }

    /// The productions from `first` on were never handed to anybody: they are no productions, and their numbers are
    /// free again.
    pub(super) fn take_back(&mut self, first: u64) {
        self.last = self.last.min(first.saturating_sub(1));
        self.forget(|delivery| delivery >= first);
    }

    /// Takes up what was read back from the log: (delivery, packet id, hash) of productions that are safe, and the
    /// highest delivery ever seen there. To be called before anything is produced.
    pub(super) fn recall(&mut self, mut safe: Vec<(u64, u16, u64)>, highest: u64) {
        safe.sort_unstable();
        let near = |delivery: u64| highest.saturating_sub(delivery) < RECALLED as u64;
        let mut placing = Placing::behind(self.highest);
        for (delivery, packet_id, hash) in safe.into_iter().filter(|(delivery, id, _)| near(*delivery) && *id != 0) {
            self.at = placing.place(delivery, packet_id);
            self.highest = self.highest.max(self.at);
            self.owed = Some(self.at);
            self.note(packet_id, delivery, hash, self.connection - 1);
        }
        self.last = self.last.max(highest);
        self.produced = self.last;
    }

    fn note(&mut self, packet_id: u16, delivery: u64, hash: u64, connection: u32) {
        if let Some(by_packet) = self.by_packet.as_mut().filter(|_| packet_id != 0) {
            by_packet[usize::from(packet_id)] = Production { delivery, hash, running_id: self.at, connection };
        }
    }

    fn forget(&mut self, which: impl Fn(u64) -> bool) {
        for entry in self.by_packet.iter_mut().flatten() {
            if which(entry.delivery) {
                *entry = Production::default();
            }
        }
    }
}

/// How far the packet id of a running id lies behind that of another, by the cycle.
fn behind(running_id: u64, packet_id: u16) -> u64 {
    (running_id % CYCLE + CYCLE - u64::from(packet_id) % CYCLE) % CYCLE
}

/// The next running id above this one that stands for the packet id.
fn ahead(running_id: u64, packet_id: u16) -> u64 {
    running_id + CYCLE - behind(running_id, packet_id)
}

/// The highest running id, from this one down to half a cycle below it, that stands for the packet id.
fn back(running_id: u64, packet_id: u16) -> Option<u64> {
    Some(behind(running_id, packet_id)).filter(|behind| *behind <= CYCLE / 2).map(|behind| running_id - behind)
}

#[cfg(test)]
mod tests;
