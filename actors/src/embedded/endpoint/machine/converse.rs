//! A conversation with the machine as the connections hold it, and what must be true of any.

use super::*;

const BOUNDS: Bounds = Bounds { packet: 4096, topic: 64, client_id: 23, receive_maximum: 4 };

/// Drives a machine with pieces of at most `piece` bytes, as a connection would; what it said.
fn converse(bytes: &[u8], mut piece: impl FnMut() -> usize, accept: bool) -> Vec<String> {
    const TERMS: Terms<'static> =
        Terms { session_present: false, client_id: None, session_expiry: None, receive_maximum: 4, packet_limit: 4096 };
    let mut machine = Machine::new(BOUNDS);
    let (mut said, mut events) = (Vec::new(), Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        rest = later;
        let was_closed = machine.is_closed();
        machine.feed(now, &mut events);
        while !events.is_empty() {
            for event in std::mem::take(&mut events) {
                assert!(!was_closed, "{event:?} behind an end");
                match &event {
                    Event::Connect(_) if accept => machine.open(&TERMS, &mut events),
                    Event::Connect(_) => machine.refuse(Code::NOT_AUTHORIZED),
                    Event::Subscribe(subscribe) => {
                        let codes = vec![Code(1); subscribe.filters.len()];
                        machine.suback(subscribe.packet_id, &codes);
                    }
                    Event::Unsubscribe { packet_id, filters } => {
                        machine.unsuback(*packet_id, &vec![Code::SUCCESS; filters.len()]);
                    }
                    _ => {}
                }
                said.push(format!("{event:?}"));
            }
        }
        assert!(machine.out().len() <= 64 * (bytes.len() + 64), "the answers outgrow what was said");
        machine.out().clear();
    }
    let messages = said.iter().filter(|event| event.starts_with("Publish")).count();
    let owed = machine.owed();
    machine.release(u64::MAX);
    assert!(machine.owed() == 0 && owed <= messages + said.iter().filter(|e| e.starts_with("Rejected")).count());
    said
}

/// Has the conversation whole and cut into pieces of these sizes, with a client that is let in and one that is not; the
/// number of events of the one that is. Panics where a promise of the machine does not hold.
pub(crate) fn holds(bytes: &[u8], pieces: impl Iterator<Item = usize> + Clone) -> usize {
    let [_, events] = [false, true].map(|accept| {
        let whole = converse(bytes, || usize::MAX, accept);
        let mut pieces = pieces.clone();
        let cut = converse(bytes, || pieces.next().unwrap_or(usize::MAX), accept);
        assert_eq!(whole, cut, "how the bytes are cut makes a difference");
        whole.len()
    });
    events
}
