//! From a topology as written to a plan: pure, and every problem at once.
//!
//! Connections first, because the stages name them; then each stage by itself, decoded and checked by its kind; then
//! what only shows between them: inputs, cycles, keyed stages, journals, marks.

mod connections;
mod graph;
mod letters;
mod marks;
mod stages;
mod topics;

use std::sync::Arc;

use crate::context::{CheckContext, Connections, FieldProblem, Topics, UNKNOWN_CONNECTION, WRONG_CONNECTION};
use crate::registry::{Entry, Kinds, MakeStore, Registry};
use crate::retry::BackoffPolicy;
use crate::runtime::RestartPolicy;

use super::document::{Document, Node, Problem, Problems, codes, suggest};
use super::plan::{Plan, PlannedSink};
use super::spec::{BackoffSpec, TopologySpec};

/// A name that does not exist, where one must.
pub const UNKNOWN_STAGE: &str = "topology::unknown_stage";
/// Stages that feed each other in a circle.
pub const CYCLE: &str = "topology::cycle";
/// An input where there must be none, or none where there must be one.
pub const BAD_INPUT: &str = "topology::bad_input";
/// A stage whose output nothing takes, though it has no other effect.
pub const UNUSED: &str = "topology::unused";
/// Not exactly one kind where one is needed.
pub const ONE_KIND: &str = "topology::one_kind";
/// Topics that cannot work together.
pub const BAD_TOPICS: &str = "topology::bad_topics";

/// The codes of this layer, each with what `telemill explain` says about it.
pub const CHECK_CODES: &[(&str, &str)] = &[
    (
        UNKNOWN_STAGE,
        "An input names a stage, or an outlet of a stage (`sessions.presence`), that does not exist. A stage's main \
         outlet is named by the stage alone.",
    ),
    (CYCLE, "Stages feed each other in a circle. Records flow one way, from sources to sinks."),
    (
        BAD_INPUT,
        "A source reads from the outside and takes no inputs; every other stage needs at least one. A sink has no outlet \
         and cannot be an input. A keyed stage hangs on a source that keeps positions in a log, or on another keyed stage.",
    ),
    (
        UNUSED,
        "Nothing takes what the stage emits, so it would work for nothing. Name it as an input somewhere, or remove it.",
    ),
    (
        ONE_KIND,
        "The mapping must name exactly one kind, such as `{ redis: { … } }`. Beside the kind a stage may have `inputs`, \
         `batch`, `mailbox` and `retry`.",
    ),
    (
        BAD_TOPICS,
        "Topics that are read together, or that carry time for one another, must have the same number of partitions, so \
         that partition n of each holds the same devices. The topic of the dead letters must take whatever a source lets \
         in.",
    ),
    (
        UNKNOWN_CONNECTION,
        "A stage, or `topics.defaults`, names a connection that is not declared under `connections:`.",
    ),
    (
        WRONG_CONNECTION,
        "A stage, or `topics.defaults`, names a connection of another kind than the one it needs. Topics are in a log.",
    ),
];

/// Checks a document against the kinds of a registry. `None` when there is a problem; all are in `problems`.
pub fn check(document: &Document, registry: &Registry, problems: &mut Problems) -> Option<Plan> {
    let before = problems.len();
    let spec: Option<TopologySpec> = document.decode(problems);
    // A part that cannot be decoded must not hide what is wrong elsewhere: the kinds are checked from the nodes.
    let root = document.root();
    let connections = connections::check(root, registry, problems);
    let topics = topics::check(root, registry, &connections, problems);
    let around = Around { registry, connections: &connections, topics: &topics };
    let store = checkpoints(root, around, problems);
    let dead_letters = dead_letters(root, around, problems);
    let stages = stages::check(root, registry, &connections, &topics, problems);
    let stages = graph::check(root, stages, problems);
    let spec = spec?;
    basics(&spec, problems);
    let stages = stages?;
    let marks = marks::check(&spec.name, &stages, &topics, root, problems);
    let (store, dead_letters) = (store?, dead_letters?);
    letters::check(&stages, &dead_letters, root, problems);
    if problems.len() > before {
        return None;
    }
    Some(Plan {
        name: spec.name.value.as_str().into(),
        topics: Arc::new(topics),
        stages,
        dead_letters,
        store,
        checkpoint_every: spec.checkpoint_every.get(),
        restart: RestartPolicy {
            max_restarts: spec.restart.max_restarts,
            within: spec.restart.within.get(),
            backoff: backoff(&spec.restart.backoff),
        },
        marks,
        drain_deadline: spec.drain_deadline.get(),
        simulate: spec.simulate,
        connections,
    })
}

fn basics(spec: &TopologySpec, problems: &mut Problems) {
    if spec.version.value != 1 {
        let message = format!("version {} is not known", spec.version.value);
        let hint = "this is version 1 of the topology language: write `version: 1`";
        problems.push(Problem::new(codes::INVALID_VALUE, message).at("version").span(spec.version.span).hint(hint));
    }
    let name = &spec.name.value;
    let fine = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !fine {
        let message = format!("`{name}` cannot be a topology's name");
        let hint = "use 1 to 64 letters, digits, `-` and `_`: the name becomes part of keys and topics";
        problems.push(Problem::new(codes::INVALID_VALUE, message).at("name").span(spec.name.span).hint(hint));
    }
}

