//! Crashes at any moment: what is in the journal at the end is what would be there without them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::shard::{Checkpoint, Next, Shard, Ways};
use super::{RuleSpec, absence, condition, stage};

/// Rules that make all kinds of transitions, some of which start and end under the same condition.
fn rules() -> Vec<RuleSpec> {
    let texts = [("summary", "{{ device_id }} at {{ value }}, {{ payload.u }} of {{ kind }} at {{ timestamp }}")];
    vec![
        condition("Hot", "payload.t > 5").held(7).annotations(&texts),
        condition("Steep", "payload.t > 8").clear("payload.t < 10"),
        condition("Wide", "payload.t > 3").clear("payload.t < 8").held(3).annotations(&texts),
        condition("Long", "payload.t > 1").held(25).label("u", "{{ payload.u }}"),
        absence("Silent", 15),
        absence("Quiet", 4),
    ]
}

/// One thing in the log: how far the time moves, and a record of a device, perhaps with a value, or a mark; and the device
/// that is forgotten for it.
type Happening = (u64, Option<(usize, Option<u8>)>, Option<usize>);

fn happening() -> impl Strategy<Value = Happening> {
    let record = (0usize..3, proptest::option::weighted(0.9, 0u8..11));
    let forgets = proptest::option::weighted(0.1, 0usize..3);
    let record = proptest::option::weighted(0.8, record);
    let short = (prop_oneof![1 => Just(0u64), 3 => 0u64..4_000], record, forgets.clone());
    let long = (4_000u64..30_000, Just(None), forgets);
    prop_oneof![8 => short, 1 => long]
}

fn log_of(happenings: &[Happening], ways: Ways) -> Vec<Next> {
    let mut log = 0;
    let mut next = vec![Next { log, record: None, forgets: None }];
    for (index, (pause, record, forgets)) in happenings.iter().enumerate() {
        log += pause;
        let payload = |t: &Option<u8>| t.map_or("{}".to_owned(), |t| format!(r#"{{"t":{t},"u":"unit {index}"}}"#));
        let record = record.as_ref().map(|(device, t)| (*device, payload(t)));
        next.push(Next { log, record, forgets: *forgets });
    }
    next.retain(|next| next.record.is_some() || !ways.no_marks);
    next
}

fn shard(ways: Ways) -> Shard {
    Shard::new(stage(rules()), 3, ways)
}

fn undisturbed(log: &[Next], ways: Ways) -> Vec<String> {
    let mut shard = shard(ways);
    log.iter().enumerate().for_each(|(offset, next)| shard.handle(offset, next));
    shard.messages()
}

/// After `handled` inputs: a checkpoint, or a crash that loses the last so many of the journal's records that no
/// checkpoint covers.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The offset from which the journal is read lies this far before its end.
    Checkpoint {
        read_before: usize,
    },
    Crash {
        lost: usize,
    },
}

fn trouble() -> impl Strategy<Value = (usize, Trouble)> {
    let trouble = prop_oneof![
        (0usize..4).prop_map(|read_before| Trouble::Checkpoint { read_before }),
        (0usize..4).prop_map(|lost| Trouble::Crash { lost }),
    ];
    (0usize..25, trouble)
}

fn disturbed(log: &[Next], ways: Ways, troubles: &[(usize, Trouble)]) -> Vec<String> {
    let mut shard = shard(ways);
    let start = shard.checkpoint();
    let (mut saved, mut resume, mut from, mut durable): (Checkpoint, usize, usize, usize) = (start, 0, 0, 0);
    let mut at = 0;
    for (handled, trouble) in troubles {
        for _ in 0..*handled {
            if let Some(next) = log.get(at) {
                shard.handle(at, next);
                at += 1;
            }
        }
        match trouble {
            Trouble::Checkpoint { read_before } => {
                (saved, resume, durable) = (shard.checkpoint(), at, shard.journal.len());
                if shard.ahead.is_empty() {
                    from = durable.saturating_sub(*read_before);
                }
            }
            Trouble::Crash { lost } => {
                let kept = shard.journal.len().saturating_sub(*lost).max(durable);
                shard.journal.truncate(kept);
                shard.restore(&saved, from, false);
                at = resume;
                durable = kept;
            }
        }
    }
    (at..log.len()).for_each(|offset| shard.handle(offset, &log[offset]));
    shard.messages()
}

fn ways() -> impl Strategy<Value = Ways> {
    any::<[bool; 5]>().prop_map(|[at_deadline, count_marks, count_records, no_marks, forgets_clock]| Ways {
        timers_at_deadline: at_deadline,
        timers_count_marks: count_marks,
        timers_count_records: count_records,
        no_marks,
        forgets_clock,
    })
}

#[derive(Deserialize)]
struct Seen {
    alertname: String,
    device_id: String,
    incarnation: String,
    state: String,
    sequence: u32,
}

proptest! {
    #[test]
    fn crashes_leave_no_trace_in_the_journal(
        happenings in proptest::collection::vec(happening(), 0..120),
        troubles in proptest::collection::vec(trouble(), 0..12),
        ways in ways(),
    ) {
        let log = log_of(&happenings, ways);
        let (expect, found) = (undisturbed(&log, ways), disturbed(&log, ways, &troubles));
        let first = expect.iter().zip(&found).position(|(one, other)| one != other);
        let first = first.unwrap_or(expect.len().min(found.len()));
        prop_assert!(expect == found, "at {}: {:#?} became {:#?}", first, expect.get(first..), found.get(first..));
    }

    #[test]
    fn the_transitions_of_an_alert_are_numbered_and_follow_each_other(
        happenings in proptest::collection::vec(happening(), 0..120),
        ways in ways(),
    ) {
        let mut last: BTreeMap<[String; 3], (u32, String)> = BTreeMap::new();
        for message in undisturbed(&log_of(&happenings, ways), ways) {
            let Seen { alertname, device_id, incarnation, state, sequence } = serde_json::from_str(&message).unwrap();
            let alert = [alertname.clone(), device_id, incarnation];
            let held = matches!(&*alertname, "Hot" | "Wide" | "Long");
            let (number, before) = last.get(&alert).cloned().unwrap_or_default();
            prop_assert_eq!(sequence, number + 1, "{}", &message);
            let follows = match &*state {
                "pending" => held && matches!(&*before, "" | "resolved"),
                "firing" => if held { before == "pending" } else { matches!(&*before, "" | "resolved") },
                _ => matches!(&*before, "pending" | "firing"),
            };
            prop_assert!(follows, "{} after {}", &message, before);
            last.insert(alert, (sequence, state));
        }
    }
}
