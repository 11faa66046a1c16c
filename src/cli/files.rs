//! Topology files on the command line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use telemill_engine::registry::Registry;
use telemill_engine::topology::document::Style;
use telemill_engine::topology::{Diagnostics, Document, Plan, Problems, Source, check};

use super::out::{self, Unprinted};
use super::simulate::Demo;
use super::{BadInput, Output};

/// A topology file that was read and checked.
pub enum Checked {
    /// It is good.
    Plan(Box<Plan>),
    /// It is not.
    Problems(Diagnostics),
}

/// Every kind that this build knows.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    telemill_actors::register_all(&mut registry);
    registry
}

/// Reads and checks a file; `-` is standard input.
pub fn check_file(path: &Path, registry: &Registry) -> Result<Checked, BadInput> {
    let (name, text) = match path.to_str() {
        Some("-") => {
            let text = std::io::read_to_string(std::io::stdin());
            ("<stdin>".to_owned(), text.map_err(|error| BadInput(format!("cannot read standard input: {error}")))?)
        }
        _ => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| BadInput(format!("cannot read {}: {error}", path.display())))?;
            (path.display().to_string(), text)
        }
    };
    let source = Source::new(name, text);
    let mut problems = Problems::new();
    let env = |name: &str| std::env::var(name).ok();
    let Some(document) = Document::parse(&source, &env, &mut problems) else {
        return Ok(Checked::Problems(Diagnostics::new(source, problems)));
    };
    let plan = check(&document, registry, &mut problems);
    if let Some(plan) = &plan {
        // A part that only those look at who run it: here it is to be in order, too.
        let _in_order = Demo::check(plan, &mut problems);
    }
    Ok(match plan.filter(|_| problems.is_empty()) {
        Some(plan) => Checked::Plan(Box::new(plan)),
        None => Checked::Problems(document.diagnostics(problems)),
    })
}

/// Reads and checks files. The plans of all, or none once every problem, and every file that cannot be read, was printed.
pub fn plans(files: &[PathBuf], registry: &Registry, output: Output) -> anyhow::Result<Option<Vec<Plan>>> {
    let mut plans = Vec::new();
    let mut good = true;
    for file in files {
        match check_file(file, registry) {
            Ok(Checked::Plan(plan)) => plans.push(*plan),
            Ok(Checked::Problems(diagnostics)) => {
                good = false;
                print_problems(&diagnostics, output)?;
            }
            Err(unreadable) => {
                good = false;
                out::note(format_args!("error: {unreadable}"));
            }
        }
    }
    Ok(good.then_some(plans))
}

/// Prints problems: to standard error for people, to standard output as JSON.
pub fn print_problems(diagnostics: &Diagnostics, output: Output) -> Result<(), Unprinted> {
    match output {
        Output::Json => out::line(diagnostics.to_json())?,
        Output::Text => {
            let style = match std::io::stderr().is_terminal() && out::has_styles() {
                true => Style::TERMINAL,
                false => Style::PLAIN,
            };
            let drawn = diagnostics.render(style);
            out::note(drawn.strip_suffix('\n').unwrap_or(&drawn));
        }
    }
    Ok(())
}
