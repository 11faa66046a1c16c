//! The tree, built event by event.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, ScalarStyle, StructureStyle};

use crate::topology::document::code::codes;
use crate::topology::document::limits::{MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_NODES};
use crate::topology::document::node::{Key, Member, Node, Scalar, Value};
use crate::topology::document::offsets::Offsets;
use crate::topology::document::path::FieldPath;
use crate::topology::document::problem::{Problem, Problems};
use crate::topology::document::scalar::resolve;
use crate::topology::document::source::{Source, Span};

/// Builds one document.
pub(super) struct Builder<'s> {
    source: &'s Source,
    open: Vec<Collection>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    copied_bytes: usize,
}

/// A list or mapping whose end has not come yet.
struct Collection {
    path: FieldPath,
    start: Span,
    flow: bool,
    anchor: usize,
    content: Content,
}

enum Content {
    Items(Vec<Node>),
    Members { members: Vec<Member>, known: HashMap<Arc<str>, usize>, next: Next },
}

/// What a mapping waits for.
enum Next {
    Key,
    Value(Key),
    /// The value, with this path, of a key that was refused. It is read and forgotten.
    Nothing(FieldPath),
}

impl<'s> Builder<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Builder { source, open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, copied_bytes: 0 }
    }

    pub(super) fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// The document; nothing at all is a document that is null.
    pub(super) fn finish(self) -> Option<Node> {
        let empty = || node(Value::Null, Span::default(), Span::default(), FieldPath::root());
        Some(self.root.unwrap_or_else(empty))
    }

    /// Takes the next event. `Err` is a broken limit.
    pub(super) fn event(
        &mut self,
        event: Event<'_>,
        span: granit_parser::Span,
        problems: &mut Problems,
    ) -> Result<(), Box<Problem>> {
        let place = super::place(&span);
        if let Some(tag) = span.tag_span() {
            let problem = Problem::new(codes::UNSUPPORTED_YAML, "tags are not used in topology files")
                .hint("remove the tag; to make a string of a number, quote it")
                .at(self.path())
                .span(super::place(&tag));
            problems.push(problem);
        }
        match event {
            Event::Scalar(text, style, anchor, _) => self.scalar(&text, style, place, anchor, problems),
            Event::SequenceStart(style, anchor, _) => {
                self.start(style, place, anchor, Content::Items(Vec::new()), problems)
            }
            Event::MappingStart(style, anchor, _) => {
                let content = Content::Members { members: Vec::new(), known: HashMap::new(), next: Next::Key };
                self.start(style, place, anchor, content, problems)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(place),
            Event::Alias(anchor) => self.alias(anchor, place, problems),
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor `&{name}` before this alias");
                let hint = "if the `*` is meant literally, quote the value";
                self.flawed(Problem::new(codes::UNSUPPORTED_YAML, message).hint(hint), place, problems)
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        span: Span,
        anchor: usize,
        problems: &mut Problems,
    ) -> Result<(), Box<Problem>> {
        // The span of a block scalar runs on to the next token.
        let written = self.source.slice(span).trim_end();
        let span = Span::new(span.start, span.start + written.len());
        if self.wants_key() {
            self.key(text, style, span, problems);
            return Ok(());
        }
        let plain = style == ScalarStyle::Plain;
        // An empty scalar is reported as `~` with nothing written.
        let value =
            if plain && written.is_empty() { Some(Value::Null) } else { plain.then(|| resolve(text)).flatten() };
        let scalar = match &value {
            Some(_) => Scalar { written: Some(written.into()), ..Scalar::default() },
            None => Scalar {
                quoted: matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted),
                offsets: Offsets::of(text, written, span.start),
                ..Scalar::default()
            },
        };
        let head = if written.is_empty() { self.owner().unwrap_or(span) } else { self.head(span) };
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        let node = Node { scalar, ..node(value, span, head, self.path()) };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node)
    }

    fn key(&mut self, name: &str, style: ScalarStyle, span: Span, problems: &mut Problems) {
        let path = self.path().field(name);
        let Some(Collection { content: Content::Members { members, known, next }, .. }) = self.open.last_mut() else {
            return;
        };
        if name == "<<" && style == ScalarStyle::Plain {
            let problem = Problem::new(codes::UNSUPPORTED_YAML, "merge keys (`<<`) are not used in topology files")
                .hint("write the fields out, or use an alias for a whole value")
                .at(path.clone().key())
                .span(span);
            problems.push(problem);
            *next = Next::Nothing(path);
        } else if let Some(first) = known.get(name) {
            let first = members[*first].key.span;
            let problem = Problem::new(codes::DUPLICATE_KEY, format!("`{name}` is given twice"))
                .hint("remove one of the two, or give it the name that was meant")
                .label("given again here")
                .related("first given here", path.clone().key(), Some(first))
                .at(path.clone().key())
                .span(span);
            problems.push(problem);
            *next = Next::Nothing(path);
        } else {
            *next = Next::Value(Key { name: name.into(), span });
        }
    }

    fn start(
        &mut self,
        style: StructureStyle,
        start: Span,
        anchor: usize,
        content: Content,
        problems: &mut Problems,
    ) -> Result<(), Box<Problem>> {
        if self.open.len() >= MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(self.limit(&message, start));
        }
        if self.wants_key() {
            let problem = Problem::new(codes::UNSUPPORTED_YAML, "a key must be a scalar")
                .hint("quote the key if its brackets are meant literally")
                .at(self.path())
                .span(self.source.first_line(start));
            problems.push(problem);
            // The collection is read as if it were a value, and forgotten with the value of the key that it is.
        }
        let flow = style == StructureStyle::Flow;
        self.open.push(Collection { path: self.path(), start, flow, anchor, content });
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), Box<Problem>> {
        let Some(Collection { path, start, flow, anchor, content }) = self.open.pop() else {
            return Ok(());
        };
        let (value, last) = match content {
            Content::Items(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::Sequence(items), last)
            }
            Content::Members { members, .. } => {
                let last = members.last().map(|member| member.value.span.end.max(member.key.span.end));
                (Value::Mapping(members), last)
            }
        };
        // A block collection ends with its last entry; its end event comes at the next token.
        let span = Span::new(start.start, if flow { end.end } else { last.unwrap_or(start.end) });
        if self.wants_key() {
            self.refuse_key();
            return Ok(());
        }
        let head = if flow { self.head(span) } else { self.owner().unwrap_or(self.source.first_line(span)) };
        let node = node(value, span, head, path);
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.add(node)
    }

    fn alias(&mut self, anchor: usize, span: Span, problems: &mut Problems) -> Result<(), Box<Problem>> {
        if self.wants_key() {
            let problem = Problem::new(codes::UNSUPPORTED_YAML, "a key must be a scalar")
                .hint("write the key out")
                .at(self.path())
                .span(span);
            problems.push(problem);
            self.refuse_key();
            return Ok(());
        }
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = "an alias inside the value that it repeats";
            return self.flawed(
                Problem::new(codes::UNSUPPORTED_YAML, message).hint("write the value out"),
                span,
                problems,
            );
        };
        let (mut nodes, mut bytes) = (0, 0);
        for node in anchored.walk() {
            nodes += 1;
            bytes += node.as_str().map_or(0, str::len) + node.members().iter().map(|m| m.key.name.len()).sum::<usize>();
        }
        self.copied_bytes += bytes;
        if self.nodes + nodes > MAX_NODES || self.copied_bytes > MAX_EXPANDED_BYTES {
            return Err(self.limit("aliases repeat more than a topology file may have", span));
        }
        if self.open.len() + depth(anchored) > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(self.limit(&message, span));
        }
        let mut copy = anchored.clone();
        set_paths(&mut copy, self.path());
        self.nodes += nodes - 1;
        self.add(copy)
    }

    /// Adds a value that means nothing, because `problem` is what it is.
    fn flawed(&mut self, problem: Problem, span: Span, problems: &mut Problems) -> Result<(), Box<Problem>> {
        if self.wants_key() {
            problems.push(problem.at(self.path()).span(span));
            self.refuse_key();
            return Ok(());
        }
        problems.push(problem.at(self.path()).span(span));
        self.add(Node { flawed: true, ..node(Value::Null, span, span, self.path()) })
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, node: Node) -> Result<(), Box<Problem>> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.limit("more values than a topology file may have", node.head));
        }
        match self.open.last_mut().map(|collection| &mut collection.content) {
            None => self.root = Some(node),
            Some(Content::Items(items)) => items.push(node),
            Some(Content::Members { members, known, next }) => {
                if let Next::Value(key) = std::mem::replace(next, Next::Key) {
                    known.insert(key.name.clone(), members.len());
                    members.push(Member { key, value: node });
                }
            }
        }
        Ok(())
    }

    fn limit(&self, message: &str, span: Span) -> Box<Problem> {
        let hint = "split the file, or repeat less by aliases";
        Box::new(Problem::new(codes::LIMIT, message).hint(hint).at(self.path()).span(span))
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Collection { content: Content::Members { next: Next::Key, .. }, .. }))
    }

    /// Makes the mapping forget the value that comes next: its key is none.
    fn refuse_key(&mut self) {
        let path = self.path();
        if let Some(Collection { content: Content::Members { next, .. }, .. }) = self.open.last_mut() {
            *next = Next::Nothing(path);
        }
    }

    /// The path of the value that comes next.
    fn path(&self) -> FieldPath {
        let Some(collection) = self.open.last() else {
            return FieldPath::root();
        };
        match &collection.content {
            Content::Items(items) => collection.path.index(items.len()),
            Content::Members { next: Next::Value(key), .. } => collection.path.field(key.name.clone()),
            Content::Members { next: Next::Nothing(path), .. } => path.clone(),
            Content::Members { next: Next::Key, .. } => collection.path.clone(),
        }
    }

    /// The key that the next value belongs to.
    fn owner(&self) -> Option<Span> {
        match &self.open.last()?.content {
            Content::Members { next: Next::Value(key), .. } => Some(key.span),
            _ => None,
        }
    }

    /// What stands for a value in a diagnostic.
    fn head(&self, span: Span) -> Span {
        let line = self.source.first_line(span);
        if line == span { span } else { self.owner().unwrap_or(line) }
    }
}

fn node(value: Value, span: Span, head: Span, path: FieldPath) -> Node {
    Node { value, span, head, path, scalar: Scalar::default(), flawed: false }
}

/// How many levels of lists and mappings a node has.
fn depth(node: &Node) -> usize {
    let below = node.items().iter().chain(node.members().iter().map(|member| &member.value)).map(depth).max();
    match node.value {
        Value::Sequence(_) | Value::Mapping(_) => 1 + below.unwrap_or_default(),
        _ => 0,
    }
}

fn set_paths(node: &mut Node, path: FieldPath) {
    match &mut node.value {
        Value::Sequence(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                set_paths(item, path.index(index));
            }
        }
        Value::Mapping(members) => {
            for member in members {
                set_paths(&mut member.value, path.field(member.key.name.clone()));
            }
        }
        _ => {}
    }
    node.path = path;
}
