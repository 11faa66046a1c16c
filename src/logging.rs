//! Where log lines go: text on a terminal, JSON otherwise.

use std::io::{self, IsTerminal, Write};

use indicatif::ProgressBar;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `RUST_LOG` says what is shown; `info` where it is not set.
///
/// `bar` is a line that stays at the bottom of the terminal: log lines go above it.
pub fn init(bar: Option<ProgressBar>) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn,fjall=warn,lsm_tree=warn"));
    let writer = move || Above(bar.clone());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match io::stderr().is_terminal() {
        true => builder.with_target(false).init(),
        false => builder.json().flatten_event(true).with_target(false).init(),
    }
}

/// Standard error, above the line that stays.
struct Above(Option<ProgressBar>);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
