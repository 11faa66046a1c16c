//! `telemill graph`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use telemill_engine::topology::{dot, mermaid};

use super::{BAD_INPUT, DONE, Output, files, out};

/// Draw a topology: its stages and what flows between them.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill graph topologies/iot-ingestion.yaml\n  telemill graph -f dot my.yaml | dot -Tsvg > my.svg"
)]
pub struct Graph {
    /// The topology file; `-` is standard input.
    file: PathBuf,
    /// The language of the picture.
    #[arg(short, long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A Mermaid flow chart, as GitHub shows it.
    #[default]
    Mermaid,
    /// Graphviz.
    Dot,
}

impl Graph {
    /// Exit 0 when the file is good, 2 when not.
    pub fn run(self) -> anyhow::Result<u8> {
        let plans = files::plans(&[self.file], &files::registry(), Output::Text)?;
        let Some([plan]) = plans.as_deref() else { return Ok(BAD_INPUT) };
        match self.format {
            Format::Mermaid => out::text(mermaid(plan))?,
            Format::Dot => out::text(dot(plan))?,
        }
        Ok(DONE)
    }
}
