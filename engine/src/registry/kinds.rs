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
pub struct Kinds<T> {
    known: BTreeMap<&'static str, Vec<Entry<T>>>,
    left_out: BTreeMap<&'static str, &'static str>,
}

impl<T> Default for Kinds<T> {
    fn default() -> Self {
        Kinds { known: BTreeMap::new(), left_out: BTreeMap::new() }
    }
}

impl<T> Kinds<T> {
    /// Adds an implementation.
    pub(super) fn insert(&mut self, entry: Entry<T>) {
        let implementations = self.known.entry(entry.kind).or_default();
        debug_assert!(
            implementations.iter().all(|known| known.connection != entry.connection),
            "`{}` has two implementations for connections of kind `{}`",
            entry.kind,
            entry.connection
        );
        implementations.push(entry);
    }

    /// Notes that this build does without a kind, and the cargo feature that brings it.
    pub fn leave_out(&mut self, kind: &'static str, feature: &'static str) {
        self.left_out.insert(kind, feature);
    }

    /// The cargo feature that brings a kind which this build does without.
    pub(crate) fn feature_of(&self, kind: &str) -> Option<&'static str> {
        self.left_out.get(kind).copied()
    }

    /// The kinds' names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.known.keys().copied()
    }

    /// Every kind with its implementations, of which there is at least one.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[Entry<T>])> {
        self.known.iter().map(|(kind, implementations)| (*kind, implementations.as_slice()))
    }

    /// The kinds of connection that there is an implementation of `kind` for.
    pub(crate) fn connections_of(&self, kind: &str) -> Vec<&'static str> {
        let implementations = self.known.get(kind).into_iter().flatten();
        implementations.map(|entry| entry.connection).filter(|connection| !connection.is_empty()).collect()
    }

    /// The implementation that a spec means: the one for the kind of connection that it names.
    ///
    /// Where it names none, or one that nothing of this kind is for, the first one: its own check says what is wrong.
    pub fn choose(&self, kind: &str, spec: &Node, connections: &Connections) -> Option<&Entry<T>> {
        let implementations = self.known.get(kind)?;
        let named = spec.get("connection").and_then(Node::as_str).and_then(|name| connections.get(name));
        let meant = named.and_then(|named| implementations.iter().find(|entry| entry.connection == named.kind));
        meant.or(implementations.first())
    }
}
