//! `telemill validate`

use std::path::PathBuf;

use clap::Args;

use super::{BAD_INPUT, DONE, Output, files, out};

/// Check topology files without running them: every problem at once, with its place and a hint.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill validate topologies/iot-ingestion.yaml\n  telemill validate -o json my.yaml"
)]
pub struct Validate {
    /// Topology files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How problems are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Validate {
    /// Exit 0 when all files are good, 2 when not.
    pub fn run(self) -> anyhow::Result<u8> {
        let Some(plans) = files::plans(&self.files, &files::registry(), self.output)? else { return Ok(BAD_INPUT) };
        if self.output == Output::Text {
            for (file, plan) in self.files.iter().zip(plans) {
                let (name, stages) = (&plan.name, plan.stages.len());
                out::line(format_args!("{}: topology `{name}` is good: {stages} stages", file.display()))?;
            }
        } else {
            out::line("[]")?;
        }
        Ok(DONE)
    }
}
