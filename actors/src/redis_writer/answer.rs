//! What the scripts say, as the engine takes it.

use redis::Value;
use telemill_engine::batch::Batch;
use telemill_engine::position::{Cursor, Epoch, TopicId, TopicOffset};
use telemill_engine::record::Reason;
use telemill_engine::sink::{Rejection, Submitted};

use crate::device_store::is_written;
use crate::redis::Answer;

/// What became of a batch.
pub(super) fn submitted(value: Value, batch: &Batch, guard: Option<&str>, epoch: Epoch) -> Submitted {
    let guard = guard.unwrap_or("no guard");
    let answer = match Answer::new(value) {
        Ok(answer) => answer,
        Err(problem) => return Submitted::Fatal(problem),
    };
    match answer.word() {
        "applied" | "already" => Submitted::Delivered,
        "gap" => {
            let (topic, stored, previous) = (answer.text(0), answer.text(1), answer.text(2));
            let stored = if stored.is_empty() { "nothing".to_owned() } else { stored };
            let detail = format!("`{guard}` has {stored} of topic {topic}, but the batch follows {previous}");
            Submitted::Gap { detail }
        }
        "type" => Submitted::Rejected { records: rejections(&answer, batch), others_applied: false },
        _ => Submitted::Fatal(refusal(&answer, guard, epoch)),
    }
}

fn rejections(answer: &Answer, batch: &Batch) -> Vec<Rejection> {
    let written: Vec<usize> = (0..batch.records.len()).filter(|i| is_written(&batch.records[*i])).collect();
    let rejection = |at| Rejection {
        index: written[answer.number(at) as usize],
        reason: Reason::WRONG_TYPE,
        detail: answer.text(at + 1),
        // Somebody may put the key right meanwhile.
        permanent: false,
    };
    (0..answer.len()).step_by(2).map(rejection).collect()
}

/// How far a guard has come. The error says why it cannot be used.
///
/// A guard that stands at the *n*-th record made out of one (output above 0) does not know whether there are more of
/// them: the offset counts as not done, and what it has of it is skipped when it is read again.
pub(super) fn cursor(value: Value, guard: &str, epoch: Epoch) -> Result<Cursor, String> {
    let answer = Answer::new(value)?;
    if answer.word() != "guard" {
        return Err(refusal(&answer, guard, epoch));
    }
    let mut cursor = Cursor::default();
    for at in (0..answer.len()).step_by(2) {
        let (field, value) = (answer.text(at), answer.text(at + 1));
        if matches!(field.as_str(), "v" | "e") {
            continue;
        }
        let position = value.split_once(':').and_then(|(offset, output)| {
            let topic = TopicId(field.parse().ok()?);
            Some((topic, offset.parse::<i64>().ok()?, output.parse::<u32>().ok()?))
        });
        let Some((topic, offset, output)) = position else {
            return Err(format!("`{guard}` has `{field}` at `{value}`, which is no position"));
        };
        let offset = if output == 0 { offset } else { offset - 1 };
        cursor.0.push(TopicOffset { topic, offset });
    }
    Ok(cursor)
}

/// A guard of another type.
pub(super) fn guard_is_no_hash(guard: &str) -> String {
    format!("`{guard}`, which is to hold the position, holds something else than a hash; remove it to start anew")
}

fn refusal(answer: &Answer, guard: &str, epoch: Epoch) -> String {
    match answer.word() {
        "fenced" => format!(
            "epoch {epoch} was superseded by epoch {} in `{guard}`: another instance writes this partition now",
            answer.text(0)
        ),
        "version" => format!(
            "`{guard}` has version {}, and this program knows version 1 only: it was written by a newer one",
            answer.text(0)
        ),
        word => format!("the script answered `{word}`, which this program does not know"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(values: &[&str]) -> Value {
        Value::Array(values.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_guard_is_read_conservatively() {
        let check = |value: &str, expect: Option<i64>| {
            let topic = "000000000000000000000000000000aa";
            let read = cursor(said(&["guard", "v", "1", "e", "7", topic, value]), "g", Epoch(7));
            assert_eq!(read.ok().map(|cursor| cursor.0[0].offset), expect, "{value}");
        };
        check("41:0", Some(41));
        check("41:2", Some(40));
        check("41", None);
        check("x:0", None);
        let nothing = cursor(said(&["guard", "v", "1", "e", "7"]), "g", Epoch(7));
        assert_eq!(nothing, Ok(Cursor::default()), "it keeps positions and has none");
    }

    #[test]
    fn refusals_say_who_refused() {
        let fenced = cursor(said(&["fenced", "9"]), "g", Epoch(7)).unwrap_err();
        assert!(fenced.contains("epoch 7") && fenced.contains("epoch 9"), "{fenced}");
        let newer = cursor(said(&["version", "2"]), "g", Epoch(7)).unwrap_err();
        assert!(newer.contains("version 2"), "{newer}");
    }
}
