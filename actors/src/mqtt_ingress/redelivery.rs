//! What a slot has produced lately, to know a redelivered PUBLISH when it comes.
//!
//! A broker that resumes a session sends again what was not acknowledged, with the DUP flag. The flag alone proves
//! nothing: it is also set on messages that never got out of a socket. So a PUBLISH is taken as already produced only by
//! the rule of `docs/formats.md`, "MQTT sessions and redelivery": DUP is set, the session was resumed, packet ids come
//! in a cycle, and this slot-session produced the same hash under the same *running* packet id. All else is produced
//! again; a repetition can be removed later, a loss cannot.
//!
//! A running id is a packet id counted on over the ends of its cycle: of all numbers that end in this id, the nearest to
//! that of the message before, as RTP extends its sequence numbers (RFC 3550, appendix A.1). A broker sends in the order
//! of its ids and begins again with the oldest message that it misses, so a redelivered message comes to the number it
//! had the first time, and one that was never seen comes to a number of its own, also when its id is an old one's. That
//! holds for as long as no step in the stream is longer than half a cycle: the broker has not yet looked at more than
//! 32,767 acknowledgements when the connection is cut.
//!
//! The broker's own window is no help in this. Mosquitto 2.0.11 does not keep it while it empties a queue: with each
//! acknowledgement it sends up to another `max_inflight` messages (`db__message_delete_outgoing` counts only what lies
//! before the acknowledged one), so thousands more than it was told to may be under way and come again.
//!
//! Pure: no clock, no I/O.

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
    /// The running id of the last message that came.
    at: u64,
    last: u64,
    produced: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Production {
    /// 0: there was none.
    delivery: u64,
    hash: u64,
    running_id: u64,
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
        RedeliveryTable {
            by_packet: cyclic.then(|| vec![Production::default(); CYCLE as usize + 1].into()),
            // Anywhere with room below.
            at: CYCLE << 32,
            last: 0,
            produced: 0,
        }
    }

    /// A new slot-session: nothing was produced in it.
    pub(super) fn begin(&mut self) {
        (self.last, self.produced) = (0, 0);
        self.forget(|_| true);
    }

    /// A message has come; to be called for each, in order, whatever becomes of it. Packet id 0 stands for a message that
    /// has none and is never redelivered.
    pub(super) fn arrive(&mut self, packet_id: u16) {
        if packet_id == 0 {
            return;
        }
        let ahead = (CYCLE + u64::from(packet_id) - 1 - (self.at - 1) % CYCLE) % CYCLE;
        self.at += ahead;
        if ahead > CYCLE / 2 {
            self.at -= CYCLE;
        }
    }

    /// Numbers a production: the message that came last.
    pub(super) fn produce(&mut self, packet_id: u16, hash: u64) -> u64 {
        self.last += 1;
        self.note(packet_id, Production { delivery: self.last, hash, running_id: self.at });
        self.last
    }

    /// Whether the message that came last, with the DUP flag on a resumed session, is one of these productions. Without
    /// the flag, or on a session that was not resumed, it is none.
    pub(super) fn recognise(&self, packet_id: u16, hash: u64) -> Option<Known> {
        let known = self.by_packet.as_ref()?[usize::from(packet_id)];
        if known.delivery == 0 || known.hash != hash || known.running_id != self.at {
            return None;
        }
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
        // A sink that takes few of the messages has some from so far back that their ids have been others' since.
        safe.retain(|(delivery, ..)| delivery + RECALLED as u64 > highest);
        safe.sort_unstable();
        for (delivery, packet_id, hash) in safe {
            self.arrive(packet_id);
            self.note(packet_id, Production { delivery, hash, running_id: self.at });
        }
        self.last = self.last.max(highest);
        self.produced = self.last;
    }

    fn note(&mut self, packet_id: u16, production: Production) {
        if let Some(by_packet) = self.by_packet.as_mut().filter(|_| packet_id != 0) {
            let entry = &mut by_packet[usize::from(packet_id)];
            if entry.delivery < production.delivery {
                *entry = production;
            }
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

#[cfg(test)]
mod tests;
