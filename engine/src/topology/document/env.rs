//! The environment in string values: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`.
//!
//! Substitution comes after parsing, so that no value of a variable can change the structure of a document: what is
//! put in is a string, or part of one, whatever it looks like. Keys are never touched. As in a shell, `:-` also takes
//! the default when the variable is set to nothing.
//!
//! What came from the environment may be a secret. The node remembers it ([`Node::is_from_env`]), and [`Expanded`]
//! finds it again in texts that are about to be printed.

use std::fmt;
use std::ops::Range;

use super::code::codes;
use super::limits::MAX_EXPANDED_BYTES;
use super::node::{Node, Value};
use super::offsets::Offsets;
use super::problem::{Problem, Problems};

/// The value of an environment variable, if it is set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts the environment into all strings of a tree.
pub(super) fn substitute(root: &mut Node, env: Env<'_>, problems: &mut Problems) -> Expanded {
    let mut substitution = Substitution { env, problems, expanded: Expanded::default(), budget: MAX_EXPANDED_BYTES };
    substitution.node(root);
    substitution.expanded.0.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    substitution.expanded.0.dedup();
    substitution.expanded
}

struct Substitution<'a> {
    env: Env<'a>,
    problems: &'a mut Problems,
    expanded: Expanded,
    budget: usize,
}

impl Substitution<'_> {
    fn node(&mut self, node: &mut Node) {
        if node.as_str().is_some_and(|text| text.contains("${")) {
            self.string(node);
        }
        node.children_mut().for_each(|child| self.node(child));
    }

    fn string(&mut self, node: &mut Node) {
        let Value::String(written) = &node.value else {
            return;
        };
        let mut value = String::with_capacity(written.len());
        let mut from_env = false;
        let mut found = Vec::new();
        for piece in pieces(written) {
            match piece {
                Piece::Text(text) => value.push_str(text),
                Piece::Variable { name, default, at } => match ((self.env)(name), default) {
                    (Some(content), default) if !content.is_empty() || default.is_none() => {
                        from_env = true;
                        self.expanded.0.push((content.clone(), written[at].to_owned()));
                        value.push_str(&content);
                    }
                    (_, Some(default)) => value.push_str(default),
                    (_, None) => {
                        let problem = Problem::new(
                            codes::UNSET_VARIABLE,
                            format!("the environment variable `{name}` is not set"),
                        )
                        .hint(format!("set it, or give a default: `${{{name}:-default}}`"));
                        found.push(problem.within(at));
                    }
                },
                Piece::Broken { why, at } => {
                    let problem = Problem::new(codes::BAD_SUBSTITUTION, why)
                        .hint("write `${NAME}` or `${NAME:-default}`; for a literal `${` write `$${`");
                    found.push(problem.within(at));
                }
            }
            if value.len() > self.budget {
                let problem = Problem::new(codes::LIMIT, "the environment puts in more than a topology file may have")
                    .hint("shorten what the variables hold");
                found.push(problem);
                break;
            }
        }
        self.budget = self.budget.saturating_sub(value.len());
        node.flawed = !found.is_empty();
        self.problems.extend(found.into_iter().map(|problem| problem.in_node(node)));
        if !node.flawed {
            if from_env {
                self.expanded.0.push((value.clone(), written.clone()));
            }
            let written = std::mem::take(&mut node.value);
            if let Value::String(written) = written {
                node.scalar.written = Some(written.into());
            }
            node.value = Value::String(value);
            node.scalar.from_env = from_env;
            node.scalar.offsets = Offsets::Unknown;
        }
    }
}

#[derive(Debug, PartialEq)]
enum Piece<'t> {
    Text(&'t str),
    Variable { name: &'t str, default: Option<&'t str>, at: Range<usize> },
    Broken { why: &'static str, at: Range<usize> },
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let at = from + found;
        if at > from && text.as_bytes()[at - 1] == b'$' {
            pieces.push(Piece::Text(&text[from..at - 1]));
            pieces.push(Piece::Text("${"));
            from = at + 2;
            continue;
        }
        pieces.push(Piece::Text(&text[from..at]));
        let Some(length) = text[at..].find('}') else {
            pieces.push(Piece::Broken { why: "`${` without a closing `}`", at: at..text.len() });
            return pieces;
        };
        from = at + length + 1;
        pieces.push(reference(&text[at + 2..from - 1], at..from));
    }
    pieces.push(Piece::Text(&text[from..]));
    pieces
}

fn reference(content: &str, at: Range<usize>) -> Piece<'_> {
    if content.contains("${") {
        return Piece::Broken { why: "a variable inside the default of another", at };
    }
    let (name, default) = match content.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (content, None),
    };
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if is_name {
        Piece::Variable { name, default, at }
    } else {
        Piece::Broken { why: "this is not the name of a variable", at }
    }
}

/// What the environment put in, and what was written for it.
#[derive(Clone, Default)]
pub(super) struct Expanded(Vec<(String, String)>);

impl fmt::Debug for Expanded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(_, written)| written)).finish()
    }
}

impl Expanded {
    /// The text with what was written in place of what came from the environment, wherever that stands as a word.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for (value, written) in &self.0 {
            if is_telling(value) && hidden.contains(value.as_str()) {
                hidden = replace_word(&hidden, value, written);
            }
        }
        hidden
    }
}

/// Whether a value could be told from any other text: not one of nothing but blanks and signs.
fn is_telling(value: &str) -> bool {
    value.chars().any(char::is_alphanumeric)
}

fn replace_word(text: &str, word: &str, with: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices(word) {
        let end = at + word.len();
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let joins_before = inside(text[..at].chars().next_back()) && inside(word.chars().next());
        let joins_behind = inside(text[end..].chars().next()) && inside(word.chars().next_back());
        if !joins_before && !joins_behind {
            replaced.push_str(&text[from..at]);
            replaced.push_str(with);
            from = end;
        }
    }
    replaced.push_str(&text[from..]);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let read: Vec<String> = pieces(text)
            .into_iter()
            .filter(|piece| *piece != Piece::Text(""))
            .map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Variable { name, default, at } => {
                    format!("<{name}|{default:?}|{}>", &text[at])
                }
                Piece::Broken { why, at } => format!("<{why}|{}>", &text[at]),
            })
            .collect();
        assert_eq!(read.concat(), expected);
    }

    #[test]
    fn references_are_read() {
        check("plain $5 {x} $ $$", "plain $5 {x} $ $$");
        check("a${B_1}c", "a<B_1|None|${B_1}>c");
        check("${A:-}${B:-x:-y}", "<A|Some(\"\")|${A:-}><B|Some(\"x:-y\")|${B:-x:-y}>");
        check("$${A} ${B}", "${A} <B|None|${B}>");
        check("${1A}", "<this is not the name of a variable|${1A}>");
        check("${}", "<this is not the name of a variable|${}>");
        check("é${A", "é<`${` without a closing `}`|${A>");
        check("${A:-${B}}", "<a variable inside the default of another|${A:-${B}>}");
    }

    #[test]
    fn values_are_hidden_where_they_are_words() {
        let expanded = Expanded(vec![
            ("hunter2".into(), "${PASS}".into()),
            ("dev".into(), "${ENV}".into()),
            ("-".into(), "${D}".into()),
        ]);
        assert_eq!(expanded.hide("dev: `hunter2` is no device - x"), "${ENV}: `${PASS}` is no device - x");
    }
}
