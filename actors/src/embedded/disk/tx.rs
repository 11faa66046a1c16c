//! What a closure that reads or writes the data directory is given.
//!
//! A [`Tx`] sees what is durable and, above it, what the group that is being gathered has written so far: its own writes
//! and those of the closures before it. A closure that refuses takes back its own writes and no others.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use fjall::{Readable, Slice, Snapshot};

use super::error::DiskError;
use super::opened::Opened;
use super::{Row, Space};

/// Reading, the same way from what is durable ([`View`]) and from within a write ([`Tx`]). All of it blocks, which the
/// closures that are given one may do: they never run on an arbiter.
pub trait Read {
    /// The value of a key.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// The rows whose keys are in a range, in the order of their bytes.
    fn rows(&self, space: Space, range: KeyRange) -> Rows<'_>;

    /// As [`Read::rows`], from the end.
    fn rows_back(&self, space: Space, range: KeyRange) -> Rows<'_>;
}

/// Rows as they are read; one that cannot be is an error, and the last.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, DiskError>> + 'a>;

/// A range of keys.
#[derive(Clone, Debug)]
pub struct KeyRange(Bound<Bytes>, Bound<Bytes>);

impl KeyRange {
    /// From a key on, up to and without another.
    pub fn between(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Self {
        KeyRange(Bound::Included(from.into()), Bound::Excluded(to.into()))
    }

    /// All keys that begin with these bytes.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let last = prefix.iter().rposition(|byte| *byte < u8::MAX);
        let end = last.map_or(Bound::Unbounded, |at| {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            Bound::Excluded(end.into())
        });
        KeyRange(Bound::Included(prefix), end)
    }

    /// The same without the keys below `from`.
    pub fn starting_at(self, from: impl Into<Bytes>) -> Self {
        KeyRange(Bound::Included(from.into()), self.1)
    }

    fn as_slices(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.0.as_ref().map(|key| &**key), self.1.as_ref().map(|key| &**key))
    }

    fn is_empty(&self) -> bool {
        match (&self.0, &self.1) {
            (Bound::Included(from), Bound::Excluded(to)) => from >= to,
            _ => false,
        }
    }
}

/// What is durable, all of one instant.
pub struct View<'a> {
    opened: &'a Opened,
    snapshot: Snapshot,
}

impl<'a> View<'a> {
    pub(super) fn new(opened: &'a Opened) -> Self {
        View { opened, snapshot: opened.snapshot() }
    }

    fn range(&self, space: Space, range: &KeyRange, back: bool) -> Rows<'_> {
        let Some(keyspace) = self.opened.space(space).filter(|_| !range.is_empty()) else {
            return Box::new(std::iter::empty());
        };
        let rows = self.snapshot.range::<&[u8], _>(keyspace, range.as_slices());
        let row = |row: fjall::Guard| match row.into_inner() {
            Ok((key, value)) => Ok((Bytes::from(key), Bytes::from(value))),
            Err(error) => Err(self.opened.failed("reading", &error)),
        };
        if back { Box::new(rows.rev().map(row)) } else { Box::new(rows.map(row)) }
    }
}

impl Read for View<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let Some(keyspace) = self.opened.space(space) else { return Ok(None) };
        let value = self.snapshot.get(keyspace, key).map_err(|error| self.opened.failed("reading", &error))?;
        Ok(value.map(Bytes::from))
    }

    fn rows(&self, space: Space, range: KeyRange) -> Rows<'_> {
        self.range(space, &range, false)
    }

    fn rows_back(&self, space: Space, range: KeyRange) -> Rows<'_> {
        self.range(space, &range, true)
    }
}

/// What runs once it is known whether a group is durable.
type Hook = Box<dyn FnOnce(bool) + Send>;
/// The writes to one space: a value, or none where the key is removed.
pub(super) type Written = BTreeMap<Bytes, Option<Bytes>>;

/// A write in the making; see the module.
pub struct Tx<'a> {
    below: View<'a>,
    written: Vec<(Space, Written)>,
    /// What stood in `written` before each write of the present closure: its space, key and value.
    undo: Vec<(usize, Bytes, Option<Option<Bytes>>)>,
    hooks: Vec<Hook>,
    hooks_kept: usize,
    bytes: usize,
}

