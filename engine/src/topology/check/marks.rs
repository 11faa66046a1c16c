//! Which topic carries the marks, and whether the topics that share partitions can.

use crate::context::{TopicDecl, Topics};
use crate::registry::{MarksRole, Role};
use crate::topology::document::{FieldPath, Node, Problem, Problems};
use crate::topology::plan::PlannedStage;

use super::{BAD_INPUT, BAD_TOPICS};

/// The topic of the marks, if a stage follows them.
pub(super) fn check(
    topology: &str,
    stages: &[PlannedStage],
    topics: &Topics,
    root: &Node,
    problems: &mut Problems,
) -> Option<TopicDecl> {
    for stage in stages {
        same_partitions(stage, &stage.description.reads, topics, root, problems);
        journal_partitions(stage, stages, topics, root, problems);
        one_source(stage, stages, root, problems);
    }
    let follower = stages.iter().find(|s| s.description.marks == MarksRole::Follows && feeds_keyed(s, stages))?;
    if !stages.iter().any(|s| s.description.marks == MarksRole::Emits) {
        let at = FieldPath::root().field("stages").field(&*follower.name).field(follower.kind);
        let message = format!("stage `{}` takes its time from marks, but nothing here emits them", follower.name);
        let hint =
            "marks come from an `mqtt_ingress`; for records from elsewhere write `time: records` or `time: wall`";
        problems.push(Problem::new(BAD_TOPICS, message).at(at).hint(hint).in_node(root));
        return None;
    }
    one_carrier(stages, root, problems);
    let partitions =
        follower.description.reads.first().map_or(topics.defaults.partitions, |t| topics.get(t).partitions);
    Some(TopicDecl { name: format!("telemill-marks-{topology}"), partitions, ..topics.defaults.clone() })
}

fn feeds_keyed(stage: &PlannedStage, stages: &[PlannedStage]) -> bool {
    let index = stages.iter().position(|s| s.name == stage.name);
    stages.iter().any(|s| s.role() == Role::Keyed && s.inputs.iter().any(|(from, _)| Some(*from) == index))
}

fn same_partitions(stage: &PlannedStage, names: &[String], topics: &Topics, root: &Node, problems: &mut Problems) {
    let Some((leading, following)) = names.split_first() else { return };
    let expect = topics.get(leading).partitions;
    for name in following {
        let partitions = topics.get(name).partitions;
        if partitions != expect {
            let at = FieldPath::root().field("topics").field(name.as_str()).field("partitions");
            let message = format!(
                "stage `{}` reads `{name}` ({partitions} partitions) together with `{leading}` ({expect})",
                stage.name
            );
            let hint = format!("give them the same number of partitions, such as {expect}");
            problems.push(Problem::new(BAD_TOPICS, message).at(at).hint(hint).in_node(root));
        }
    }
}

/// A journal is read back partition by partition: its topic must be cut as the source's is.
fn journal_partitions(
    stage: &PlannedStage,
    stages: &[PlannedStage],
    topics: &Topics,
    root: &Node,
    problems: &mut Problems,
) {
    let Some(outlet) = stage.description.journal else { return };
    let Some(index) = stages.iter().position(|s| s.name == stage.name) else { return };
    let mut sinks = stages.iter().filter(|s| s.role() == Role::Sink && s.inputs.contains(&(index, outlet)));
    let sink = sinks.next().filter(|sink| sink.description.writes.len() == 1 && sinks.next().is_none());
    if sink.is_none() {
        let at = FieldPath::root().field("stages").field(&*stage.name);
        let message =
            format!("what stage `{}` emits must be kept in one topic, to be read back after a restart", stage.name);
        let hint =
            format!("let one sink with one topic take it: `inputs: [{}]`, `kafka_router: {{ topic: … }}`", stage.name);
        problems.push(Problem::new(BAD_INPUT, message).at(at).hint(hint).in_node(root));
    }
    let Some(source) = source_of(index, stages) else { return };
    let expect = source.description.reads.first().map(|t| topics.get(t).partitions);
    for name in sink.iter().flat_map(|s| &s.description.writes) {
        let partitions = topics.get(name).partitions;
        if Some(partitions) != expect {
            let expect = expect.unwrap_or(partitions);
            let message = format!(
                "topic `{name}` ({partitions} partitions) keeps the journal of stage `{}`, whose source has {expect}",
                stage.name
            );
            let at = FieldPath::root().field("topics").field(name.as_str()).field("partitions");
            let hint = format!("declare `{name}: {{ partitions: {expect} }}` under `topics`");
            problems.push(Problem::new(BAD_TOPICS, message).at(at).hint(hint).in_node(root));
        }
    }
}

/// A device has one session: the keyed stages that keep it hang on one source.
fn one_source(stage: &PlannedStage, stages: &[PlannedStage], root: &Node, problems: &mut Problems) {
    if stage.role() != Role::Keyed {
        return;
    }
    let feeders = stage.inputs.iter().filter_map(|(from, _)| source_of(*from, stages)).map(|source| &source.name);
    let first = feeders.clone().next();
    if let Some(other) = feeders.clone().find(|name| Some(*name) != first) {
        let at = FieldPath::root().field("stages").field(&*stage.name).field("inputs");
        let message = format!(
            "stage `{}` would have two sessions for a device: its inputs come from several sources",
            stage.name
        );
        let hint = format!("let one source read all topics instead of `{other}` reading some of them");
        problems.push(Problem::new(BAD_INPUT, message).at(at).hint(hint).in_node(root));
    }
}

/// A mark vouches for everything that its slot delivered: so one stage emits marks, and one carries them.
fn one_carrier(stages: &[PlannedStage], root: &Node, problems: &mut Problems) {
    for role in [MarksRole::Emits, MarksRole::Carries] {
        let emits = |from: usize| stages.get(from).is_some_and(|s| s.description.marks == MarksRole::Emits);
        let takes_part = |s: &&PlannedStage| {
            s.description.marks == role && (role == MarksRole::Emits || s.inputs.iter().any(|(from, _)| emits(*from)))
        };
        if let Some(second) = stages.iter().filter(takes_part).nth(1) {
            let at = FieldPath::root().field("stages").field(&*second.name);
            let message = match role {
                MarksRole::Emits => {
                    format!("stage `{}` is a second one that proves devices' connections alive", second.name)
                }
                _ => format!("stage `{}` is a second one that writes what an ingress receives", second.name),
            };
            let hint =
                "time is read from the marks of one ingress, written by one router: put all topics and routes into one";
            problems.push(Problem::new(BAD_INPUT, message).at(at).hint(hint).in_node(root));
        }
    }
}

fn source_of(index: usize, stages: &[PlannedStage]) -> Option<&PlannedStage> {
    let mut at = index;
    loop {
        let stage = stages.get(at)?;
        match stage.inputs.first() {
            None => return Some(stage),
            Some((from, _)) => at = *from,
        }
    }
}
