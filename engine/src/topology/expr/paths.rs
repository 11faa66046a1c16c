//! The fields that expressions name, gathered so that a message is read once for all of them.
//!
//! [`Fields`] collects the paths of several expressions, each path once. Frozen, it is a [`FieldPlan`]: a tree of the
//! names, in which reading (in `extract`) goes down only where something is wanted.

use std::fmt::{self, Display, Formatter};

use super::check::{Checked, CheckedKind, check};
use super::error::{ExprError, codes};
use super::parse::parse;
use super::print::quoted;
use super::scope::Scope;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A key of an object.
    Key(Box<str>),
    /// An item of a list, counted from zero.
    Index(u32),
}

/// Where a field stands in the payload; empty for the payload itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Path {
    segments: Vec<Segment>,
}

impl Path {
    /// Reads a path as an expression writes it: `payload.list[0]["odd name"]`.
    ///
    /// # Errors
    /// What is wrong with the text, or that it is an expression other than a path.
    pub fn parse(text: &str) -> Result<Self, Vec<ExprError>> {
        let tree = parse(text).map_err(|error| vec![error])?;
        match check(&tree, &Scope::rule())? {
            Checked {
                kind: CheckedKind::Path(path),
                ..
            } => Ok(path),
            _ => Err(vec![
                ExprError::new(
                    codes::UNSUPPORTED,
                    0..text.len(),
                    "only a field of the message can stand here",
                )
                .hint("write it as `payload.field`"),
            ]),
        }
    }

    /// The steps from the payload to the field.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.segments.push(segment);
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("payload")?;
        for segment in &self.segments {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Segment::Key(key) => {
                    f.write_str("[")?;
                    quoted(f, key)?;
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a key can follow a dot.
fn is_plain(key: &str) -> bool {
    let word = |found: char| found.is_ascii_alphanumeric() || found == '_';
    key.chars().all(word)
        && key.starts_with(|first: char| !first.is_ascii_digit())
        && !matches!(key, "true" | "false" | "null" | "in")
}

/// The place of a field in [`Slots`](super::Slots).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotId(pub(super) u32);

impl SlotId {
    /// The position in the slice of slots.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Collects the fields of the expressions that read the same messages.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    paths: Vec<Path>,
}

impl Fields {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The slot of `path`, a new one if no expression named it before.
    pub fn add(&mut self, path: &Path) -> SlotId {
        let known = self.paths.iter().position(|known| known == path);
        let index = known.unwrap_or_else(|| {
            self.paths.push(path.clone());
            self.paths.len() - 1
        });
        SlotId(index as u32)
    }

    /// Forgets all but the first `len` fields: those of an expression that turned out to be wrong.
    pub(super) fn truncate(&mut self, len: usize) {
        self.paths.truncate(len);
    }

    /// How many different fields are named.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether no field is named: then a message need not be read at all.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The plan that reads all of them in one pass.
    pub fn freeze(self) -> FieldPlan {
        let mut nodes = vec![PlanNode::default()];
        for (index, path) in self.paths.iter().enumerate() {
            let slot = SlotId(index as u32);
            let mut at = 0;
            for segment in &path.segments {
                let next = nodes.len();
                let child = nodes[at].child(segment, next);
                if child == next {
                    nodes.push(PlanNode::default());
                }
                nodes[child].below.push(slot);
                at = child;
            }
            nodes[at].slot = Some(slot);
        }
        for node in &mut nodes {
            node.items.sort_unstable();
        }
        FieldPlan {
            nodes,
            paths: self.paths,
        }
    }
}

/// What to read of a message; shared by all expressions that were compiled with the same [`Fields`].
#[derive(Debug, Clone)]
pub struct FieldPlan {
    pub(super) nodes: Vec<PlanNode>,
    paths: Vec<Path>,
}

impl FieldPlan {
    /// How many fields are read.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing is read.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The fields, in the order of their slots.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }
}

/// A place in a message below which, or at which, something is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct PlanNode {
    pub(super) slot: Option<SlotId>,
    /// Wanted keys of an object, with their nodes.
    pub(super) keys: Vec<(Box<str>, usize)>,
    /// Wanted items of a list, with their nodes, ascending.
    pub(super) items: Vec<(u32, usize)>,
    /// All slots from here on downwards: cleared when a key comes a second time, because the last one counts.
    pub(super) below: Vec<SlotId>,
}

impl PlanNode {
    /// The node of `segment` below this one; `next` if there is none yet.
    fn child(&mut self, segment: &Segment, next: usize) -> usize {
        match segment {
            Segment::Key(key) => match self.keys.iter().find(|(known, _)| known == key) {
                Some((_, child)) => *child,
                None => {
                    self.keys.push((key.clone(), next));
                    next
                }
            },
            Segment::Index(index) => match self.items.iter().find(|(known, _)| known == index) {
                Some((_, child)) => *child,
                None => {
                    self.items.push((*index, next));
                    next
                }
            },
        }
    }
}
