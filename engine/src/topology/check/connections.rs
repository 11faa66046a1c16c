//! `connections:`: each by its kind.

use std::any::Any;
use std::sync::Arc;

use crate::context::{Connections, FLAWED, Topics};
use crate::registry::Registry;
use crate::topology::document::{Node, Problems};

use super::{entry_of, kind_of, run_check};

/// A connection's kind and value.
type Connection = (&'static str, Arc<dyn Any + Send + Sync>);

/// The connections; those that are not good have their problems and are marked as flawed.
pub(super) fn check(root: &Node, registry: &Registry, problems: &mut Problems) -> Connections {
    let mut connections = Connections::new();
    let Some(node) = root.get("connections") else { return connections };
    for member in node.members() {
        let name = &*member.key.name;
        let connection = check_one(name, &member.value, registry, problems);
        // One that is not good is there all the same: that it is missing would be no news to those who name it.
        connections.insert(name.to_owned(), connection.unwrap_or((FLAWED, Arc::new(()))));
    }
    connections
}

fn check_one(name: &str, node: &Node, registry: &Registry, problems: &mut Problems) -> Option<Connection> {
    let (none, topics) = (Connections::new(), Topics::default());
    let (kind, spec) = kind_of(node, &[], &format!("connection `{name}`"), problems)?;
    let entry = entry_of(&registry.connections, kind, node, "connection", problems)?;
    let connection = run_check(entry, spec, name, &[], (&none, &topics), problems)?;
    Some((entry.kind, connection))
}
