//! What a session still owes its client: commands that wait, and commands that were sent and not acknowledged. Pure.
//!
//! Each is sent in the order in which it came, under a packet id that it keeps until the client acknowledges it; after a
//! reconnect those that were sent come first, again, under the same ids. So many as the client's window allows are on
//! their way at once, those that come again included. Bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use telemill_engine::record::EventId;
use tokio::sync::oneshot;

/// A command for one session.
#[derive(Debug)]
pub(crate) struct Queued {
    /// Its place in the session's queue.
    pub(crate) sequence: u64,
    /// The command's own identity.
    pub(crate) id: EventId,
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
    /// 0: it is forgotten as it is sent.
    pub(crate) qos: u8,
    /// It may have been sent by an earlier process.
    pub(crate) perhaps_sent: bool,
    /// Told when the client has it; dropped, it does not.
    pub(crate) taken: Option<oneshot::Sender<()>>,
}

/// A command on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    /// None at QoS 0.
    pub(crate) packet_id: Option<u16>,
    pub(crate) dup: bool,
    pub(crate) topic: Arc<str>,
    pub(crate) payload: Bytes,
}

/// The commands of one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// On this connection.
    sent: VecDeque<(u16, Queued)>,
    /// On an earlier one; before all that waits.
    sent_before: VecDeque<(u16, Queued)>,
    waiting: VecDeque<Queued>,
    last_packet_id: u16,
    last_sequence: u64,
}

impl Outbox {
    /// How many commands are in it.
    pub(crate) fn len(&self) -> usize {
        self.sent.len() + self.sent_before.len() + self.waiting.len()
    }

    /// A command that is in it already: it was submitted again, because its batch failed or after a restart.
    pub(crate) fn find(&mut self, id: EventId) -> Option<&mut Queued> {
        let sent = self.sent.iter_mut().chain(&mut self.sent_before).map(|(_, queued)| queued);
        sent.chain(&mut self.waiting).find(|queued| queued.id == id)
    }