impl<'a> Tx<'a> {
    pub(super) fn new(opened: &'a Opened) -> Self {
        Tx {
            below: View::new(opened),
            written: Vec::new(),
            undo: Vec::new(),
            hooks: Vec::new(),
            hooks_kept: 0,
            bytes: 0,
        }
    }

    /// Writes a row. Keys have up to 65,535 bytes.
    pub fn insert(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.write(space, key.into(), Some(value.into()));
    }

    /// Removes a row, if it is there.
    pub fn remove(&mut self, space: Space, key: impl Into<Bytes>) {
        self.write(space, key.into(), None);
    }

    /// Runs `then` on the writer's thread once this write is durable, and before anybody is told; whoever wrote may be
    /// gone by then. It must not block. Never runs when the write is not durable.
    pub fn on_durable(&mut self, then: impl FnOnce() + Send + 'static) {
        self.on_outcome(|durable| {
            if durable {
                then();
            }
        });
    }

    /// As [`Tx::on_durable`], also when the group could not be written: `false` then. Before the next group begins.
    pub fn on_outcome(&mut self, then: impl FnOnce(bool) + Send + 'static) {
        self.hooks.push(Box::new(then));
    }

    fn write(&mut self, space: Space, key: Bytes, value: Option<Bytes>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        let index = self.written.iter().position(|(s, _)| *s == space).unwrap_or_else(|| {
            self.written.push((space, Written::new()));
            self.written.len() - 1
        });
        let before = self.written[index].1.insert(key.clone(), value);
        self.undo.push((index, key, before));
    }

    /// Keeps what the closure wrote.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
        self.hooks_kept = self.hooks.len();
    }

    /// Takes back what the closure wrote.
    pub(super) fn undo(&mut self) {
        for (index, key, before) in self.undo.drain(..).rev() {
            match before {
                Some(before) => self.written[index].1.insert(key, before),
                None => self.written[index].1.remove(&key),
            };
        }
        self.hooks.truncate(self.hooks_kept);
    }

    /// The bytes of all that was written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is to be committed, and what runs then.
    pub(super) fn finish(self) -> (Vec<(Space, Written)>, Vec<Hook>) {
        let written = self.written.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
        (written, self.hooks)
    }

    fn above(&self, space: Space) -> Option<&Written> {
        self.written.iter().find(|(s, _)| *s == space).map(|(_, written)| written)
    }

    fn merged(&self, space: Space, range: &KeyRange, back: bool) -> Rows<'_> {
        let below = self.below.range(space, range, back);
        let Some(above) = self.above(space).filter(|_| !range.is_empty()) else { return below };
        let above = above.range::<[u8], _>(range.as_slices()).map(|(key, value)| (key.clone(), value.clone()));
        if back { Box::new(merge(below, above.rev(), true)) } else { Box::new(merge(below, above, false)) }
    }
}

impl Read for Tx<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        match self.above(space).and_then(|written| written.get(key)) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(space, key),
        }
    }

    fn rows(&self, space: Space, range: KeyRange) -> Rows<'_> {
        self.merged(space, &range, false)
    }

    fn rows_back(&self, space: Space, range: KeyRange) -> Rows<'_> {
        self.merged(space, &range, true)
    }
}

/// Rows of two sorted sources; where both have a key, `above` counts.
fn merge<'a>(
    below: Rows<'a>,
    above: impl Iterator<Item = (Bytes, Option<Bytes>)> + 'a,
    back: bool,
) -> impl Iterator<Item = Result<Row, DiskError>> + 'a {
    let mut below = below.peekable();
    let mut above = above.peekable();
    std::iter::from_fn(move || {
        loop {
            let order = match (below.peek(), above.peek()) {
                (None, None) => return None,
                (Some(Err(_)), _) | (Some(_), None) => return below.next(),
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(Ok((key, _))), Some((other, _))) => {
                    let order = key.cmp(other);
                    if back { order.reverse() } else { order }
                }
            };
            if order.is_lt() {
                return below.next();
            }
            if order.is_eq() {
                below.next();
            }
            if let Some((key, Some(value))) = above.next() {
                return Some(Ok((key, value)));
            }
        }
    })
}

/// The rows of a group as fjall takes them.
pub(super) fn slices(written: Written) -> impl Iterator<Item = (Slice, Option<Slice>)> {
    written.into_iter().map(|(key, value)| (key.into(), value.map(Slice::from)))
}
