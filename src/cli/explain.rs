//! `telemill explain`

use clap::Args;
use telemill_actors::alert_evaluator;
use telemill_engine::topology::{CHECK_CODES, document, expr};

use super::{BAD_INPUT, DONE};

/// Explain the code of a problem, such as `topology::unknown_field`.
#[derive(Args)]
pub struct Explain {
    /// The code; without it all codes are listed.
    code: Option<String>,
}

impl Explain {
    /// Exit 0 when the code is known, 2 when not.
    pub fn run(self) -> anyhow::Result<u8> {
        let components = &alert_evaluator::EXPLANATIONS;
        let codes = || document::CODES.iter().chain(CHECK_CODES).chain(&expr::codes::EXPLANATIONS).chain(components);
        let Some(wanted) = self.code else {
            codes().for_each(|(code, _)| println!("{code}"));
            return Ok(DONE);
        };
        match codes().find(|(code, _)| *code == wanted) {
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
