//! From YAML text to a tree of located nodes.
//!
//! The parser gives events; this builds the tree, refuses what a topology file does not use, and keeps within the
//! limits. It goes on after every problem that leaves the structure clear; only broken syntax and a broken limit end
//! it, because nothing behind them can be trusted.

mod builder;
mod syntax;

use granit_parser::{Event, Options, Parser};

use super::code::codes;
use super::limits::MAX_TEXT_BYTES;
use super::node::Node;
use super::problem::{Problem, Problems};
use super::source::{Source, Span};
use builder::Builder;

/// The tree of a text, without the environment. `None` after a problem that ends reading.
pub(super) fn parse(source: &Source, problems: &mut Problems) -> Option<Node> {
    if source.text().len() > MAX_TEXT_BYTES {
        let message = format!("the file has {} bytes, at most {MAX_TEXT_BYTES} are read", source.text().len());
        problems.push(Problem::new(codes::LIMIT, message).hint("split it into several files").span(Span::default()));
        return None;
    }
    let mut options = Options::default();
    options.emit_unresolved_aliases = true;
    options.set_emit_comments(false);
    let mut builder = Builder::new(source);
    for event in Parser::new_from_str_with_options(source.text(), options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                problems.push(syntax::problem(source, &error));
                return None;
            }
        };
        match event {
            Event::DocumentStart(..) if builder.has_root() => {
                let problem = Problem::new(codes::SECOND_DOCUMENT, "a second document starts here")
                    .hint("a topology file is one document: put the second one into a file of its own")
                    .span(source.first_line(place(&span)));
                problems.push(problem);
                return builder.finish();
            }
            event => {
                if let Err(limit) = builder.event(event, span, problems) {
                    problems.push(*limit);
                    return None;
                }
            }
        }
    }
    builder.finish()
}

/// The parser reads a string, so its markers always carry byte offsets.
fn place(span: &granit_parser::Span) -> Span {
    span.byte_range().map_or_else(Span::default, Span::from)
}
