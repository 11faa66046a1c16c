//! `telemill`: runs topologies, checks them, and talks to running ones.

// These panic when nobody reads what they print; `cli::out` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod codes;
mod logging;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    #[cfg(feature = "faults")]
    telemill_engine::faults::listen();
    cli::Cli::parse().run()
}
