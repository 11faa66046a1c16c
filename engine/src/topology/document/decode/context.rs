//! What the rounds of one decoding know: which nodes are poisoned, and what has been reported.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::error::{Failure, Owner};
use crate::topology::document::code::codes;
use crate::topology::document::node::{Member, Node, shortened};
use crate::topology::document::problem::{Problem, Problems};
use crate::topology::document::suggest::suggest;

/// Which node: its address. The tree is borrowed, so nodes do not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeId(usize);

impl NodeId {
    pub(super) fn of(node: &Node) -> Self {
        NodeId(std::ptr::from_ref(node).addr())
    }
}

/// How a node is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// As it is.
    Sound,
    /// A stand-in is given in its place.
    StandIn,
    /// As if it were not there.
    Absent,
}

/// Shared by all deserializers of one decoding.
pub(super) struct Context<'p> {
    poisoned: RefCell<HashMap<NodeId, Status>>,
    /// By mapping: the fields that are given stand-ins because they are missing.
    missing: RefCell<HashMap<NodeId, Vec<&'static str>>>,
    /// By mapping: the fields that unknown ones were probably meant to be.
    meant: RefCell<HashMap<NodeId, Vec<&'static str>>>,
    unknown: RefCell<HashSet<NodeId>>,
    problems: RefCell<&'p mut Problems>,
    clean: Cell<bool>,
}

impl<'p> Context<'p> {
    pub(super) fn new(problems: &'p mut Problems) -> Self {
        Context {
            poisoned: RefCell::default(),
            missing: RefCell::default(),
            meant: RefCell::default(),
            unknown: RefCell::default(),
            problems: RefCell::new(problems),
            clean: Cell::new(true),
        }
    }

    /// Whether nothing wrong was met.
    pub(super) fn is_clean(&self) -> bool {
        self.clean.get()
    }

    /// How a node is to be read. One with a problem from before is poisoned from the start.
    pub(super) fn status(&self, node: &Node) -> Status {
        if node.flawed {
            self.clean.set(false);
        }
        let sound = if node.flawed { Status::StandIn } else { Status::Sound };
        self.poisoned.borrow().get(&NodeId::of(node)).copied().unwrap_or(sound)
    }

    /// The fields of a mapping that are given stand-ins because they are missing.
    pub(super) fn missing_fields(&self, node: &Node) -> Vec<&'static str> {
        self.missing.borrow().get(&NodeId::of(node)).cloned().unwrap_or_default()
    }

    /// Whether an error at this node may be the consequence of one that is known.
    pub(super) fn is_tainted(&self, node: &Node) -> bool {
        let poisoned = self.poisoned.borrow();
        let missing = self.missing.borrow();
        node.walk().any(|below| {
            let id = NodeId::of(below);
            missing.contains_key(&id) || (id != NodeId::of(node) && (below.flawed || poisoned.contains_key(&id)))
        })
    }

    /// Reports a field that the struct does not have, once.
    pub(super) fn unknown_field(&self, mapping: &Node, member: &Member, fields: &'static [&'static str]) {
        self.clean.set(false);
        if !self.unknown.borrow_mut().insert(NodeId::of(&member.value)) {
            return;
        }
        let name = &*member.key.name;
        let problem = Problem::new(codes::UNKNOWN_FIELD, format!("unknown field `{}`", shortened(name)))
            .at(mapping.path().field(member.key.name.clone()).key())
            .span(member.key.span);
        if self.problems.borrow().is_full() {
            // Only counted, so not worth the search for a hint.
            return self.problems.borrow_mut().push(problem);
        }
        let free = fields.iter().copied().filter(|field| mapping.get(field).is_none());
        let hint = match suggest(name, free) {
            Some(field) => {
                self.meant.borrow_mut().entry(NodeId::of(mapping)).or_default().push(field);
                format!("did you mean `{field}`?")
            }
            None if fields.is_empty() => "it has no fields".to_owned(),
            None => format!("its fields are {}", listed(fields)),
        };
        self.problems.borrow_mut().push(problem.hint(hint));
    }

    /// Records what ended a round and poisons what caused it. Whether another round is worth it.
    pub(super) fn settle(&self, failure: Failure, root: &Node) -> bool {
        self.clean.set(false);
        let goes_on = match failure {
            Failure::Problem { node, problem, consequence, skip } => {
                if !consequence {
                    self.problems.borrow_mut().push(*problem);
                }
                self.poison(node, skip)
            }
            Failure::Missing { mapping, field, problem, consequence } => {
                let known = self.missing_fields_of(mapping).contains(&field);
                if consequence || known {
                    self.poison(mapping, false)
                } else {
                    self.missing.borrow_mut().entry(mapping).or_default().push(field);
                    // It is not missing where it is misspelt, and that has been said.
                    if !self.meant.borrow().get(&mapping).is_some_and(|meant| meant.contains(&field)) {
                        self.problems.borrow_mut().push(*problem);
                    }
                    true
                }
            }
            Failure::StandIn(Owner::Node(node)) => self.poison(node, true),
            Failure::StandIn(Owner::Field(mapping)) | Failure::Consequence(mapping) => self.poison(mapping, false),
        };
        goes_on && self.status(root) == Status::Sound && !self.problems.borrow().is_full()
    }

    /// Takes a node one step from sound to absent, or all the way. False when it was absent already: another round
    /// would then end as this one did.
    fn poison(&self, node: NodeId, all_the_way: bool) -> bool {
        let mut poisoned = self.poisoned.borrow_mut();
        let next = if all_the_way || poisoned.contains_key(&node) { Status::Absent } else { Status::StandIn };
        poisoned.insert(node, next) != Some(Status::Absent)
    }

    fn missing_fields_of(&self, mapping: NodeId) -> Vec<&'static str> {
        self.missing.borrow().get(&mapping).cloned().unwrap_or_default()
    }
}

/// Words for a message: `` `a`, `b` and `c` ``.
pub(super) fn listed(words: &[&str]) -> String {
    const MOST: usize = 16;
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        all if all.len() > MOST => format!("{}, …", all[..MOST].join(", ")),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}
