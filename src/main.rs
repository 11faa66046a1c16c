//! `telemill`: runs topologies, checks them, and talks to running ones.

mod cli;
mod codes;
mod logging;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
