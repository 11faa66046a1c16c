//! `telemill explain`

use clap::Args;

use super::{BAD_INPUT, DONE};
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
            explanations().for_each(|(code, _)| println!("{code}"));
            return Ok(DONE);
        };
        match explanations().find(|(code, _)| *code == wanted) {
            Some((_, text)) => {
                println!("{text}");
                Ok(DONE)
            }
            None => {
                eprintln!("error: there is no code `{wanted}`; `telemill explain` lists all");
                Ok(BAD_INPUT)
            }
        }
    }
}
