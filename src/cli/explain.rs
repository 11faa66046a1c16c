//! `telemill explain`

use clap::Args;

use super::{BadInput, DONE, out};
use crate::codes::explanations;

/// Explain the code of a problem or of a log line, such as `topology::unknown_field`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  telemill explain\n  telemill explain expr::type_mismatch\n  telemill explain sink_gap"
)]
pub struct Explain {
    /// The code; without it all codes are listed.
    code: Option<String>,
}

impl Explain {
    /// Exit 0 when the code is known, 2 when not.
    pub fn run(self) -> anyhow::Result<u8> {
        let Some(wanted) = self.code else {
            for (code, _) in explanations() {
                out::line(code)?;
            }
            return Ok(DONE);
        };
        match explanations().find(|(code, _)| *code == wanted) {
            Some((_, text)) => {
                out::line(text)?;
                Ok(DONE)
            }
            None => Err(BadInput(format!("there is no code `{wanted}`; `telemill explain` lists all")).into()),
        }
    }
}
