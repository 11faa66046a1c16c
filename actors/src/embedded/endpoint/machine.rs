//! One client's conversation. Pure: bytes in, events and bytes out.
//!
//! It answers by itself what the standard leaves no choice about (pings, faults, a window that is exceeded) and hands
//! out the rest, in the order in which it came. PUBACKs leave in the order of their PUBLISHes, whatever becomes of each:
//! one that was refused at once waits for those before it.

use std::collections::VecDeque;

use super::wire::{Code, Connect, Fault, Incoming, Publish, Subscribe, Terms, Version, Wire};

/// What bounds a conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The largest packet that is read, in bytes.
    pub(crate) packet: u32,
    /// The longest topic to publish to, in bytes.
    pub(crate) topic: usize,
    /// The longest client id, in bytes.
    pub(crate) client_id: usize,
    /// How many publishes a client of version 5 may have unacknowledged. One of 3.1.1 cannot be told.
    pub(crate) receive_maximum: u16,
}

/// What a client wants.
#[derive(Debug)]
pub(crate) enum Event {
    /// To be let in: [`Machine::open`] or [`Machine::refuse`] is the answer, and nothing is read before it.
    Connect(Box<Connect>),
    /// A message. One with a packet id is owed a PUBACK: by [`Machine::release`], unless [`Machine::reject`] is called.
    Publish(Publish),
    /// It has the message with this packet id.
    Acked(u16),
    /// Messages: [`Machine::suback`] is the answer.
    Subscribe(Subscribe),
    /// No more messages: [`Machine::unsuback`] is the answer.
    Unsubscribe { packet_id: u16, filters: Vec<String> },
    /// A message was refused, and the client goes on.
    Rejected(Code),
    /// It says farewell.
    Left { with_will: bool, session_expiry: Option<u32> },
    /// It cannot be served any further; what there is to say is in the output.
    Failed(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the CONNECT.
    Opening,
    /// The CONNECT waits for its answer.
    Deciding,
    Open,
    Closed,
}

/// A PUBLISH that is owed a PUBACK.
#[derive(Clone, Copy, Debug)]
struct Owed {
    packet_id: u16,
    /// Refused with this code; none while it is on its way.
    rejected: Option<Code>,
}

/// The conversation.
pub(crate) struct Machine {
    wire: Wire,
    bounds: Bounds,
    phase: Phase,
    /// Whether its CONNECT asked for a session that outlives the connection.
    keeps_session: bool,
    owed: VecDeque<Owed>,
    /// What came behind a CONNECT that is not answered yet.
    early: Vec<u8>,
    out: Vec<u8>,
}

impl Machine {
    /// A connection on which nothing was said.
    pub(crate) fn new(bounds: Bounds) -> Self {
        Machine {
            wire: Wire::new(bounds.packet),
            bounds,
            phase: Phase::Opening,
            keeps_session: false,
            owed: VecDeque::new(),
            early: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Whether nothing more is read or said.
    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the client speaks 3.1.1, in which there is no way to refuse a message.
    pub(crate) fn is_v3(&self) -> bool {
        self.wire.version() == Some(Version::V3)
    }

    /// How many publishes are owed a PUBACK.
    pub(crate) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// What is to be sent to the client; whoever sends takes it out.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Takes in what came.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        if self.phase == Phase::Deciding {
            self.early.extend_from_slice(bytes);
            return;
        }
        let mut rest = bytes;
        while !matches!(self.phase, Phase::Deciding | Phase::Closed) {
            match self.wire.next(&mut rest) {
                None => return,
                Some(packet) => {
                    if let Err(fault) = packet.and_then(|packet| self.receive(packet, events)) {
                        events.push(Event::Failed(self.fail(fault)));
                    }
                }
            }
        }
        if self.phase == Phase::Deciding {
            self.early.extend_from_slice(rest);
        }
    }

    /// Lets the client in, and goes on with what came behind its CONNECT.
    pub(crate) fn open(&mut self, terms: &Terms<'_>, events: &mut Vec<Event>) {
        if self.phase != Phase::Deciding {
            return;
        }
        if !self.wire.accept(terms, &mut self.out) {
            let fault = Fault::new(Code::PACKET_TOO_LARGE, "the client takes no packet as large as a CONNACK");
            self.phase = Phase::Closed;
            events.push(Event::Failed(fault));
            return;
        }
        self.phase = Phase::Open;
        let early = std::mem::take(&mut self.early);
        self.feed(&early, events);
    }

    /// Does not let the client in.
    pub(crate) fn refuse(&mut self, code: Code) {
        if matches!(self.phase, Phase::Opening | Phase::Deciding) {
            self.wire.refuse(code, &mut self.out);
        }
        self.phase = Phase::Closed;
    }

    /// Ends the conversation for a reason of ours.
    pub(crate) fn close(&mut self, code: Code) {
        match self.phase {
            Phase::Open => self.wire.disconnect(code, &mut self.out),
            Phase::Deciding => self.wire.refuse(code, &mut self.out),
            Phase::Opening | Phase::Closed => {}
        }
        self.phase = Phase::Closed;
    }

    /// Ends it for a fault of the client's.
    pub(crate) fn fail(&mut self, fault: Fault) -> Fault {
        match self.phase {
            Phase::Opening | Phase::Deciding => self.refuse(fault.code),
            Phase::Open => self.close(fault.code),
            Phase::Closed => {}
        }
        fault
    }

    /// Refuses a message: at QoS 1 by its PUBACK, in its turn; in 3.1.1, which has no such PUBACK, by ending the
    /// conversation. The fault that this is, if so.
    pub(crate) fn reject(&mut self, packet_id: Option<u16>, code: Code, what: &'static str) -> Option<Fault> {
        if self.is_v3() {
            return Some(self.fail(Fault::new(code, what)));
        }
        let waiting = |owed: &&mut Owed| Some(owed.packet_id) == packet_id && owed.rejected.is_none();
        if let Some(owed) = self.owed.iter_mut().rev().find(waiting) {
            owed.rejected = Some(code);
        }
        self.release(0);
        None
    }

