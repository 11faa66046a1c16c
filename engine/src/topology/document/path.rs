//! Where in a document something is, by name: `stages.alerts.alert_evaluator.rules[1].expr`.
//!
//! A check that is handed a typed value knows no line numbers. It names the field it means by a path relative to that
//! value, and [`super::Node::locate`] finds the place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The value of a key.
    Field(Arc<str>),
    /// An element of a list, from 0.
    Index(usize),
}

/// A path of keys and indices from a node down. The empty path is the node itself.
///
/// A path may end more precisely than at a value: at the key ([`FieldPath::key`]), or at some bytes of a string
/// ([`FieldPath::within`]), such as one word of an expression.
///
/// Clones and extensions share their beginning. `&str` and `String` convert, as written in the example above; a field
/// whose name is not made of letters, digits, `_`, `-`, `/` and `$` is written `["a.b"]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FieldPath {
    last: Option<Arc<Link>>,
    part: Part,
}

#[derive(PartialEq, Eq)]
struct Link {
    parent: Option<Arc<Link>>,
    segment: Segment,
}

/// What of the node at the end of the path is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    #[default]
    Value,
    Key,
    Bytes(Range<usize>),
}

impl FieldPath {
    /// The empty path.
    pub fn root() -> Self {
        FieldPath::default()
    }

    /// The value of the key `name` of what this path names.
    pub fn field(&self, name: impl Into<Arc<str>>) -> Self {
        self.push(Segment::Field(name.into()))
    }

    /// The element `index` of what this path names.
    pub fn index(&self, index: usize) -> Self {
        self.push(Segment::Index(index))
    }

    /// The key itself, rather than its value.
    pub fn key(mut self) -> Self {
        self.part = Part::Key;
        self
    }

    /// Bytes of the string at this path, counted in the string's value.
    pub fn within(mut self, bytes: Range<usize>) -> Self {
        self.part = Part::Bytes(bytes);
        self
    }

    /// `relative`, seen from what this path names.
    pub fn join(&self, relative: &FieldPath) -> Self {
        let mut joined = relative.segments().into_iter().fold(self.clone(), |path, segment| path.push(segment.clone()));
        joined.part = relative.part.clone();
        joined
    }

    /// The steps, from the root down.
    pub fn segments(&self) -> Vec<&Segment> {
        let mut segments = Vec::new();
        let mut next = self.last.as_deref();
        while let Some(link) = next {
            segments.push(&link.segment);
            next = link.parent.as_deref();
        }
        segments.reverse();
        segments
    }

    /// Whether this is the empty path.
    pub fn is_root(&self) -> bool {
        self.last.is_none()
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    fn push(&self, segment: Segment) -> Self {
        FieldPath { last: Some(Arc::new(Link { parent: self.last.clone(), segment })), part: Part::Value }
    }
}

impl From<&str> for FieldPath {
    /// Reads what [`FieldPath`]'s `Display` writes. What cannot be read as a path is taken as the name of one field:
    /// locating it finds the nearest thing that exists.
    fn from(text: &str) -> Self {
        read(text).unwrap_or_else(|| FieldPath::root().field(text))
    }
}

impl From<String> for FieldPath {
    fn from(text: String) -> Self {
        FieldPath::from(text.as_str())
    }
}

impl From<&FieldPath> for FieldPath {
    fn from(path: &FieldPath) -> Self {
        path.clone()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.segments().into_iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Field(name) if !is_plain(name) => write!(f, "[{name:?}]")?,
                Segment::Field(name) if position == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FieldPath(`{self}`, {:?})", self.part)
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/' | '$'))
}

/// More steps than any document has levels: links are dropped recursively, so their number has to be bounded.
const MAX_STEPS: usize = 2 * super::limits::MAX_DEPTH;

fn read(text: &str) -> Option<FieldPath> {
    let mut path = FieldPath::root();
    let mut rest = text;
    let mut steps = 0;
    while !rest.is_empty() {
        steps += 1;
        if steps > MAX_STEPS {
            return None;
        }
        if let Some(quoted) = rest.strip_prefix("[\"") {
            let (name, behind) = quoted.split_once("\"]")?;
            path = path.field(name);
            rest = behind;
        } else if let Some(bracketed) = rest.strip_prefix('[') {
            let (index, behind) = bracketed.split_once(']')?;
            path = path.index(index.parse().ok()?);
            rest = behind;
        } else {
            let name = if path.is_root() { rest } else { rest.strip_prefix('.')? };
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            path = path.field(&name[..end]);
            rest = &name[end..];
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_path_convert_into_each_other() {
        for text in ["", "stages", "stages.alerts.alert_evaluator.rules[1].expr", "[0][2].a", "a[\"b.c\"].d"] {
            assert_eq!(FieldPath::from(text).to_string(), text);
        }
        let built = FieldPath::root().field("rules").index(1).field("expr");
        assert_eq!(FieldPath::from("rules[1].expr"), built);
    }

    #[test]
    fn what_is_no_path_is_one_field() {
        for text in ["a..b", "a[x]", "a[0", ".a", "[\"a"] {
            assert_eq!(FieldPath::from(text), FieldPath::root().field(text), "{text}");
        }
    }

    #[test]
    fn a_path_of_any_length_can_be_read_and_dropped() {
        assert_eq!(FieldPath::from("a.".repeat(1_000_000) + "a").segments().len(), 1);
    }

    #[test]
    fn joining_keeps_the_part_of_the_relative_path() {
        let joined = FieldPath::from("stages.alerts").join(&FieldPath::from("rules[1]").within(2..4));
        assert_eq!(joined.to_string(), "stages.alerts.rules[1]");
        assert_eq!(joined.part(), &Part::Bytes(2..4));
    }
}
