//! `telemill schema`

use clap::Args;

use super::{DONE, files, out};

/// Print the JSON Schema of topology files, for editors.
#[derive(Args)]
#[command(
    after_help = "Example:\n  telemill schema > telemill.schema.json\n  then, as the first line of a topology file:\n  # yaml-language-server: $schema=telemill.schema.json"
)]
pub struct Schema {}

impl Schema {
    /// Always exit 0.
    pub fn run(self) -> anyhow::Result<u8> {
        let schema = telemill_engine::topology::schema(&files::registry());
        out::line(serde_json::to_string_pretty(&schema)?)?;
        Ok(DONE)
    }
}
