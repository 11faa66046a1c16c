//! Kinds by name, each with one implementation or several.
//!
//! A kind may be implemented for more than one kind of connection: `kafka_router` writes to Kafka where the stage names a
//! `kafka` connection, and to the embedded log where it names an `embedded` one. Which implementation is meant is decided
//! by the spec's `connection` field before anything else of the spec is looked at, because each has fields of its own.

use std::collections::BTreeMap;

use crate::context::Connections;
use crate::topology::Node;

use super::Entry;

/// Kinds by name.
pub struct Kinds<T>(BTreeMap<&'static str, Vec<Entry<T>>>);

impl<T> Default for Kinds<T> {
    fn default() -> Self {
        Kinds(BTreeMap::new())
    }
}

impl<T> Kinds<T> {
    /// Adds an implementation.
    pub(super) fn insert(&mut self, entry: Entry<T>) {
        let implementations = self.0.entry(entry.kind).or_default();
        debug_assert!(
            implementations.iter().all(|known| known.connection != entry.connection),
            "`{}` has two implementations for connections of kind `{}`",
            entry.kind,
            entry.connection
        );
        implementations.push(entry);
    }

    /// The kinds' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.0.keys().copied()
    }

    /// Every kind with its implementations, of which there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[Entry<T>])> {
        self.0.iter().map(|(kind, implementations)| (*kind, implementations.as_slice()))
    }

    /// The kinds of connection that there is an implementation of `kind` for.
    pub(crate) fn connections_of(&self, kind: &str) -> Vec<&'static str> {
        let implementations = self.0.get(kind).into_iter().flatten();
        implementations.map(|entry| entry.connection).filter(|connection| !connection.is_empty()).collect()
    }

    /// The implementation that a spec means: the one for the kind of connection that it names.
    ///
    /// Where it names none, or one that nothing of this kind is for, the first one: its own check says what is wrong.
    pub fn choose(&self, kind: &str, spec: &Node, connections: &Connections) -> Option<&Entry<T>> {
        let implementations = self.0.get(kind)?;
        let named = spec.get("connection").and_then(Node::as_str).and_then(|name| connections.get(name));
        let meant = named.and_then(|named| implementations.iter().find(|entry| entry.connection == named.kind));
        meant.or(implementations.first())
    }
}
