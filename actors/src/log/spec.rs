//! What a topology may say of how a log is read, and the checks of topics that all who use one share.

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{CheckContext, TopicDecl, Topics};
use telemill_engine::registry::{Description, MarksRole};
use telemill_engine::runtime::TimeMode;
use telemill_engine::stage::BuildError;

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

/// What a source that reads these topics is to the rest of the topology.
pub(crate) fn describe_source(topics: &[TopicDecl], time: TimeBase) -> Description {
    let (marks, time) = match time {
        TimeBase::Marks => (MarksRole::Follows, None),
        TimeBase::Records => (MarksRole::None, Some(TimeMode::Records)),
        TimeBase::Wall => (MarksRole::None, Some(TimeMode::Wall)),
    };
    Description {
        reads: topics.iter().map(|topic| topic.name.clone()).collect(),
        marks,
        time,
        ..Description::default()
    }
}

/// The number of partitions that topics have which are read together, from the name and the number of each; the first
/// one leads.
pub(crate) fn equal_partitions<'t>(topics: impl IntoIterator<Item = (&'t str, i32)>) -> Result<i32, BuildError> {
    let mut topics = topics.into_iter();
    let Some((leading, partitions)) = topics.next() else { return Ok(0) };
    match topics.find(|(_, other)| *other != partitions) {
        None => Ok(partitions),
        Some((name, other)) => Err(BuildError::Impossible(format!(
            "topic `{name}` has {other} partitions and the leading topic `{leading}` has {partitions}: topics that are \
             read together need the same number, because who has a partition of the first reads the same partition of \
             all"
        ))),
    }
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
