//! What the log already has of a slot-session, asked of every sink downstream before the slot connects.
//!
//! A production is safe when the dead letters have it, or when every other sink has it: with two sinks on one ingress a
//! crash may leave a message with one of them only, and it has to be produced again for the other. A sink that cannot be
//! asked has nothing. Twice is not as bad as never.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use telemill_engine::context::BuildContext;
use telemill_engine::ports::{PortError, Ports};
use telemill_engine::record::Origin;
use telemill_engine::runtime::DEAD_LETTERS;
use ulid::Ulid;

/// Whom to ask.
pub(super) struct Recalls {
    ports: Ports,
    sinks: Arc<[Arc<str>]>,
    slot: u16,
    limit: usize,
}

/// What the sinks have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recalled {
    /// (delivery, packet id, hash) of productions that are safe, in any order.
    pub(super) safe: Vec<(u64, u16, u64)>,
    /// The highest delivery that any of them has.
    pub(super) highest: u64,
}

impl Recalls {
    /// The sinks downstream of this stage; each is asked for its last `limit` productions.
    pub(super) fn new(cx: &BuildContext, slot: u16, limit: usize) -> Self {
        Recalls { ports: cx.ports.clone(), sinks: cx.downstream.clone(), slot, limit }
    }

    /// Asks them all.
    pub(super) async fn ask(&self, session: Ulid) -> Result<Recalled, PortError> {
        let mut answers = Vec::new();
        for sink in self.sinks.iter() {
            let origins = match self.ports.recall(sink) {
                Some(recall) => recall.recall(self.slot, session, self.limit).await?,
                None => Vec::new(),
            };
            answers.push((&**sink == DEAD_LETTERS, origins));
        }
        Ok(combine(&answers))
    }
}

/// Each answer: whether it is the dead letters', and what it has.
fn combine(answers: &[(bool, Vec<Origin>)]) -> Recalled {
    let sinks = answers.iter().filter(|(dead_letters, _)| !dead_letters).count().max(1);
    let mut holders: HashMap<Origin, usize> = HashMap::new();
    for (dead_letters, origins) in answers {
        // A sink may hold a production twice; that makes it one holder.
        for origin in origins.iter().copied().collect::<HashSet<_>>() {
            *holders.entry(origin).or_default() += if *dead_letters { sinks } else { 1 };
        }
    }
    let safe = holders.iter().filter(|(_, count)| **count >= sinks);
    Recalled {
        safe: safe.map(|(origin, _)| (origin.delivery, origin.packet_id, origin.payload_hash)).collect(),
        highest: holders.keys().map(|origin| origin.delivery).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_is_what_all_sinks_or_the_dead_letters_have() {
        let origins = |deliveries: &[u64]| -> Vec<Origin> {
            let origin = |delivery: &u64| Origin {
                slot: 0,
                slot_session: Ulid(1),
                delivery: *delivery,
                packet_id: *delivery as u16,
                payload_hash: 7,
            };
            deliveries.iter().map(origin).collect()
        };
        let check = |answers: &[(bool, &[u64])], expect: &[u64], highest: u64| {
            let answers: Vec<_> = answers.iter().map(|(dead, has)| (*dead, origins(has))).collect();
            let mut recalled = combine(&answers);
            recalled.safe.sort_unstable();
            let expect = expect.iter().map(|d| (*d, *d as u16, 7)).collect();
            assert_eq!(recalled, Recalled { safe: expect, highest }, "{answers:?}");
        };
        check(&[], &[], 0);
        check(&[(false, &[1, 2, 4]), (true, &[3])], &[1, 2, 3, 4], 4);
        check(&[(true, &[3])], &[3], 3);
        check(&[(false, &[1, 2]), (false, &[1, 3]), (true, &[4])], &[1, 4], 4);
        check(&[(false, &[2, 2]), (false, &[1])], &[], 2);
    }
}
