//! The codes of the program's own log lines, with what `telemill explain` says about them: the one list of this crate.

use telemill_engine::codes::Explanation;

/// Every code that `telemill` can show: those of the engine, of the components, and its own.
pub fn explanations() -> impl Iterator<Item = Explanation> {
    telemill_engine::codes::explanations().chain(telemill_actors::codes::explanations()).chain(OWN.iter().copied())
}

const OWN: &[Explanation] = &[
    (
        "deploy_failed",
        "A topology could not start at all; `error` says why. The others are drained and the process ends with 1.",
    ),
    (
        "deploying",
        "A topology has its state store and its claim, and starts its stages, from the sinks to the sources.",
    ),
    (
        "drain_deadline",
        "Stopping took longer than `drain_deadline`. Nothing was acknowledged that is not safe: what is left is read again. \
         The process ends with 1.",
    ),
    ("drained", "A topology was stopped and everything that it had received is resolved."),
    ("draining", "The process was told to stop, or a topology has ended: sources stop, what is in flight is finished."),
    ("failed", "A topology had failed before it was stopped; `why` says with what. The process ends with 1."),
    ("listening", "The HTTP API listens at `address`; with port 0 the system has chosen the port."),
    (
        "simulated_fleet",
        "The fleet that the topology brings along (`simulate:`) has ended early, or did not end in time when the topology \
         was told to stop. What it published last may be in the log although no acknowledgement was seen.",
    ),
    ("running", "Every stage of a topology runs. Whether it still does, `/readyz` says."),
    (
        "stopped_at_once",
        "A second signal came while the process drained, so it ended at once. What is not acknowledged is read again.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::testing::codes_of;

    #[test]
    fn every_code_in_the_sources_is_explained_and_no_other() {
        codes_of(env!("CARGO_MANIFEST_DIR")).are_explained_by(OWN.iter().copied());
    }

    #[test]
    fn no_code_belongs_to_two_crates() {
        let mut codes: Vec<_> = explanations().map(|(code, _)| code).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
