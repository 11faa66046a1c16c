//! Faults on command: what the fault harness (`tests/fault`) has a process do to itself.
//!
//! The code names the places where a crash is worth trying ([`point`]) and the mistakes that the harness must notice
//! ([`mutant`]). Without the feature `faults` all of it is nothing: no call, no branch, no byte.
//!
//! With it, a process takes orders (`listen`) from the variable `TELEMILL_FAULTS` at its start and from its standard input
//! at any time, one a line:
//!
//! ```text
//! kill POINT N      dies (SIGKILL) when it comes to the point for the N-th time from now on
//! panic POINT N     panics there, once
//! mutant NAME       makes this mistake from now on
//! clock SECONDS     moves the wall clock
//! ```
//!
//! and answers each on its standard error, and every fault, as a line of JSON with the code `fault`.

#[cfg(feature = "faults")]
mod orders;
#[cfg(feature = "faults")]
pub use orders::{clock_offset_ms, listen, mutant, nth_mutant, point};

/// A place where a process may be told to die or to panic.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn point(_: &'static str) {}

/// Whether a mistake is to be made.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn mutant(_: &'static str) -> bool {
    false
}

/// Whether a mistake is to be made now: every `n`-th time.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn nth_mutant(_: &'static str, _: u64) -> bool {
    false
}
