//! What only shows between the stages: inputs, cycles, and which kinds may follow which.

use std::collections::BTreeMap;

use crate::registry::{MarksRole, Role};
use crate::stage::Outlet;
use crate::topology::document::{FieldPath, Node, Problem, Problems, suggest};
use crate::topology::plan::PlannedStage;

use super::stages::Drafted;
use super::{BAD_INPUT, CYCLE, UNKNOWN_STAGE, UNUSED};

/// Wires the stages and puts each behind those that feed it. `None` when that cannot be done.
pub(super) fn check(
    root: &Node,
    stages: BTreeMap<usize, Drafted<'_>>,
    problems: &mut Problems,
) -> Option<Vec<PlannedStage>> {
    let before = problems.len();
    let mut wires: BTreeMap<usize, Vec<(usize, Outlet)>> = BTreeMap::new();
    for (index, stage) in &stages {
        wires.insert(*index, inputs_of(stage, &stages, problems));
    }
    for (index, stage) in &stages {
        check_role(*index, stage, &stages, &wires, problems);
    }
    let order = order(&stages, &wires, root, problems)?;
    if problems.len() > before {
        return None;
    }
    let mut place = BTreeMap::new();
    for (at, index) in order.iter().enumerate() {
        place.insert(*index, at);
    }
    let mut stages = stages;
    let mut planned = Vec::with_capacity(order.len());
    for index in order {
        let draft = stages.remove(&index)?;
        let (kind, checked) = (draft.kind?, draft.checked?);
        planned.push(PlannedStage {
            name: draft.name,
            kind: kind.name,
            connection: draft.connection,
            factory: checked.factory,
            description: checked.description,
            outlets: std::iter::once("").chain(kind.outlets.iter().copied()).collect(),
            inputs: wires[&index].iter().map(|(from, outlet)| (place[from], *outlet)).collect(),
            limits: draft.limits,
            capacity: draft.capacity,
        });
    }
    Some(planned)
}

fn report(
    stage: &Drafted<'_>,
    at: FieldPath,
    code: &'static str,
    message: String,
    hint: String,
    problems: &mut Problems,
) {
    problems.push(Problem::new(code, message).at(at).hint(hint).in_node(stage.node));
}

