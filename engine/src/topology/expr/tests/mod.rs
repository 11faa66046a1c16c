//! Tables of expressions with what each must give, and properties that hold for any text and any message.

mod errors;
mod evaluation;
mod extraction;
mod parsing;
mod properties;
mod templates;

use super::{Fields, Inputs, Outcome, Program, Want};

/// The message, kind and time that evaluations see besides the payload.
const DEVICE: &str = "d1";
const KIND: &str = "data";
const TIMESTAMP: i64 = 1_700_000_000;

fn compile(text: &str) -> (Program, Fields) {
    let mut fields = Fields::new();
    match Program::compile(text, Want::Any, &mut fields) {
        Ok(program) => (program, fields),
        Err(errors) => panic!("`{text}` does not compile: {errors:?}"),
    }
}

/// The outcome of `text` on `payload` as text, with strings in quotes.
fn outcome(text: &str, payload: &str) -> String {
    let (program, fields) = compile(text);
    let plan = fields.freeze();
    let mut slots = plan.slots();
    plan.extract(payload.as_bytes(), &mut slots)
        .expect("the payload of the test is JSON");
    let inputs = Inputs {
        device_id: DEVICE,
        kind: KIND,
        timestamp: TIMESTAMP,
        slots: slots.as_slice(),
    };
    match program.eval(&inputs) {
        Outcome::NoData => "no data".to_owned(),
        Outcome::Value(super::Value::Str(text)) => format!("{text:?}"),
        Outcome::Value(super::Value::Double(value)) => format!("{value:?}"),
        Outcome::Value(value) => value.to_string(),
    }
}
