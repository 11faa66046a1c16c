//! Whether the dead letters can take whatever a source lets in: one that they cannot would hold up all behind it.

use crate::topology::document::{FieldPath, Node, Problem, Problems};
use crate::topology::plan::{PlannedSink, PlannedStage};

use super::BAD_TOPICS;

/// What a letter has in the log besides the message: its key, and the headers that say why, where from and when.
const SURROUNDINGS: u64 = 4096;

pub(super) fn check(stages: &[PlannedStage], letters: &PlannedSink, root: &Node, problems: &mut Problems) {
    let Some(takes) = letters.description.takes else { return };
    let needed = |stage: &PlannedStage| Some((stage.description.lets_in? + SURROUNDINGS, stage.name.clone()));
    let Some((needed, stage)) = stages.iter().filter_map(needed).max() else { return };
    if takes < needed {
        let topic = letters.description.writes.first().map_or("", String::as_str);
        let message = format!(
            "topic `{topic}` takes messages of up to {takes} bytes, but stage `{stage}` lets in some that need {needed} as \
             a dead letter"
        );
        let hint = format!(
            "write `topics: {{ {topic}: {{ max_message_size: {}KiB }} }}`, or lower the `max_payload` of `{stage}`",
            needed.div_ceil(1024)
        );
        let at = FieldPath::root().field("dead_letters").field(letters.kind);
        problems.push(Problem::new(BAD_TOPICS, message).at(at).hint(hint).in_node(root));
    }
}