    /// The oldest `safe` of the messages that wait are durable: sends their PUBACKs, and those of the refused ones
    /// between and behind them.
    pub(crate) fn release(&mut self, mut safe: u64) {
        while let Some(Owed { packet_id, rejected }) = self.owed.front().copied() {
            let code = match rejected {
                Some(code) => code,
                None if safe > 0 => {
                    safe -= 1;
                    Code::SUCCESS
                }
                None => return,
            };
            self.owed.pop_front();
            if self.phase == Phase::Open && !self.wire.puback(packet_id, code, &mut self.out) {
                self.phase = Phase::Closed;
            }
        }
    }

    /// Answers a SUBSCRIBE, one code a filter.
    pub(crate) fn suback(&mut self, packet_id: u16, codes: &[Code]) {
        if self.phase == Phase::Open && !self.wire.suback(packet_id, codes, &mut self.out) {
            self.phase = Phase::Closed;
        }
    }

    /// Answers an UNSUBSCRIBE, one code a filter.
    pub(crate) fn unsuback(&mut self, packet_id: u16, codes: &[Code]) {
        if self.phase == Phase::Open && !self.wire.unsuback(packet_id, codes, &mut self.out) {
            self.phase = Phase::Closed;
        }
    }

    /// Sends a message; false when the client takes none of that size.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], packet_id: Option<u16>, dup: bool) -> bool {
        self.phase == Phase::Open && self.wire.publish(topic, payload, packet_id, dup, &mut self.out)
    }

    fn receive(&mut self, packet: Incoming, events: &mut Vec<Event>) -> Result<(), Fault> {
        match (self.phase, packet) {
            (Phase::Opening, Incoming::Connect(connect)) => {
                self.check_connect(&connect)?;
                self.keeps_session = connect.session_expiry > 0;
                self.phase = Phase::Deciding;
                events.push(Event::Connect(connect));
            }
            (Phase::Open, Incoming::Publish(publish)) => self.take(publish, events)?,
            (Phase::Open, Incoming::PubAck(packet_id)) => events.push(Event::Acked(packet_id)),
            (Phase::Open, Incoming::Subscribe(subscribe)) => events.push(Event::Subscribe(subscribe)),
            (Phase::Open, Incoming::Unsubscribe { packet_id, filters }) => {
                events.push(Event::Unsubscribe { packet_id, filters });
            }
            (Phase::Open, Incoming::Ping) => {
                if !self.wire.pong(&mut self.out) {
                    self.phase = Phase::Closed;
                }
            }
            (Phase::Open, Incoming::Disconnect { session_expiry: Some(1..), .. }) if !self.keeps_session => {
                let what = "a session that ends with its connection cannot be kept after all";
                return Err(Fault::new(Code::PROTOCOL_ERROR, what));
            }
            (Phase::Open, Incoming::Disconnect { code, session_expiry }) => {
                self.phase = Phase::Closed;
                // Anything but a normal farewell leaves the will in force.
                events.push(Event::Left { with_will: code != Code::SUCCESS, session_expiry });
            }
            _ => return Err(Fault::new(Code::PROTOCOL_ERROR, "the packet does not belong here")),
        }
        Ok(())
    }

    fn check_connect(&self, connect: &Connect) -> Result<(), Fault> {
        if connect.wants_auth {
            let what = "the exchange of AUTH packets is not supported";
            return Err(Fault::new(Code::BAD_AUTHENTICATION_METHOD, what));
        }
        if connect.client_id.len() > self.bounds.client_id {
            return Err(Fault::new(Code::CLIENT_ID_INVALID, "the client id is too long"));
        }
        if connect.version == Version::V3 && connect.client_id.is_empty() && !connect.clean {
            let what = "a session that is to be kept needs a client id";
            return Err(Fault::new(Code::CLIENT_ID_INVALID, what));
        }
        match &connect.will {
            Some(will) if connect.version == Version::V5 && will.qos > 1 => {
                Err(Fault::new(Code::QOS_NOT_SUPPORTED, "a will at QoS 2 is not supported"))
            }
            Some(will) if will.topic.len() > self.bounds.topic => {
                Err(Fault::new(Code::TOPIC_INVALID, "the topic of the will is too long"))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, publish: Publish, events: &mut Vec<Event>) -> Result<(), Fault> {
        if let Some(packet_id) = publish.packet_id {
            if !self.is_v3() && self.owed.len() >= usize::from(self.bounds.receive_maximum) {
                let what = "more messages are unacknowledged than the receive maximum allows";
                return Err(Fault::new(Code::RECEIVE_MAXIMUM, what));
            }
            self.owed.push_back(Owed { packet_id, rejected: None });
        }
        if publish.topic.len() > self.bounds.topic {
            let what = "the topic is too long";
            if self.is_v3() {
                return Err(Fault::new(Code::TOPIC_INVALID, what));
            }
            self.reject(publish.packet_id, Code::TOPIC_INVALID, what);
            events.push(Event::Rejected(Code::TOPIC_INVALID));
            return Ok(());
        }
        events.push(Event::Publish(publish));
        Ok(())
    }
}

#[cfg(any(test, fuzzing))]
mod converse;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

/// What a fuzzer feeds: the bytes that a client sends, before and after it is let in.
#[cfg(any(test, fuzzing))]
pub(crate) fn feed(bytes: &[u8]) {
    converse::holds(bytes, [1, 7, 2, 31, 3].into_iter().cycle());
}