/// The stages and outlets that a stage's inputs name.
fn inputs_of(
    stage: &Drafted<'_>,
    stages: &BTreeMap<usize, Drafted<'_>>,
    problems: &mut Problems,
) -> Vec<(usize, Outlet)> {
    let mut found = Vec::new();
    for (number, input) in stage.inputs.iter().enumerate() {
        let at = FieldPath::root().field("inputs").index(number);
        let (name, outlet) = input.value.split_once('.').unwrap_or((&input.value, ""));
        let Some((index, feeder)) = stages.iter().find(|(_, s)| *s.name == *name) else {
            let names = stages.values().map(|s| &*s.name).filter(|n| **n != *stage.name);
            let hint = match suggest(name, names.clone()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("stages here: {}", names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")),
            };
            report(stage, at, UNKNOWN_STAGE, format!("there is no stage `{name}`"), hint, problems);
            continue;
        };
        let Some(kind) = feeder.kind else { continue };
        if kind.role == Role::Sink {
            let message = format!("stage `{name}` is a sink (`{}`) and has no outlet", kind.name);
            report(stage, at, BAD_INPUT, message, "take the stage that feeds it instead".to_owned(), problems);
            continue;
        }
        let number = match outlet {
            "" => Some(0),
            named => kind.outlets.iter().position(|o| *o == named).map(|o| o + 1),
        };
        let Some(number) = number else {
            let hint = match kind.outlets {
                [] => format!("`{name}` has only its main outlet: write `{name}`"),
                outlets => format!(
                    "outlets of `{name}`: {}",
                    outlets.iter().map(|o| format!("`{name}.{o}`")).collect::<Vec<_>>().join(", ")
                ),
            };
            report(stage, at, UNKNOWN_STAGE, format!("stage `{name}` has no outlet `{outlet}`"), hint, problems);
            continue;
        };
        let wire = (*index, Outlet(number as u8));
        if found.contains(&wire) {
            let message = format!("input `{}` is named twice", input.value);
            report(stage, at, BAD_INPUT, message, "name it once: records would arrive twice".to_owned(), problems);
        } else {
            found.push(wire);
        }
    }
    found
}

fn check_role(
    index: usize,
    stage: &Drafted<'_>,
    stages: &BTreeMap<usize, Drafted<'_>>,
    wires: &BTreeMap<usize, Vec<(usize, Outlet)>>,
    problems: &mut Problems,
) {
    let Some(kind) = stage.kind else { return };
    let name = &stage.name;
    if kind.role == Role::Source && !stage.inputs.is_empty() {
        let message = format!("stage `{name}` is a source (`{}`) and takes no inputs", kind.name);
        let hint = "remove `inputs`; a source reads what its own settings name".to_owned();
        report(stage, FieldPath::root().field("inputs"), BAD_INPUT, message, hint, problems);
    }
    if kind.role != Role::Source && stage.inputs.is_empty() {
        let message = format!("stage `{name}` has no inputs");
        let hint = "name the stages that feed it: `inputs: [ingress]`".to_owned();
        report(stage, FieldPath::root(), BAD_INPUT, message, hint, problems);
    }
    let taken = wires.values().flatten().any(|(from, _)| *from == index);
    if kind.role != Role::Sink && !taken {
        let message = format!("nothing takes what stage `{name}` emits");
        let hint = format!("name it as an input: `inputs: [{name}]`, or remove it");
        report(stage, FieldPath::root(), UNUSED, message, hint, problems);
    }
    if kind.role == Role::Keyed {
        for (number, (from, _)) in wires[&index].iter().enumerate() {
            let Some(feeder) = stages.get(from) else { continue };
            let keeps_positions =
                |f: &Drafted<'_>| f.checked.as_ref().is_none_or(|c| c.description.marks != MarksRole::Emits);
            let fits = match feeder.kind.map(|k| k.role) {
                Some(Role::Source) => keeps_positions(feeder),
                Some(Role::Keyed) | None => true,
                _ => false,
            };
            if !fits {
                let message = format!("keyed stage `{name}` cannot hang on `{}`", feeder.name);
                let hint = "let it follow a source that reads a log, such as `kafka_source`, or another keyed stage"
                    .to_owned();
                report(stage, FieldPath::root().field("inputs").index(number), BAD_INPUT, message, hint, problems);
            }
        }
    }
}

/// The stages in an order in which each stands behind those that feed it.
fn order(
    stages: &BTreeMap<usize, Drafted<'_>>,
    wires: &BTreeMap<usize, Vec<(usize, Outlet)>>,
    root: &Node,
    problems: &mut Problems,
) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(stages.len());
    while order.len() < stages.len() {
        let ready = stages
            .keys()
            .find(|index| !order.contains(index) && wires[index].iter().all(|(from, _)| order.contains(from)));
        match ready {
            Some(index) => order.push(*index),
            None => {
                report_cycle(stages, wires, &order, root, problems);
                return None;
            }
        }
    }
    Some(order)
}

fn report_cycle(
    stages: &BTreeMap<usize, Drafted<'_>>,
    wires: &BTreeMap<usize, Vec<(usize, Outlet)>>,
    done: &[usize],
    root: &Node,
    problems: &mut Problems,
) {
    // Going upstream from any stage that could not be placed ends in a circle.
    let Some(start) = stages.keys().find(|index| !done.contains(index)) else { return };
    let mut path = vec![*start];
    while let Some((from, _)) = path.last().and_then(|at| wires[at].iter().find(|(from, _)| !done.contains(from))) {
        if let Some(at) = path.iter().position(|seen| seen == from) {
            path.drain(..at);
            break;
        }
        path.push(*from);
    }
    path.reverse();
    let first = path.iter().copied().min().unwrap_or(*start);
    while path.first() != Some(&first) {
        path.rotate_left(1);
    }
    let names: Vec<String> = path.iter().chain(path.first()).map(|index| format!("`{}`", stages[index].name)).collect();
    let at = FieldPath::root().field("stages").field(&*stages[&first].name).field("inputs");
    let problem = Problem::new(CYCLE, format!("stages feed each other in a circle: {}", names.join(" → ")));
    problems.push(problem.at(at).hint("remove one of these inputs: records flow from sources to sinks").in_node(root));
}
