//! The topologies that run: the shipped quick start, without its fleet, and the part of it that ends at the log.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::scratch::Scratch;

const QUICKSTART: &str = include_str!("../../topologies/quickstart.yaml");
/// What comes behind the router, up to the next part of the file.
const BEHIND_THE_LOG: (&str, &str) = ("  events:\n", "dead_letters:");

/// Writes a topology to a directory; `log_only`: with nothing that reads the log. The file.
pub fn write(scratch: &Scratch, log_only: bool) -> anyhow::Result<PathBuf> {
    let mut text = String::new();
    for line in QUICKSTART.lines().filter(|line| !line.starts_with("simulate:")) {
        text.push_str(line);
        text.push('\n');
    }
    if log_only {
        let (from, to) = BEHIND_THE_LOG;
        let cut = text.split_once(from).and_then(|(head, rest)| Some((head, &rest[rest.find(to)?..])));
        let (head, tail) = cut.with_context(|| format!("the quick start has no `{}` any more", from.trim()))?;
        text = format!("{head}{tail}");
    }
    let file = scratch.path().join("topology.yaml");
    fs::write(&file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(file)
}
