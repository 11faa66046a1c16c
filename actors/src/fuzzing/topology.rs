//! The text of a topology file, from parsing to the plan.

use telemill_engine::registry::Registry;
use telemill_engine::topology::document::Style;
use telemill_engine::topology::{Diagnostics, Document, Problems, Source, check, dot, mermaid};

use crate::register_all;

/// What every variable of the environment holds, and nobody is to read.
const SECRET: &str = "bWVsbHRlbGVtaWxs";

thread_local! {
    static REGISTRY: Registry = {
        let mut registry = Registry::new();
        register_all(&mut registry);
        registry
    };
}

/// A text is refused, with problems that have a place and do not show what the environment holds, or it has a plan that
/// can be drawn.
pub(super) fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Then it is no secret.
    if text.contains(SECRET) {
        return;
    }
    let source = Source::new("fuzz.yaml", text);
    let mut problems = Problems::new();
    let env = |name: &str| (!name.starts_with("UNSET")).then(|| SECRET.to_owned());
    let document = Document::parse(&source, &env, &mut problems);
    let plan = document.as_ref().and_then(|document| REGISTRY.with(|kinds| check(document, kinds, &mut problems)));
    match &plan {
        None => assert!(!problems.is_empty(), "refused without a reason"),
        Some(plan) => drop((mermaid(plan), dot(plan))),
    }
    for problem in problems.iter() {
        let place = problem.place().unwrap_or_else(|| panic!("{problem} has no place"));
        assert!(text.get(place.start..place.end).is_some(), "{problem}: {place:?} of {} bytes", text.len());
        assert!(!problem.message().is_empty());
    }
    if problems.is_empty() {
        return;
    }
    let diagnostics = match &document {
        Some(document) => document.diagnostics(problems),
        None => Diagnostics::new(source, problems),
    };
    for shown in [diagnostics.render(Style::PLAIN), diagnostics.to_json().to_string()] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
