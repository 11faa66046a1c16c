//! The command line: one file a verb.
//!
//! Exit codes: 0 done · 1 failed (a topology that failed, a drain past its deadline, a server that said no) ·
//! 2 the input is at fault (a topology with problems, unknown flags).

mod alerts;
mod client;
mod command;
mod devices;
mod explain;
mod files;
mod graph;
mod run;
mod schema;
mod simulate;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// An actor-based stream processing engine for devices and events.
#[derive(Parser)]
#[command(name = "telemill", version, arg_required_else_help = true, propagate_version = true)]
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
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(FAILED)
            }
        }
    }
}
