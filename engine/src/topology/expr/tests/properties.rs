//! What holds for any text and any message.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::super::ast::{BinaryOp, Call, Expr, ExprKind, Literal, UnaryOp};
use super::super::parse::parse;
use super::super::{Fields, Inputs, MAX_TEXT, Outcome, Path, Program, Segment, Template, TemplateScope, Value, Want};

fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: 0..0 }
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_][a-zA-Z0-9_]{0,6}"
        .prop_filter("reserved", |name| !matches!(name.as_str(), "true" | "false" | "null" | "in"))
}

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        any::<i64>().prop_map(Literal::Int),
        any::<u64>().prop_map(Literal::Uint),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Literal::Double),
        any::<String>().prop_map(Literal::Str),
        "[0-9]{1,3}(ms|s|m|h|d)".prop_map(Literal::Duration),
    ]
}

fn binary_op() -> impl Strategy<Value = BinaryOp> {
    proptest::sample::select(vec![
        BinaryOp::Or,
        BinaryOp::And,
        BinaryOp::Less,
        BinaryOp::LessEq,
        BinaryOp::Greater,
        BinaryOp::GreaterEq,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::In,
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Rem,
    ])
}

/// Any tree that the parser can build.
fn tree() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        literal().prop_map(|literal| expr(ExprKind::Lit(literal))),
        name().prop_map(|name| expr(ExprKind::Ident(name))),
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (binary_op(), boxed(), boxed()).prop_map(|(op, left, right)| expr(ExprKind::Binary { op, left, right })),
            (any::<bool>(), boxed()).prop_map(|(not, operand)| {
                let op = if not { UnaryOp::Not } else { UnaryOp::Neg };
                expr(ExprKind::Unary { op, operand })
            }),
            (boxed(), name()).prop_map(|(operand, field)| expr(ExprKind::Select { operand, field })),
            (boxed(), boxed()).prop_map(|(operand, index)| expr(ExprKind::Index { operand, index })),
            (proptest::option::of(boxed()), name(), vec(inner.clone(), 0..3))
                .prop_map(|(target, name, args)| expr(ExprKind::Call(Call { target, name, name_span: 0..0, args }))),
            (boxed(), boxed(), boxed())
                .prop_map(|(condition, then, otherwise)| { expr(ExprKind::Cond { condition, then, otherwise }) }),
            vec(inner.clone(), 0..4).prop_map(|items| expr(ExprKind::List(items))),
        ]
    })
}

/// Texts made of the language's own words: far more of them parse than of arbitrary ones.
fn words() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec![
        "payload",
        "payload.a",
        "payload.b",
        "payload.c",
        ".a",
        "[0]",
        "[\"k\"]",
        "device_id",
        "timestamp",
        "kind",
        "1",
        "2.5",
        "-3",
        "0",
        "9223372036854775807",
        "\"x\"",
        "'",
        "true",
        "null",
        "5m",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "<",
        "<=",
        ">",
        "==",
        "!=",
        "in",
        "&&",
        "||",
        "?",
        ":",
        "(",
        ")",
        "[",
        "]",
        ",",
        "has(",
        "size(",
        "double(",
        "int(",
        "string(",
        ".startsWith(",
        ".contains(",
        "foo(",
        "ä",
        "{{",
        "}}",
    ]);
    vec(word, 0..24).prop_map(|words| words.join(" "))
}

/// Well-typed expressions over the fields a, b and c, with whatever the fields hold.
fn condition() -> impl Strategy<Value = String> {
    let number = proptest::sample::select(vec![
        "payload.a",
        "payload.b",
        "payload.c[0]",
        "payload.c.a",
        "1",
        "0",
        "-2.5",
        "timestamp",
        "size(payload.b)",
        "int(payload.a)",
        "double(payload.b)",
        "9223372036854775807",
        "payload",
    ])
    .prop_map(str::to_owned)
    .prop_recursive(4, 16, 2, |inner| {
        (inner.clone(), proptest::sample::select(vec!["+", "-", "*", "/", "%"]), inner).prop_map(|(left, op, right)| {
            // `%` takes no doubles and constants may not fail, so both sides read the message.
            format!("int(payload.a + {left}) {op} int(payload.b + {right})")
        })
    });
    let compared = (number.clone(), proptest::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]), number)
        .prop_map(|(left, op, right)| format!("payload.a + {left} {op} {right}"));
    let test = prop_oneof![
        compared,
        proptest::sample::select(vec![
            "has(payload.a)",
            "payload.a == true",
            "(payload.a && !payload.b)",
            "payload.b == null",
            "payload.b.startsWith('a')",
            "payload.a in [1, 2.0, payload.b]",
            "payload.c in ['x', null]",
            "device_id == payload.b",
        ])
        .prop_map(str::to_owned),
    ];
    test.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} && {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} || {right})")),
            inner.clone().prop_map(|test| format!("!({test})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(test, then, otherwise)| format!("({test} ? {then} : {otherwise})")),
        ]
    })
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        (-3_i64..4).prop_map(Json::from),
        (-1e6..1e6).prop_map(Json::from),
        ".{0,6}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            btree_map(key(), inner, 0..4).prop_map(Json::from_iter),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("odd \"é\"\n"), Just("")].prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = Vec<Segment>> {
    let segment = prop_oneof![
        3 => key().prop_map(|key| Segment::Key(key.into())),
        1 => (0_u32..4).prop_map(Segment::Index),
    ];
    vec(segment, 0..4)
}

