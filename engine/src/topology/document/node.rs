//! The tree of a document: what was written, and where.

use std::fmt;
use std::sync::Arc;

use super::offsets::Offsets;
use super::path::{FieldPath, Part, Segment};
use super::redact::redact_url;
use super::source::Span;

/// A value of a document with its place.
///
/// A spec may hold a `Node` where the type of what is written depends on something else, such as the kind of a stage:
/// decoding stores the subtree as it is, and [`super::decode`] makes a typed value of it later, with the right paths
/// and places in its problems.
///
/// Equality is that of values; where they are written does not matter. `Debug` shows what was written, not what the
/// environment put in.
#[derive(Clone)]
pub struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
    pub(super) head: Span,
    pub(super) path: FieldPath,
    pub(super) scalar: Scalar,
    pub(super) flawed: bool,
}

/// What a node is.
///
/// `Debug` does not show strings, which may come from the environment; that of [`Node`] shows what was written.
#[derive(Clone, Default, PartialEq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// A string, with the environment put in.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order of the file. Keys are unique.
    Mapping(Vec<Member>),
}

/// A key of a mapping and its value.
#[derive(Clone, PartialEq)]
pub struct Member {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// A key and its place.
#[derive(Clone)]
pub struct Key {
    /// The text.
    pub name: Arc<str>,
    /// The place.
    pub span: Span,
}

/// What is known of a scalar besides its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Scalar {
    /// The text before resolving and substituting, where that differs from the value.
    pub(super) written: Option<Box<str>>,
    pub(super) quoted: bool,
    pub(super) from_env: bool,
    pub(super) offsets: Offsets,
}

impl Node {
    /// What it is.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The whole text of it.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The part of the text that stands for it in a diagnostic: all of it, if it is a scalar or in brackets and on one
    /// line; or else the key that it belongs to; or else its first line.
    pub fn head(&self) -> Span {
        self.head
    }

    /// Where it is in the document, by name.
    pub fn path(&self) -> &FieldPath {
        &self.path
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    /// Whether it is nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether it is a mapping.
    pub fn is_mapping(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    /// Whether it is a string in quotes.
    pub fn is_quoted(&self) -> bool {
        self.scalar.quoted
    }

    /// Whether the environment put something into this string. Its value is then never to be printed.
    pub fn is_from_env(&self) -> bool {
        self.scalar.from_env
    }

    /// Whether a problem with this very value has been reported already, so that its value means nothing.
    pub fn is_flawed(&self) -> bool {
        self.flawed
    }

    /// The elements, if it is a list; none otherwise.
    pub fn items(&self) -> &[Node] {
        if let Value::Sequence(items) = &self.value { items } else { &[] }
    }

    /// The keys and values, if it is a mapping; none otherwise.
    pub fn members(&self) -> &[Member] {
        if let Value::Mapping(members) = &self.value { members } else { &[] }
    }

    /// The key `name` and its value.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members().iter().find(|member| &*member.key.name == name)
    }

    /// The value of the key `name`.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.member(name).map(|member| &member.value)
    }

    /// The node that a path relative to this one names.
    pub fn find(&self, path: &FieldPath) -> Option<&Node> {
        path.segments().into_iter().try_fold(self, |node, segment| node.step(segment).map(|(_, child)| child))
    }

    /// The same mapping with only the keys that `keep` says.
    ///
    /// For a mapping whose fields are of two origins, such as what every stage has and the one field that is its kind:
    /// each part is decoded by its own type, and complains of no field of the other.
    pub fn filter(&self, keep: impl Fn(&str) -> bool) -> Node {
        let mut node = self.clone();
        if let Value::Mapping(members) = &mut node.value {
            members.retain(|member| keep(&member.key.name));
        }
        node
    }

    /// The place that a path relative to this node names. Where the path leads nowhere, the nearest thing above that
    /// exists; where bytes of a string cannot be told apart in the text, the whole string.
    pub fn locate(&self, path: &FieldPath) -> Span {
        let mut node = self;
        let mut key = None;
        for segment in path.segments() {
            let Some((member_key, child)) = node.step(segment) else {
                return node.head;
            };
            key = member_key;
            node = child;
        }
        match path.part() {
            Part::Value => node.head,
            Part::Key => key.map_or(node.head, |key| key.span),
            Part::Bytes(bytes) => {
                let exact = node.as_str().and_then(|value| node.scalar.offsets.locate(value, bytes));
                exact.unwrap_or(node.head)
            }
        }
    }

    fn step(&self, segment: &Segment) -> Option<(Option<&Key>, &Node)> {
        match segment {
            Segment::Field(name) => self.member(name).map(|member| (Some(&member.key), &member.value)),
            Segment::Index(index) => self.items().get(*index).map(|item| (None, item)),
        }
    }

    /// All nodes of this subtree, this one first.
    pub(super) fn walk(&self) -> impl Iterator<Item = &Node> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let node = waiting.pop()?;
            waiting.extend(node.items().iter().rev());
            waiting.extend(node.members().iter().rev().map(|member| &member.value));
            Some(node)
        })
    }

    /// The direct children, to change them.
    pub(super) fn children_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        let (items, members) = match &mut self.value {
            Value::Sequence(items) => (items.as_mut_slice(), Default::default()),
            Value::Mapping(members) => (Default::default(), members.as_mut_slice()),
            _ => Default::default(),
        };
        items.iter_mut().chain(members.iter_mut().map(|member| &mut member.value))
    }

    /// The text as it was written, without quotes; a value that is no scalar has none.
    pub(super) fn written(&self) -> Option<&str> {
        self.scalar.written.as_deref().or_else(|| self.as_str())
    }

    /// What it is, for a message: `the number 5`, `a mapping`. Never what the environment put in, nor a password.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Int(_) | Value::Float(_) => {
                format!("the number {}", self.written().unwrap_or("it"))
            }
            Value::String(_) if self.scalar.from_env => "a string from the environment".into(),
            Value::String(text) => format!("the string `{}`", shortened(text)),
            Value::Sequence(_) => "a list".into(),
            Value::Mapping(_) => "a mapping".into(),
        }
    }
}

/// A text fit for one line of a message.
pub(super) fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let text = redact_url(text);
    let mut short: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Sequence(items) => f.debug_list().entries(items).finish(),
            Value::Mapping(members) => f.debug_map().entries(members.iter().map(|m| (&m.key.name, &m.value))).finish(),
            Value::String(_) => write!(f, "{:?}", redact_url(self.written().unwrap_or_default())),
            Value::Null => f.write_str("null"),
            _ => f.write_str(self.written().unwrap_or_default()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("Null"),
            Value::Bool(value) => write!(f, "Bool({value})"),
            Value::Int(number) => write!(f, "Int({number})"),
            Value::Float(number) => write!(f, "Float({number:?})"),
            Value::String(text) => write!(f, "String({} bytes)", text.len()),
            Value::Sequence(items) => f.debug_tuple("Sequence").field(items).finish(),
            Value::Mapping(members) => f.debug_tuple("Mapping").field(members).finish(),
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.key.name, self.value)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
