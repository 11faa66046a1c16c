//! Where log lines go: text on a terminal, JSON otherwise.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. Lines that nobody reads are dropped.
/// `RUST_LOG` says what is shown; `info` where it is not set.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match std::io::stderr().is_terminal() {
        true => builder.with_target(false).init(),
        false => builder.json().flatten_event(true).with_target(false).init(),
    }
}