fn to_path(segments: &[Segment]) -> Path {
    let mut path = Path::default();
    for segment in segments {
        path.push(segment.clone());
    }
    path
}

/// What a reader that builds the whole document finds.
fn look_up(json: &Json, segments: &[Segment]) -> Option<Value<'static>> {
    let found = segments.iter().try_fold(json, |json, segment| match segment {
        Segment::Key(key) => json.as_object()?.get(&**key),
        Segment::Index(index) => json.as_array()?.get(*index as usize),
    })?;
    Some(match found {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Double(number.as_f64()?),
        },
        Json::String(text) => Value::Str(text.clone().into()),
        Json::Array(items) => Value::List(items.len()),
        Json::Object(map) => Value::Map(map.len()),
    })
}

fn eval_all(program: &Program, fields: Fields, payload: &[u8]) -> Option<bool> {
    let plan = fields.freeze();
    let mut slots = plan.slots();
    let _ = plan.extract(payload, &mut slots);
    let inputs = Inputs { device_id: "d1", kind: "data", timestamp: 1_700_000_000, slots: slots.as_slice() };
    if let Outcome::Value(Value::Double(value)) = program.eval(&inputs) {
        assert!(value.is_finite());
    }
    program.eval_bool(&inputs)
}

/// Errors point into the text, at characters, and say what to do.
fn compiles_or_explains(text: &str, payload: &[u8]) -> Result<(), TestCaseError> {
    for want in [Want::Bool, Want::Any] {
        let mut fields = Fields::new();
        match Program::compile(text, want, &mut fields) {
            Ok(program) => {
                eval_all(&program, fields, payload);
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(text.get(error.span.clone()).is_some(), "{error:?}");
                    prop_assert!(error.hint.is_some_and(|hint| !hint.is_empty()));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn printing_a_tree_and_parsing_it_gives_the_tree(tree in tree()) {
        let text = tree.to_string();
        prop_assume!(text.len() <= MAX_TEXT);
        prop_assert_eq!(parse(&text), Ok(tree), "{}", text);
    }

    #[test]
    fn no_text_panics(text in any::<String>(), payload in any::<Vec<u8>>()) {
        compiles_or_explains(&text, &payload)?;
    }

    #[test]
    fn no_sequence_of_words_panics(text in words(), payload in json()) {
        compiles_or_explains(&text, payload.to_string().as_bytes())?;
        let scope = TemplateScope { alertname: "A", labels: &Default::default(), value: None };
        if let Err(errors) = Template::compile(&text, &scope, &mut Fields::new()) {
            for error in errors {
                prop_assert!(text.get(error.span.clone()).is_some(), "{:?}", error);
            }
        }
    }

    #[test]
    fn conditions_compile_and_no_message_panics(text in condition(), payload in json()) {
        prop_assume!(text.len() <= MAX_TEXT);
        let mut fields = Fields::new();
        let program = Program::compile(&text, Want::Bool, &mut fields)
            .map_err(|errors| TestCaseError::fail(format!("{text}: {errors:?}")))?;
        eval_all(&program, fields, payload.to_string().as_bytes());
    }

    #[test]
    fn extraction_finds_what_a_whole_document_holds(payload in json(), paths in vec(path(), 0..6)) {
        let mut fields = Fields::new();
        let ids: Vec<_> = paths.iter().map(|path| fields.add(&to_path(path))).collect();
        let plan = fields.freeze();
        let text = payload.to_string();
        let mut slots = plan.slots();
        plan.extract(text.as_bytes(), &mut slots).expect("JSON");
        let read: Json = serde_json::from_str(&text).expect("JSON");
        for (path, id) in paths.iter().zip(ids) {
            prop_assert_eq!(slots.get(id).cloned(), look_up(&read, path), "{:?} in {}", path, text);
        }
    }

    #[test]
    fn a_field_has_one_order_with_a_number(int in any::<i64>(), double in any::<f64>()) {
        prop_assume!(double.is_finite());
        for literal in [format!("{double:?}"), format!("{}", int as f64 as i128)] {
            let mut fields = Fields::new();
            let texts = ["<", "==", ">"].map(|op| format!("payload {op} {literal}"));
            // A literal beyond an int's range is refused, which is right.
            let programs: Result<Vec<_>, _> =
                texts.iter().map(|text| Program::compile(text, Want::Bool, &mut fields)).collect();
            let Ok(programs) = programs else { continue };
            let held = programs.iter().filter(|program| {
                eval_all(program, fields.clone(), int.to_string().as_bytes()) == Some(true)
            });
            prop_assert_eq!(held.count(), 1, "{} against {}", int, literal);
        }
    }
}
