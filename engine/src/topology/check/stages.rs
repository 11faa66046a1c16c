//! `stages:`: each by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::{Connections, Topics};
use crate::registry::{CheckedStage, Registry, Role, StageFactory};
use crate::runtime::{Capacity, StageLimits};
use crate::topology::document::{Located, Node, Problem, Problems, codes, decode};
use crate::topology::spec::{STAGE_FIELDS, StageSpec};

use super::{Around, backoff, entry_of, kind_of, run_check};

/// A stage whose own settings were looked at.
pub(super) struct Drafted<'n> {
    pub(super) name: Arc<str>,
    pub(super) node: &'n Node,
    pub(super) inputs: Vec<Located<String>>,
    /// Known as soon as the kind is, even when its settings are wrong.
    pub(super) kind: Option<Kind>,
    /// The connection that it names.
    pub(super) connection: Option<Arc<str>>,
    /// None when something in it is wrong.
    pub(super) checked: Option<CheckedStage<StageFactory>>,
    pub(super) limits: StageLimits,
    pub(super) capacity: Capacity,
}

/// What a kind says of itself.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) outlets: &'static [&'static str],
}

/// All stages, in the order of the file.
pub(super) fn check<'n>(
    root: &'n Node,
    registry: &Registry,
    connections: &Connections,
    topics: &Topics,
    problems: &mut Problems,
) -> BTreeMap<usize, Drafted<'n>> {
    let Some(stages) = root.get("stages") else { return BTreeMap::new() };
    let drafted = stages.members().iter().enumerate().map(|(index, member)| {
        let name = &*member.key.name;
        check_name(name, stages, problems);
        (index, check_one(name, &member.value, Around { registry, connections, topics }, problems))
    });
    drafted.collect()
}

fn check_name(name: &str, stages: &Node, problems: &mut Problems) {
    let fine = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !fine || name == crate::runtime::DEAD_LETTERS {
        let problem = Problem::new(codes::INVALID_VALUE, format!("`{name}` cannot be a stage's name"));
        let hint = "use 1 to 64 letters, digits, `-` and `_`; `dead_letters` is taken";
        problems.push(
            problem.at(crate::topology::document::FieldPath::root().field(name).key()).hint(hint).in_node(stages),
        );
    }
}

fn check_one<'n>(name: &str, node: &'n Node, around: Around<'_>, problems: &mut Problems) -> Drafted<'n> {
    let common = node.filter(|field| STAGE_FIELDS.contains(&field));
    let spec: StageSpec = decode(&common, problems).unwrap_or_default();
    let limits = StageLimits {
        max_records: at_least_one("batch.max_records", &spec.batch.max_records, node, problems) as usize,
        max_attempts: at_least_one("retry.max_attempts", &spec.retry.max_attempts, node, problems),
        backoff: backoff(&spec.retry.backoff),
    };
    let capacity = Capacity {
        records: at_least_one("mailbox.records", &spec.mailbox.records, node, problems) as usize,
        bytes: u64::from(spec.mailbox.bytes) as usize,
    };
    let mut draft = Drafted {
        name: name.into(),
        node,
        inputs: spec.inputs,
        kind: None,
        connection: None,
        checked: None,
        limits,
        capacity,
    };
    let what = format!("stage `{name}`");
    let Some((kind, settings)) = kind_of(node, STAGE_FIELDS, &what, problems) else { return draft };
    let stages = &around.registry.stages;
    let Some(entry) = entry_of(stages, (kind, settings), node, "stage", around, problems) else { return draft };
    draft.kind = Some(Kind { name: entry.kind, role: entry.role, outlets: entry.outlets });
    draft.connection = settings.get("connection").and_then(Node::as_str).map(Arc::from);
    let inputs: Vec<String> = draft.inputs.iter().map(|input| input.value.clone()).collect();
    draft.checked = run_check(stages, entry, settings, name, &inputs, around, problems);
    draft
}

fn at_least_one(field: &str, value: &Located<u32>, node: &Node, problems: &mut Problems) -> u32 {
    if value.value == 0 {
        let problem = Problem::new(codes::INVALID_VALUE, format!("`{field}` must be at least 1"));
        problems.push(problem.at(field).hint("leave it out for the default").in_node(node));
    }
    value.value.max(1)
}
