//! A document: a text that has been read, with the environment put in.

use serde::de::DeserializeOwned;

use super::decode::decode;
use super::diagnostics::Diagnostics;
use super::env::{self, Env, Expanded};
use super::node::Node;
use super::parse::parse;
use super::path::FieldPath;
use super::problem::Problems;
use super::source::{Source, Span};

/// A text that has been read.
#[derive(Clone, Debug)]
pub struct Document {
    source: Source,
    root: Node,
    expanded: Expanded,
}

impl Document {
    /// Reads a text, YAML or JSON, and puts the environment into its strings.
    ///
    /// `env` gives the value of a variable; a test gives its own, so that it does not depend on the process's.
    /// `None` when the text cannot be read at all; the reason is among the problems. Problems that leave the rest
    /// readable, such as a key given twice or an unset variable, are reported beside a document.
    pub fn parse(source: &Source, env: Env<'_>, problems: &mut Problems) -> Option<Self> {
        let mut root = parse(source, problems)?;
        let expanded = env::substitute(&mut root, env, problems);
        Some(Document { source: source.clone(), root, expanded })
    }

    /// The text.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The topmost value.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The whole document as a `T`; see [`decode`].
    pub fn decode<T: DeserializeOwned>(&self, problems: &mut Problems) -> Option<T> {
        decode(&self.root, problems)
    }

    /// The place of a path from the root; see [`Node::locate`].
    pub fn locate(&self, path: &FieldPath) -> Span {
        self.root.locate(path)
    }

    /// The problems of this document, ready to be shown. What the environment put in is hidden from them.
    pub fn diagnostics(&self, problems: Problems) -> Diagnostics {
        Diagnostics::hiding(self.source.clone(), problems, |text| self.expanded.hide(text))
    }
}

/// Reads a text into a `T`, for a file that needs no checks beyond its types.
///
/// # Errors
/// All problems found, when there is at least one.
pub fn read<T: DeserializeOwned>(source: &Source, env: Env<'_>) -> Result<T, Diagnostics> {
    let mut problems = Problems::new();
    let Some(document) = Document::parse(source, env, &mut problems) else {
        return Err(Diagnostics::new(source.clone(), problems));
    };
    match document.decode(&mut problems) {
        Some(value) if problems.is_empty() => Ok(value),
        _ => Err(document.diagnostics(problems)),
    }
}

#[cfg(test)]
mod tests;
