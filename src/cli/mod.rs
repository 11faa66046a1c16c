//! The command line: one file a verb.
//!
//! Exit codes, the same for every verb: 0 done · 1 failed (a topology that failed, a drain past its deadline, a server
//! that cannot be reached or said no) · 2 what was given is at fault (unknown flags, a file that cannot be read or has
//! problems, a request that the server calls bad). `tests/cli.rs` has the table.

mod alerts;
mod client;
mod command;
mod devices;
mod explain;
mod files;
mod graph;
mod out;
mod run;
mod schema;
mod signals;
mod simulate;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// An actor-based stream processing engine for devices and events.
#[derive(Parser)]
#[command(name = "telemill", version, arg_required_else_help = true, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Run(run::Run),
    Validate(validate::Validate),
    Graph(graph::Graph),
    Schema(schema::Schema),
    Simulate(simulate::Simulate),
    Devices(devices::Devices),
    Command(command::Command),
    Alerts(alerts::Alerts),
    Explain(explain::Explain),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; also when whoever reads the output has seen enough
  1  failed: a topology failed, a drain passed its deadline, the server cannot be reached or said no
  2  what was given is at fault: unknown flags, a file that cannot be read or has problems, a request that the server
     calls bad (400, 413)";

/// What was given is at fault: the program ends with [`BAD_INPUT`] and this message.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// Done.
pub const DONE: u8 = 0;
/// It failed.
pub const FAILED: u8 = 1;
/// What was given is at fault.
pub const BAD_INPUT: u8 = 2;

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let result = match self.verb {
            Verb::Run(verb) => verb.run(),
            Verb::Validate(verb) => verb.run(),
            Verb::Graph(verb) => verb.run(),
            Verb::Schema(verb) => verb.run(),
            Verb::Simulate(verb) => verb.run(),
            Verb::Devices(verb) => verb.run(),
            Verb::Command(verb) => verb.run(),
            Verb::Alerts(verb) => verb.run(),
            Verb::Explain(verb) => verb.run(),
        };
        match result {
            Ok(code) => ExitCode::from(code),
            Err(error) if matches!(error.downcast_ref(), Some(out::Unprinted::Closed)) => ExitCode::from(DONE),
            Err(error) => {
                out::note(format_args!("error: {error:#}"));
                ExitCode::from(if error.is::<BadInput>() { BAD_INPUT } else { FAILED })
            }
        }
    }
}
