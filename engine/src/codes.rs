//! Every code that the engine shows, in a problem of a topology file or in a log line, with what `telemill explain` says
//! about it: the engine's one list. Codes are stable: tools match on them.

use crate::topology::{CHECK_CODES, document, expr};

/// A code and its explanation.
pub type Explanation = (&'static str, &'static str);

/// All of them: those of the problems of a topology file, and those of log lines.
pub fn explanations() -> impl Iterator<Item = Explanation> {
    document::CODES.iter().chain(CHECK_CODES).chain(&expr::codes::EXPLANATIONS).chain(LOG).copied()
}

/// The codes of log lines.
const LOG: &[Explanation] = &[
    (
        "alert_log",
        "The log of alerts cannot be read at the moment, so the list of active alerts may be old. It is tried again every \
         second.",
    ),
    (
        "checkpoint_retry",
        "A checkpoint cannot be written because its store does not answer. It is tried again for as long as it takes; \
         meanwhile records are handled, but the source commits nothing of them.",
    ),
    (
        "checkpoints_unavailable",
        "The state store that `checkpoints:` names does not answer, so the topology cannot start. It starts when the store \
         is there.",
    ),
    (
        "claim_lost",
        "Another instance has taken the claim on the topology, because this one did not renew it within its lease (it \
         stood still, or could not reach the state store). This instance stops; what it did not acknowledge is read again.",
    ),
    (
        "claim_release",
        "The claim on the topology could not be given up, because the state store did not answer. It ends with its lease; \
         until then another instance waits.",
    ),
    ("claim_retry", "The state store did not answer when the topology was to be claimed. It is tried again."),
    (
        "devices_forgotten",
        "Devices were forgotten: for `max_sessions`, because there was no room for another one and these were silent \
         longest; for `forget_after`, because they were silent so long. Their alerts are resolved; a device that comes back \
         is new. It is said once a minute at most; `telemill_devices_forgotten_total` counts them all. If devices that are \
         in use are forgotten for `max_sessions`, raise it, or find out who makes up device ids.",
    ),
    (
        "journal_refused",
        "A transition that stands in the journal could not be applied to its session after a restart. The session goes on \
         from the checkpoint and derives it again, so it may be published twice.",
    ),
    (
        "journal_unavailable",
        "The log that a keyed stage writes its transitions to could not be asked for its end, so no checkpoint is written. \
         It is tried again.",
    ),
    (
        "last_words_given_up",
        "A stage failed again and again when it was told that a device is forgotten. The device is forgotten all the same; \
         its last presence event or the end of its alerts may be missing.",
    ),
    (
        "session_restarted",
        "A device's session panicked and was put back as it was before the record or timer. The record is tried again, and \
         goes to the dead letters after `max_attempts`; other devices go on.",
    ),
    (
        "shard_waits",
        "The keyed state of a partition cannot be restored, because its store or a journal does not answer. The partition \
         is read when it can be.",
    ),
    (
        "sink_gap",
        "The store stands behind what was written to it before: it was rolled back, or emptied. The source reads again from \
         where the store stands, for as long as the log retains that.",
    ),
    (
        "source_close",
        "The source could not commit its last positions when it was stopped. What is not committed is read again, and \
         skipped by what already has it.",
    ),
    (
        "stage_goes_on",
        "What did not get through (`stage_retry`) did after so many `tries`, or went to the dead letters. The stage does its \
         work again.",
    ),
    (
        "stage_restart",
        "A stage panicked or found itself unusable. It is started again after a wait, with everything it had in hand; \
         `restart:` limits how often.",
    ),
    (
        "stage_retry",
        "A record or batch did not get through and is tried again: what it is written to is not there (then for as long as \
         it takes), or it was refused (then `max_attempts` times). `reason` says which.",
    ),
    (
        "stage_unavailable",
        "A stage cannot start because a broker or store it needs is not there. It starts when it is; `/readyz` says what is \
         waited for.",
    ),
    (
        "timer_given_up",
        "A session's timer failed as often as it may. The session is called again later; what the timer should have done \
         (offline, an alert) is late.",
    ),
    (
        "topology_failed",
        "A stage exceeded its restarts, or said that order or completeness cannot be kept. The sources are stopped, what is \
         in flight is finished, and the process ends with 1. `why` names the stage and the reason.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::codes_of;

    #[test]
    fn every_code_in_the_sources_is_explained_and_no_other() {
        codes_of(env!("CARGO_MANIFEST_DIR")).are_explained_by(explanations());
    }
}
