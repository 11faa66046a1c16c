//! Typical mistakes in a topology file: each is found at its place, with a hint, and all of them at once.

mod form;
mod meaning;

use std::io::Write;
use std::process::{Command, Stdio};

/// What `telemill validate` says of a text on standard input; it must refuse it.
fn problems_of(text: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_telemill"))
        .args(["validate", "-"])
        .env_remove("NOT_SET")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!said.contains("s3cret"), "a password is printed:\n{said}");
    said
}
