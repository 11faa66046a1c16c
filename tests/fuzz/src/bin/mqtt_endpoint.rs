//! What a client says to the MQTT endpoint, byte by byte.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| telemill_actors::fuzzing::mqtt_endpoint(bytes));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("built without instrumentation; `tests/fuzz/run mqtt_endpoint` builds and runs it");
    std::process::exit(2);
}
