//! What the log already has of a slot-session, asked of every sink downstream before the slot connects.
//!
//! A production is safe when every sink has it: with two sinks on one ingress a crash may leave a message with one of
//! them only, and it has to be produced again for the other. What the ingress itself gave up was for none of them; what a
//! sink gave up is settled for that one alone. A sink that cannot be asked has nothing. Twice is not as bad as never.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use telemill_engine::context::BuildContext;
use telemill_engine::ports::{PortError, Ports, Taken};
use telemill_engine::record::Origin;
use telemill_engine::runtime::DEAD_LETTERS;
use ulid::Ulid;

/// Whom to ask.
pub(super) struct Recalls {
    ports: Ports,
    sinks: Arc<[Arc<str>]>,
    ingress: Arc<str>,
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
        Recalls { ports: cx.ports.clone(), sinks: cx.downstream.clone(), ingress: cx.stage.clone(), slot, limit }
    }

    /// Asks them all.
    pub(super) async fn ask(&self, session: Ulid) -> Result<Recalled, PortError> {
        let mut answers = Vec::new();
        for sink in self.sinks.iter() {
            let taken = match self.ports.recall(sink) {
                Some(recall) => recall.recall(self.slot, session, self.limit).await?,
                None => Vec::new(),
            };
            answers.push((&**sink, taken));
        }
        Ok(combine(&answers, &self.ingress))
    }
}

/// Each answer: whose it is, and what it has.
fn combine(answers: &[(&str, Vec<Taken>)], ingress: &str) -> Recalled {
    let sinks: Vec<&str> = answers.iter().map(|(sink, _)| *sink).filter(|sink| *sink != DEAD_LETTERS).collect();
    let is_settled = |sink: &str, holder: &str, given_up_by: Option<&str>| match given_up_by {
        _ if holder != DEAD_LETTERS => sink == holder,
        // A stage between the ingress and this sink, where there is but one, or the ingress, or the sink.
        Some(stage) => sinks.len() == 1 || stage == ingress || stage == sink,
        None => sinks.len() == 1,
    };
    // A sink may hold a production twice, and a dead letter of it besides.
    let mut settled: HashSet<(Origin, &str)> = HashSet::new();
    let mut highest = 0;
    for (holder, taken) in answers {
        for Taken { origin, given_up_by } in taken {
            highest = highest.max(origin.delivery);
            let of = sinks.iter().filter(|sink| is_settled(sink, holder, given_up_by.as_deref()));
            settled.extend(of.map(|sink| (*origin, *sink)));
        }
    }
    let mut counts: HashMap<Origin, usize> = HashMap::new();
    settled.iter().for_each(|(origin, _)| *counts.entry(*origin).or_default() += 1);
    let safe = counts.iter().filter(|(_, count)| **count == sinks.len());
    let safe = safe.map(|(origin, _)| (origin.delivery, origin.packet_id, origin.payload_hash)).collect();
    Recalled { safe, highest }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What somebody has: deliveries, and who gave them up.
    type Has<'a> = (&'a str, &'a [u64], Option<&'a str>);

    fn answer<'a>((holder, deliveries, given_up_by): &Has<'a>) -> (&'a str, Vec<Taken>) {
        let taken = |delivery: &u64| Taken {
            origin: Origin {
                slot: 0,
                slot_session: Ulid(1),
                delivery: *delivery,
                packet_id: *delivery as u16,
                payload_hash: 7,
            },
            given_up_by: given_up_by.map(Arc::from),
        };
        (holder, deliveries.iter().map(taken).collect())
    }

    fn check(answers: &[Has<'_>], expect: &[u64], highest: u64) {
        let given: Vec<_> = answers.iter().map(answer).collect();
        let mut recalled = combine(&given, "ingress");
        recalled.safe.sort_unstable();
        let expect = expect.iter().map(|d| (*d, *d as u16, 7)).collect();
        assert_eq!(recalled, Recalled { safe: expect, highest }, "{answers:?}");
    }

    #[test]
    fn safe_is_what_every_sink_has() {
        check(&[], &[], 0);
        check(&[("a", &[1, 2, 4], None)], &[1, 2, 4], 4);
        check(&[("a", &[1, 2], None), ("b", &[1, 3], None)], &[1], 3);
        check(&[("a", &[2, 2], None), ("b", &[1], None)], &[], 2);
    }

    #[test]
    fn a_dead_letter_is_safe_for_those_that_will_not_get_the_record() {
        let dead = |by| (DEAD_LETTERS, &[3][..], by);
        check(&[("a", &[1], None), dead(Some("ingress"))], &[1, 3], 3);
        check(&[("a", &[1], None), dead(Some("a"))], &[1, 3], 3);
        check(&[("a", &[1], None), dead(Some("between"))], &[1, 3], 3);
        check(&[("a", &[1], None), dead(None)], &[1, 3], 3);
        let two = |of_b, by| [("a", &[1][..], None), ("b", of_b, None), dead(by)];
        check(&two(&[1], Some("ingress")), &[1, 3], 3);
        check(&two(&[1], Some("a")), &[1], 3);
        check(&two(&[1, 3], Some("a")), &[1, 3], 3);
        check(&two(&[1], Some("between")), &[1], 3);
    }
}
