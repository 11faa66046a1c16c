//! `connections:`: each by its kind.

use crate::context::{Connections, Topics};
use crate::registry::Registry;
use crate::topology::document::{Node, Problems};

use super::{entry_of, kind_of, run_check};

/// The connections that are good; those that are not have their problems.
pub(super) fn check(root: &Node, registry: &Registry, problems: &mut Problems) -> Connections {
    let mut connections = Connections::new();
    let Some(node) = root.get("connections") else { return connections };
    let (none, topics) = (Connections::new(), Topics::default());
    for member in node.members() {
        let name = &*member.key.name;
        let what = format!("connection `{name}`");
        let Some((kind, spec)) = kind_of(&member.value, &[], &what, problems) else { continue };
        let Some(entry) = entry_of(&registry.connections, kind, &member.value, "connection", problems) else {
            continue;
        };
        if let Some(connection) = run_check(entry, spec, name, &[], (&none, &topics), problems) {
            connections.insert(name.to_owned(), (entry.kind, connection));
        }
    }
    connections
}
