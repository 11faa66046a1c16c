//! What is printed. A reader that has gone (`telemill schema | head -1`) ends the program quietly, as it does other
//! tools; the standard macros would panic.

use std::fmt::Display;
use std::io::{self, Write};

/// Nothing more can be printed.
#[derive(Debug, thiserror::Error)]
pub enum Unprinted {
    /// Whoever read it has gone: there is nobody to tell.
    #[error("nobody reads what is printed")]
    Closed,
    /// A full disk, for one.
    #[error("cannot write to standard output: {0}")]
    Failed(io::Error),
}

/// Prints a line to standard output.
///
/// # Errors
/// When it cannot be written. To be handed up: [`super::Cli::run`] knows what it means.
pub fn line(text: impl Display) -> Result<(), Unprinted> {
    write(format_args!("{text}\n"))
}

/// Prints a text, which has its own line ends, to standard output.
///
/// # Errors
/// As [`line`].
pub fn text(text: impl Display) -> Result<(), Unprinted> {
    write(format_args!("{text}"))
}

fn write(text: std::fmt::Arguments<'_>) -> Result<(), Unprinted> {
    let mut out = io::stdout().lock();
    // Flushed at once, so that what cannot be written is known here and not when the process ends.
    out.write_fmt(text).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Unprinted::Closed,
        _ => Unprinted::Failed(error),
    })
}

/// Whether a terminal may be shown colours and other styles: not where `NO_COLOR` is set (<https://no-color.org>).
pub fn has_styles() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}

/// Says something beside the results, on standard error. Where nobody reads that, nothing is lost: the exit code tells.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