    /// The places of all commands.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> + '_ {
        let sent = self.sent.iter().chain(&self.sent_before).map(|(_, queued)| queued);
        sent.chain(&self.waiting).map(|queued| queued.sequence)
    }

    /// The place of one more command.
    pub(crate) fn reserve(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    /// Puts a command in, behind all others.
    pub(crate) fn push(&mut self, queued: Queued) {
        self.last_sequence = self.last_sequence.max(queued.sequence);
        self.waiting.push_back(queued);
    }

    /// The next command to send, unless `window` of them are on their way.
    pub(crate) fn next(&mut self, window: u16) -> Option<Sending> {
        if self.sent.len() >= usize::from(window) {
            return None;
        }
        if let Some((packet_id, queued)) = self.sent_before.pop_front() {
            return Some(self.send(packet_id, queued, true));
        }
        let queued = self.waiting.pop_front()?;
        if queued.qos == 0 {
            if let Some(taken) = queued.taken {
                // Whoever asked may have gone.
                let _ = taken.send(());
            }
            return Some(Sending { packet_id: None, dup: false, topic: queued.topic, payload: queued.payload });
        }
        let (packet_id, dup) = (self.free_packet_id(), queued.perhaps_sent);
        Some(self.send(packet_id, queued, dup))
    }

    fn send(&mut self, packet_id: u16, queued: Queued, dup: bool) -> Sending {
        let (topic, payload) = (queued.topic.clone(), queued.payload.clone());
        self.sent.push_back((packet_id, queued));
        Sending { packet_id: Some(packet_id), dup, topic, payload }
    }

    /// The client has a new connection: what was sent and not acknowledged is to be sent again, under the same packet ids.
    pub(crate) fn reconnected(&mut self) {
        self.sent.append(&mut self.sent_before);
        std::mem::swap(&mut self.sent, &mut self.sent_before);
    }

    /// The client has what was sent under this packet id, or cannot have it. None when nothing was.
    pub(crate) fn settle(&mut self, packet_id: u16) -> Option<Queued> {
        // A client may acknowledge late what it got on an earlier connection.
        [&mut self.sent, &mut self.sent_before].into_iter().find_map(|sent| {
            let index = sent.iter().position(|(sent, _)| *sent == packet_id)?;
            sent.remove(index).map(|(_, queued)| queued)
        })
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let mut used = self.sent.iter().chain(&self.sent_before);
            if !used.any(|(sent, _)| *sent == self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    fn outbox(commands: u64) -> Outbox {
        let mut outbox = Outbox::default();
        for number in 1..=commands {
            let sequence = outbox.reserve();
            assert_eq!(sequence, number);
            outbox.push(Queued {
                sequence,
                id: EventId(Ulid(number.into())),
                topic: "c".into(),
                payload: number.to_string().into(),
                qos: 1,
                perhaps_sent: false,
                taken: None,
            });
        }
        outbox
    }

    fn sent(sending: Option<Sending>) -> Option<(u16, bool, String)> {
        sending.map(|s| (s.packet_id.unwrap_or_default(), s.dup, String::from_utf8_lossy(&s.payload).into_owned()))
    }

    #[test]
    fn commands_leave_in_order_within_the_window() {
        let mut outbox = outbox(3);
        assert_eq!(sent(outbox.next(2)), Some((1, false, "1".to_owned())));
        assert_eq!(sent(outbox.next(2)), Some((2, false, "2".to_owned())));
        assert_eq!(sent(outbox.next(2)), None);
        assert!(outbox.settle(7).is_none());
        assert_eq!(outbox.settle(1).map(|queued| queued.sequence), Some(1));
        assert!(outbox.settle(1).is_none(), "a second PUBACK means nothing");
        assert_eq!(sent(outbox.next(2)), Some((3, false, "3".to_owned())));
        assert_eq!(outbox.len(), 2);
    }

    #[test]
    fn what_was_sent_comes_again_first_under_its_packet_id_and_within_the_window() {
        let mut outbox = outbox(4);
        let _ = (outbox.next(9), outbox.next(9), outbox.next(9));
        outbox.settle(1);
        outbox.reconnected();
        assert_eq!(sent(outbox.next(1)), Some((2, true, "2".to_owned())));
        assert_eq!(sent(outbox.next(1)), None, "the client takes one at a time now");
        // Gone again, before it had the other one.
        outbox.reconnected();
        assert_eq!((sent(outbox.next(2)), outbox.len()), (Some((2, true, "2".to_owned())), 3));
        assert_eq!(sent(outbox.next(2)), Some((3, true, "3".to_owned())));
        assert_eq!(sent(outbox.next(2)), None);
        assert!(outbox.settle(3).is_some());
        assert_eq!(sent(outbox.next(2)), Some((4, false, "4".to_owned())));
        outbox.reconnected();
        assert!(outbox.settle(4).is_some(), "late, but acknowledged");
        assert_eq!((sent(outbox.next(9)), sent(outbox.next(9))), (Some((2, true, "2".to_owned())), None));
    }

    #[test]
    fn packet_ids_come_round_without_zero_and_pass_over_those_in_use() {
        let mut outbox = outbox(1);
        assert_eq!(outbox.next(9).and_then(|s| s.packet_id), Some(1));
        for expect in (2..=u16::MAX).chain([2]) {
            outbox.push(Queued {
                sequence: 9,
                id: EventId(Ulid(9)),
                topic: "c".into(),
                payload: Bytes::new(),
                qos: 1,
                perhaps_sent: true,
                taken: None,
            });
            let sending = outbox.next(9).unwrap();
            assert_eq!((sending.packet_id, sending.dup), (Some(expect), true));
            outbox.settle(expect);
        }
    }

    #[test]
    fn a_command_at_qos_0_is_done_when_it_is_sent() {
        let mut outbox = Outbox::default();
        let (taken, mut told) = oneshot::channel();
        let (id, topic, payload) = (EventId(Ulid(1)), "c".into(), Bytes::new());
        outbox.push(Queued { sequence: 1, id, topic, payload, qos: 0, perhaps_sent: false, taken: Some(taken) });
        assert_eq!(outbox.next(1).map(|s| (s.packet_id, s.dup)), Some((None, false)));
        assert_eq!((outbox.len(), told.try_recv()), (0, Ok(())));
    }

    #[test]
    fn a_command_is_known_while_it_is_in() {
        let mut outbox = outbox(2);
        let id = |n: u128| EventId(Ulid(n));
        assert!(outbox.find(id(1)).is_some() && outbox.find(id(2)).is_some() && outbox.find(id(3)).is_none());
        let _ = outbox.next(1);
        assert!(outbox.find(id(1)).is_some());
        outbox.settle(1);
        assert!(outbox.find(id(1)).is_none());
    }
}