pub(super) fn backoff(spec: &BackoffSpec) -> BackoffPolicy {
    BackoffPolicy { initial: spec.initial.get(), max: spec.max.get() }
}

/// The one kind that a mapping names, `beside` the fields that may stand with it.
fn kind_of<'n>(node: &'n Node, beside: &[&str], what: &str, problems: &mut Problems) -> Option<(&'n str, &'n Node)> {
    let kinds: Vec<_> = node.members().iter().filter(|m| !beside.contains(&&*m.key.name)).collect();
    match kinds.as_slice() {
        [one] => Some((&*one.key.name, &one.value)),
        [] => {
            if !node.is_flawed() {
                let problem = Problem::new(ONE_KIND, format!("{what} names no kind"));
                problems.push(problem.hint("write one kind with its settings, such as `redis: { … }`").in_node(node));
            }
            None
        }
        [_, more @ ..] => {
            for member in more {
                let message = format!("{what} names a second kind, `{}`", member.key.name);
                let problem = Problem::new(ONE_KIND, message)
                    .at(super::document::FieldPath::root().field(member.key.name.clone()).key());
                problems.push(problem.hint("keep one kind; settings of a kind go inside it").in_node(node));
            }
            None
        }
    }
}

/// What a part of a topology is checked against.
#[derive(Clone, Copy)]
struct Around<'a> {
    registry: &'a Registry,
    connections: &'a Connections,
    topics: &'a Topics,
}

/// The registry's entry for a kind and its settings.
fn entry_of<'r, T>(
    kinds: &'r Kinds<T>,
    (kind, settings): (&str, &Node),
    node: &Node,
    what: &str,
    around: Around<'_>,
    problems: &mut Problems,
) -> Option<&'r Entry<T>> {
    if let Some(entry) = kinds.choose(kind, settings, around.connections) {
        return Some(entry);
    }
    let problem = Problem::new(codes::UNKNOWN_VARIANT, format!("there is no kind `{kind}` of {what}"));
    let hint = match (kinds.feature_of(kind), suggest(kind, kinds.names())) {
        (Some(feature), _) => format!(
            "this build does without it; add it with `cargo build --release --features {feature}`, or all with `--features full`"
        ),
        (None, Some(close)) => format!("did you mean `{close}`?"),
        (None, None) => {
            format!("kinds of {what}: {}", kinds.names().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", "))
        }
    };
    let at = super::document::FieldPath::root().field(kind).key();
    problems.push(problem.at(at).hint(hint).in_node(node));
    None
}

/// Runs a kind's own decode and check and puts its problems in their places.
fn run_check<T>(
    kinds: &Kinds<T>,
    entry: &Entry<T>,
    node: &Node,
    name: &str,
    inputs: &[String],
    around: Around<'_>,
    problems: &mut Problems,
) -> Option<T> {
    let mut found: Vec<FieldProblem> = Vec::new();
    let Around { connections, topics, .. } = around;
    let mut cx = CheckContext { name, inputs, connections, topics, problems: &mut found };
    let checked = (entry.check)(node, problems, &mut cx);
    name_all_connections(kinds.connections_of(entry.kind), node, &mut cx);
    let flawed = !found.is_empty();
    found.into_iter().for_each(|field| problems.push(problem_of(field).in_node(node)));
    checked.filter(|_| !flawed)
}

/// A problem as a check reported it, not yet in its place in the file.
fn problem_of(field: FieldProblem) -> Problem {
    let mut problem = Problem::new(field.code, field.message).at(field.at.as_str());
    if let Some(range) = field.range {
        problem = problem.within(range);
    }
    match field.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The check of one implementation knows its own kind of connection alone: where a kind has several implementations, a
/// connection that none is for is reported with all that would do.
fn name_all_connections(kinds: Vec<&'static str>, spec: &Node, cx: &mut CheckContext<'_>) {
    let of_connection = |problem: &FieldProblem| {
        problem.at == "connection" && [UNKNOWN_CONNECTION, WRONG_CONNECTION].contains(&problem.code)
    };
    let named = spec.get("connection").and_then(Node::as_str);
    if let (Some(name), Some(index), true) = (named, cx.problems.iter().position(of_connection), kinds.len() > 1) {
        cx.problems.remove(index);
        cx.no_connection("connection", name, &kinds);
    }
}

fn checkpoints(root: &Node, around: Around<'_>, problems: &mut Problems) -> Option<MakeStore> {
    let node = root.get("checkpoints")?;
    let (kind, spec) = kind_of(node, &[], "`checkpoints`", problems)?;
    let stores = &around.registry.stores;
    let entry = entry_of(stores, (kind, spec), node, "checkpoint store", around, problems)?;
    run_check(stores, entry, spec, "checkpoints", &[], around, problems)
}

fn dead_letters(root: &Node, around: Around<'_>, problems: &mut Problems) -> Option<PlannedSink> {
    let node = root.get("dead_letters")?;
    let (kind, spec) = kind_of(node, &[], "`dead_letters`", problems)?;
    let sinks = &around.registry.dead_letters;
    let entry = entry_of(sinks, (kind, spec), node, "dead letters", around, problems)?;
    let checked = run_check(sinks, entry, spec, "dead_letters", &[], around, problems)?;
    Some(PlannedSink { kind: entry.kind, factory: checked.factory, description: checked.description })
}
