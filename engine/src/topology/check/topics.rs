//! `topics:`: defaults, and the topics that differ from them.

use super::problem_of;
use crate::context::{CheckContext, Connections, Declared, TopicDecl, Topics};
use crate::registry::Registry;
use crate::topology::document::{Located, Node, Problem, Problems, codes, decode};
use crate::topology::spec::TopicSpec;

/// The most partitions that a topic may have here.
const MAX_PARTITIONS: u32 = 4096;

/// The topics; what is wrong with them has its problem already when the file was decoded.
pub(super) fn check(root: &Node, registry: &Registry, connections: &Connections, problems: &mut Problems) -> Topics {
    let mut topics = Topics::default();
    let Some(node) = root.get("topics") else { return topics };
    // The whole was decoded before, and reported what is wrong: here only what is good is of interest.
    let mut known = Problems::new();
    let mut spec_of = |node: &Node| decode::<TopicSpec>(node, &mut known);
    if let Some(spec) = node.get("defaults").and_then(&mut spec_of) {
        if let Some(named) = &spec.connection {
            leads_to_a_log(named, registry, connections, problems);
        }
        topics.defaults = apply(&spec, &topics.defaults.clone(), "topics.defaults", problems);
    }
    for member in node.members().iter().filter(|m| *m.key.name != *"defaults") {
        let name = &*member.key.name;
        let Some(spec) = spec_of(&member.value) else { continue };
        if let Some(connection) = &spec.connection {
            let problem =
                Problem::new(codes::INVALID_VALUE, format!("topic `{name}` cannot name a connection of its own"));
            let hint = "one topology writes to one log: name its connection under `topics.defaults`";
            problems.push(problem.at(format!("topics.{name}.connection").as_str()).span(connection.span).hint(hint));
        }
        let base = TopicDecl { name: name.to_owned(), ..topics.defaults.clone() };
        let declared = apply(&spec, &base, &format!("topics.{name}"), problems);
        topics.declared.insert(name.to_owned(), declared);
    }
    topics
}

/// The connection under `topics.defaults` must be there and lead to something that has topics.
fn leads_to_a_log(named: &Located<String>, registry: &Registry, connections: &Connections, problems: &mut Problems) {
    let kinds: Vec<&str> = registry.logs.iter().copied().collect();
    // Of a connection whose kind is not known nothing more is to be said.
    let fits = |declared: &Declared| declared.kind.is_empty() || kinds.contains(&declared.kind);
    if connections.get(&named.value).is_some_and(fits) {
        return;
    }
    let (mut found, topics) = (Vec::new(), Topics::default());
    let mut cx = CheckContext { name: "topics", inputs: &[], connections, topics: &topics, problems: &mut found };
    cx.no_connection("topics.defaults.connection", &named.value, &kinds);
    found.into_iter().for_each(|field| problems.push(problem_of(field).span(named.span)));
}

fn apply(spec: &TopicSpec, base: &TopicDecl, path: &str, problems: &mut Problems) -> TopicDecl {
    let mut number = |field: &str, value: &Option<Located<u32>>, max: u32| {
        let value = value.as_ref()?;
        if (1..=max).contains(&value.value) {
            return Some(value.value as i32);
        }
        let message = format!("`{field}` is {}, but must be from 1 to {max}", value.value);
        let problem =
            Problem::new(codes::INVALID_VALUE, message).at(format!("{path}.{field}").as_str()).span(value.span);
        problems.push(problem.hint(format!("write a number from 1 to {max}")));
        None
    };
    TopicDecl {
        name: base.name.clone(),
        partitions: number("partitions", &spec.partitions, MAX_PARTITIONS).unwrap_or(base.partitions),
        replication: number("replication", &spec.replication, 32).unwrap_or(base.replication),
        min_insync_replicas: number("min_insync_replicas", &spec.min_insync_replicas, 32).or(base.min_insync_replicas),
        retention: spec.retention.map(|d| d.get()).or(base.retention),
        max_message_bytes: spec.max_message_size.map(u64::from).or(base.max_message_bytes),
    }
}
