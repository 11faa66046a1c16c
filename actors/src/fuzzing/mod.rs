//! What must hold for any bytes that come from outside, one function a place where they come in: the fuzz targets
//! (`tests/fuzz`), and the tests that feed them their corpus (`tests/corpus`).
//!
//! A target panics where a promise does not hold.

mod expressions;
mod ingress;
mod records;
mod topology;

use telemill_engine::fuzzing;

use crate::alert_evaluator::AlertEvaluator;
use crate::device_session::DeviceSession;

/// A target's name, and what it is fed with.
type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("mqtt_endpoint", crate::embedded::endpoint::feed),
    ("topology", topology::holds),
    ("expressions", expressions::holds),
    ("ingress", ingress::holds),
    ("sessions", sessions),
    ("records", records::holds),
    ("api", fuzzing::api),
];

/// Sessions in a checkpoint. The first byte says in whose form.
fn sessions(bytes: &[u8]) {
    let Some((form, bytes)) = bytes.split_first() else { return };
    match form {
        b'0' => fuzzing::session_form(bytes),
        b'1' => fuzzing::session::<DeviceSession>(1, bytes),
        b'2' => fuzzing::session::<DeviceSession>(2, bytes),
        b'3' => fuzzing::session::<AlertEvaluator>(1, bytes),
        _ => {}
    }
}

/// The parts of an input that is several texts, set apart by lines of three dashes; what is behind the last is its own.
fn parts<const N: usize>(mut bytes: &[u8]) -> Option<[&[u8]; N]> {
    const SEPARATOR: &[u8] = b"\n---\n";
    let mut parts = [&[][..]; N];
    for part in &mut parts[..N - 1] {
        let at = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR)?;
        (*part, bytes) = (&bytes[..at], &bytes[at + SEPARATOR.len()..]);
    }
    parts[N - 1] = bytes;
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
        for (name, target) in TARGETS {
            let files = files(&corpus.join(name));
            assert!(files.len() >= 4, "{name} has a corpus of {}", files.len());
            for file in files {
                let bytes = std::fs::read(&file).unwrap();
                // Cut short it is as good an input as any.
                for end in [bytes.len(), bytes.len() / 2] {
                    let held = std::panic::catch_unwind(|| target(&bytes[..end]));
                    assert!(held.is_ok(), "{}, {end} bytes", file.display());
                }
            }
        }
    }

    #[test]
    fn the_script_names_all_targets() {
        let script = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/run")).unwrap();
        let (_, rest) = script.split_once("\nall=(").unwrap();
        let run: Vec<&str> = rest.split(')').next().unwrap().split_whitespace().collect();
        let (_, rest) = script.split_once("one of\n").unwrap();
        let (listed, _) = rest.split_once("unless told").unwrap();
        let help: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(run, targets, "what tests/fuzz/run runs");
        assert_eq!(help, targets, "what tests/fuzz/run --help lists");
    }

    #[test]
    fn words_are_for_a_target_or_for_all() {
        for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/words")) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let is_target = TARGETS.iter().any(|(target, _)| *target == name);
            assert!(is_target || ["numbers", "json"].contains(&name), "{}", file.display());
        }
    }

    #[test]
    fn shipped_files_are_good_topologies() {
        for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies")) {
            topology::holds(&std::fs::read(file).unwrap());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_hold(target in proptest::sample::select(TARGETS), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            target.1(&bytes);
        }
    }
}
