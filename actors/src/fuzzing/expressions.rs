//! Expressions, templates and paths, on any payload: `text`, `---`, `payload`.

use std::collections::BTreeMap;

use telemill_engine::topology::expr::{
    ExprError, FieldPlan, Fields, Inputs, MAX_RENDERED, MAX_STRING, Outcome, Path, Program, Template, TemplateScope,
    Value, Want,
};

use super::parts;

/// A text is refused, with errors that point into it and say what to do, or it gives a result within its bounds for
/// whatever is in the payload.
pub(super) fn holds(bytes: &[u8]) {
    let Some([text, payload]) = parts(bytes) else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    for want in [Want::Bool, Want::Any] {
        let mut fields = Fields::new();
        match Program::compile(text, want, &mut fields) {
            Ok(program) => with_inputs(&fields.freeze(), payload, |inputs| evaluates(&program, want, inputs)),
            Err(errors) => explain(text, &errors),
        }
    }
    match Path::parse(text) {
        Ok(path) => assert_eq!(Path::parse(&path.to_string()).as_ref(), Ok(&path), "{path} is another path"),
        Err(errors) => explain(text, &errors),
    }
    renders(text, payload);
}

fn evaluates(program: &Program, want: Want, inputs: &Inputs<'_>) {
    let outcome = program.eval(inputs);
    match &outcome {
        Outcome::Value(Value::Double(value)) => assert!(value.is_finite(), "{value}"),
        Outcome::Value(Value::Str(text)) => {
            // One that is a field of the payload is as long as that.
            assert!(text.len() <= MAX_STRING || program.primary_path().is_some(), "{} bytes", text.len());
        }
        Outcome::Value(value) => assert!(want == Want::Any || matches!(value, Value::Bool(_)), "{value:?}"),
        Outcome::NoData => {}
    }
    let condition = match outcome {
        Outcome::Value(Value::Bool(value)) => Some(value),
        _ => None,
    };
    assert_eq!(program.eval_bool(inputs), condition);
}

fn renders(text: &str, payload: &[u8]) {
    let value = Path::parse("payload.t").ok();
    let labels = BTreeMap::from([("severity".to_owned(), "critical".to_owned())]);
    let scope = TemplateScope { alertname: "Hot", labels: &labels, value: value.as_ref() };
    let mut fields = Fields::new();
    match Template::compile(text, &scope, &mut fields) {
        Ok(template) => with_inputs(&fields.freeze(), payload, |inputs| {
            let rendered = template.render(inputs);
            assert!(rendered.len() <= MAX_RENDERED, "{} bytes", rendered.len());
        }),
        Err(errors) => explain(text, &errors),
    }
}

fn with_inputs(plan: &FieldPlan, payload: &[u8], call: impl FnOnce(&Inputs<'_>)) {
    let mut slots = plan.slots();
    // What is no JSON was refused at the ingress; here the slots then hold what was read of it.
    let _unread = plan.extract(payload, &mut slots);
    call(&Inputs { device_id: "d1", kind: "data", timestamp: 1_700_000_000, slots: slots.as_slice() });
}

fn explain(text: &str, errors: &[ExprError]) {
    assert!(!errors.is_empty(), "refused without a reason");
    for error in errors {
        assert!(text.get(error.span.clone()).is_some(), "{error:?} is not in the text");
        assert!(error.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "{error:?} has no hint");
    }
}
