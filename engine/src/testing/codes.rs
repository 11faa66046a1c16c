//! Finds the codes that a crate's sources show, so that a test can hold them against the explanations.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The codes of a crate.
#[derive(Debug)]
pub struct Codes(BTreeSet<String>);

/// The codes in the sources of a crate, its tests left out: what is given to `code = "…"`, and every literal of the form
/// `"topic::word"`.
///
/// # Panics
/// When the sources cannot be read.
pub fn codes_of(crate_dir: &str) -> Codes {
    let mut codes = BTreeSet::new();
    for file in sources(&Path::new(crate_dir).join("src")) {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        // A module of tests is the last thing in a file.
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = text.lines().filter(|line| {
            let line = line.trim_start();
            !line.starts_with("//") && !line.contains("default = \"")
        });
        lines.for_each(|line| codes_in(line, &mut codes));
    }
    Codes(codes)
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut found = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let (path, name) = (entry.path(), entry.file_name());
        match name.to_str() {
            // The engine's fakes say nothing to users.
            Some("tests" | "tests.rs" | "testing") => {}
            _ if path.is_dir() => found.extend(sources(&path)),
            Some(name) if name.ends_with(".rs") => found.push(path),
            _ => {}
        }
    }
    found
}

fn codes_in(line: &str, codes: &mut BTreeSet<String>) {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    // Every second part stands between quotes.
    let parts: Vec<&str> = line.split('"').collect();
    for (before, literal) in parts.iter().zip(&parts[1..]).step_by(2) {
        let is_code = literal.split("::").count() == 2 && literal.split("::").all(word);
        if is_code || before.ends_with("code = ") {
            codes.insert((*literal).to_owned());
        }
    }
}

impl Codes {
    /// Asserts that each of these has its one explanation, and that nothing is explained that nobody shows.
    ///
    /// # Panics
    /// When that is not so; the message names them.
    pub fn are_explained_by(&self, explanations: impl Iterator<Item = (&'static str, &'static str)>) {
        let mut explained = BTreeSet::new();
        for (code, text) in explanations {
            assert!(explained.insert(code.to_owned()), "`{code}` is explained twice");
            assert!(text.len() > 40, "`{code}` is hardly explained: {text}");
        }
        let missing: Vec<_> = self.0.difference(&explained).collect();
        assert!(missing.is_empty(), "codes without an explanation: {missing:?}");
        let stale: Vec<_> = explained.difference(&self.0).collect();
        assert!(stale.is_empty(), "explained, and shown nowhere: {stale:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_by_their_form_or_their_place() {
        let mut codes = BTreeSet::new();
        codes_in(
            r#"warn!(code = "stage_retry", why = "x::", "an {error}"); problem("at", "topology::cycle", "a::b::c")"#,
            &mut codes,
        );
        assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["stage_retry", "topology::cycle"]);
    }
}
