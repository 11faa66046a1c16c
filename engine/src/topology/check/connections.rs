//! `connections:`: each by its kind.

use crate::context::{Connections, Declared, Topics};
use crate::registry::Registry;
use crate::topology::document::{Node, Problems};

use super::{Around, entry_of, kind_of, run_check};

/// The connections; those that are not good have their problems and are marked as flawed.
pub(super) fn check(root: &Node, registry: &Registry, problems: &mut Problems) -> Connections {
    let mut connections = Connections::with_command_sinks(registry.command_sinks.clone());
    let Some(node) = root.get("connections") else { return connections };
    for member in node.members() {
        let name = &*member.key.name;
        // One that is not good is there all the same: that it is missing would be no news to those who name it.
        let declared = check_one(name, &member.value, registry, problems);
        connections.declare(name, declared);
    }
    connections
}

fn check_one(name: &str, node: &Node, registry: &Registry, problems: &mut Problems) -> Declared {
    let (none, topics) = (Connections::new(), Topics::default());
    let what = format!("connection `{name}`");
    let Some((kind, spec)) = kind_of(node, &[], &what, problems) else { return Declared::flawed("") };
    let around = Around { registry, connections: &none, topics: &topics };
    let Some(entry) = entry_of(&registry.connections, (kind, spec), node, "connection", around, problems) else {
        return Declared::flawed("");
    };
    let checked = run_check(&registry.connections, entry, spec, name, &[], around, problems);
    checked.unwrap_or(Declared::flawed(entry.kind))
}
