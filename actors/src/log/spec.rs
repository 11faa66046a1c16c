//! What a topology may say of how a log is read, and the checks of topics that all who use one share.

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, TopicDecl, Topics};

const LONGEST_NAME: usize = 249;
const NAME_HINT: &str = "1 to 249 of A-Z a-z 0-9 . _ -";
/// What the topic of the dead letters holds where the topology does not say, in bytes.
const LARGEST_LETTER: u64 = 2 << 20;

/// What moves the clock of the sessions behind a source (`docs/formats.md`, "Time").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeBase {
    /// The marks of the ingress, where the topology has them.
    #[default]
    Marks,
    /// The records' own times.
    Records,
    /// The machine's clock.
    Wall,
}

/// The topics that a source reads, as declared; what is wrong with their names is reported.
pub(crate) fn check_read_topics(names: &[String], cx: &mut CheckContext<'_>) -> Vec<TopicDecl> {
    if names.is_empty() {
        cx.problem("topics", "kafka_source::no_topics", "no topic is named", "name at least one, such as `iot-data`");
    }
    let mut topics: Vec<TopicDecl> = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let at = format!("topics[{index}]");
        if !is_topic_name(name) {
            let message = format!("`{name}` is no name of a topic");
            cx.problem(at, "kafka_source::bad_topic", message, NAME_HINT);
            continue;
        }
        if topics.iter().any(|topic| topic.name == *name) {
            cx.problem(at, "kafka_source::topic_twice", format!("topic `{name}` is named twice"), "remove one of them");
            continue;
        }
        topics.push(cx.topics.get(name));
    }
    topics
}

/// Checks the name of a topic; false when there was a problem.
pub(crate) fn check_topic(at: &str, name: &str, cx: &mut CheckContext<'_>) -> bool {
    let fit = is_topic_name(name);
    if !fit {
        cx.problem(at, "kafka::bad_topic", format!("`{name}` is no name of a topic"), NAME_HINT);
    }
    fit
}

fn is_topic_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}

/// The topic of the dead letters as declared, with the size of its messages.
pub(crate) fn topic_of_letters(topics: &Topics, name: &str) -> TopicDecl {
    let mut declared = topics.get(name);
    declared.max_message_bytes.get_or_insert(LARGEST_LETTER);
    declared
}
