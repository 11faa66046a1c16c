//! All fuzz targets in one program, because an instrumented build costs more than any of them needs:
//! `TELEMILL_FUZZ_TARGET` names the one that is fed.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
static TARGET: std::sync::LazyLock<fn(&[u8])> = std::sync::LazyLock::new(|| {
    let wanted = std::env::var("TELEMILL_FUZZ_TARGET").unwrap_or_default();
    let found = telemill_actors::fuzzing::TARGETS.iter().find(|(name, _)| *name == wanted);
    let names = || telemill_actors::fuzzing::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.unwrap_or_else(|| panic!("TELEMILL_FUZZ_TARGET is `{wanted}`; the targets are {}", names())).1
});

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without instrumentation; `tests/fuzz/run` builds and runs it");
    std::process::exit(2);
}
