//! A program that is not ours, and what it prints.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use crate::mqtt_support::{SOON, soon};

type Lines = BufReader<std::process::ChildStdout>;

/// A running program; killed at the end.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Lines>,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = (self.child.kill(), self.child.wait());
    }
}

impl Program {
    pub fn start(program: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; run tests/services/install"));
        let mut program = Program { child, stdin: None, lines: None };
        program.stdin = program.child.stdin.take();
        program.lines = program.child.stdout.take().map(BufReader::new);
        program
    }

    /// One of the scripts beside this file, with Debian's interpreter, which has Debian's packages.
    pub fn script(name: &str, arguments: &[&str]) -> Program {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/connectors/embedded_endpoint");
        let path = folder.join(name);
        Program::start("/usr/bin/python3", &[&[path.to_str().unwrap()], arguments].concat())
    }

    /// The next line that it prints; empty at its end.
    pub async fn line(&mut self) -> String {
        self.line_within(SOON).await
    }

    /// The next line of one that has much to do before it.
    pub async fn line_within(&mut self, patience: Duration) -> String {
        let mut lines = self.lines.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (line, lines)
        });
        let read = tokio::time::timeout(patience, read).await;
        let (line, lines) = read.expect("the other program prints a line").unwrap();
        self.lines = Some(lines);
        line.trim_end().to_owned()
    }

    /// Gives it a line to read.
    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it has ended; whether it was successful, and what it printed.
    pub async fn ends(mut self) -> (bool, String) {
        self.stdin = None;
        let waiting = tokio::task::spawn_blocking(move || {
            let mut printed = String::new();
            self.lines.take().unwrap().read_to_string(&mut printed).unwrap();
            self.child.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
            (self.child.wait().unwrap().success(), printed)
        });
        soon("the end of another program", waiting).await.unwrap()
    }
}
