//! Grammar: precedence, literals, and printing back.

use super::super::ast::{Expr, ExprKind, UnaryOp};
use super::super::parse::parse;
use super::super::{MAX_CHAIN, MAX_DEPTH, MAX_TEXT, codes};

/// The tree with a parenthesis around every operator.
fn grouped(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary { op, left, right } => {
            format!("({} {} {})", grouped(left), op.sign(), grouped(right))
        }
        ExprKind::Unary { op, operand } => {
            let sign = if *op == UnaryOp::Not { '!' } else { '-' };
            format!("({sign} {})", grouped(operand))
        }
        ExprKind::Cond {
            condition,
            then,
            otherwise,
        } => format!(
            "({} ? {} : {})",
            grouped(condition),
            grouped(then),
            grouped(otherwise)
        ),
        ExprKind::Select { operand, field } => format!("{}.{field}", grouped(operand)),
        ExprKind::Index { operand, index } => format!("{}[{}]", grouped(operand), grouped(index)),
        _ => expr.to_string(),
    }
}

#[test]
fn operators_group_as_in_cel() {
    for (text, expected) in [
        ("a || b && c", "(a || (b && c))"),
        ("a && b || c && d", "((a && b) || (c && d))"),
        ("a || b || c", "((a || b) || c)"),
        ("a == b && c != d", "((a == b) && (c != d))"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b % c * d", "(((a / b) % c) * d)"),
        ("a + b > c * d", "((a + b) > (c * d))"),
        ("a < b == c", "((a < b) == c)"),
        ("a in [b] == c", "((a in [b]) == c)"),
        ("!a && b", "((! a) && b)"),
        ("!a.b", "(! a.b)"),
        ("!!a", "(! (! a))"),
        ("-a * b", "((- a) * b)"),
        ("--a", "(- (- a))"),
        ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
        ("a || b ? c && d : e", "((a || b) ? (c && d) : e)"),
        ("(a || b) && c", "((a || b) && c)"),
        ("a - (b - c)", "(a - (b - c))"),
        ("a.b[0].c[\"d e\"]", "a.b[0].c[\"d e\"]"),
        ("-1 - -2", "(-1 - -2)"),
        ("-(1)", "(- 1)"),
        ("a -1", "(a - 1)"),
        ("1-1", "(1 - 1)"),
        ("f(a, b).g([c,])", "f(a, b).g([c])"),
        ("a // the first\n&& b", "(a && b)"),
    ] {
        let tree = parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        assert_eq!(grouped(&tree), expected, "{text}");
        let printed = tree.to_string();
        assert_eq!(parse(&printed).as_ref(), Ok(&tree), "{text} -> {printed}");
    }
}

#[test]
fn literals_are_read() {
    for (text, expected) in [
        ("0", "0"),
        ("0x1F", "31"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("-0x10", "-16"),
        ("5u", "5u"),
        ("0xffU", "255u"),
        ("80.0", "80.0"),
        (".5", "0.5"),
        ("1e3", "1000.0"),
        ("2.5E-3", "0.0025"),
        ("-1.5", "-1.5"),
        ("\"a\"", "\"a\""),
        ("'it\"s'", "\"it\\\"s\""),
        ("\"it's\"", "\"it's\""),
        (r#""\"\\\'\`\?""#, r#""\"\\'`?""#),
        (r"'\n\r\t'", r#""\n\r\t""#),
        (r"'\a\b\f\v'", "\"\\u0007\\u0008\\u000c\\u000b\""),
        (r"'\x41\u00e9\U0001F600\101'", "\"Aé😀A\""),
        (r"r'\d'", r#""\\d""#),
        ("'''two\nlines'''", "\"two\\nlines\""),
        ("\"\"\"a \"quoted\" word\"\"\"", "\"a \\\"quoted\\\" word\""),
        ("''", "\"\""),
        ("true", "true"),
        ("null", "null"),
        ("1h30m", "1h30m"),
    ] {
        let tree = parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        assert_eq!(tree.to_string(), expected, "{text}");
    }
}

#[test]
fn spans_cover_what_they_name() {
    let text = " a + ( b.c ) ";
    let tree = parse(text).expect("valid");
    assert_eq!(&text[tree.span.clone()], "a + ( b.c )");
    let ExprKind::Binary { right, .. } = tree.kind else {
        panic!("not a sum");
    };
    assert_eq!(&text[right.span], "( b.c )");
}

fn code(text: &str) -> Option<&'static str> {
    parse(text).err().map(|error| error.code)
}

#[test]
fn limits_hold_exactly() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(code(&nested(MAX_DEPTH - 1)), None);
    assert_eq!(code(&nested(MAX_DEPTH)), Some(codes::TOO_DEEP));
    assert_eq!(code(&"!".repeat(2000)), Some(codes::TOO_DEEP));
    assert_eq!(code(&"[".repeat(2000)), Some(codes::TOO_DEEP));
    assert_eq!(code(&"f(".repeat(2000)), Some(codes::TOO_DEEP));
    assert_eq!(code(&"a?b:".repeat(1000)), Some(codes::TOO_DEEP));

    let chained = |operators: usize| format!("a{}", " + a".repeat(operators));
    assert_eq!(code(&chained(MAX_CHAIN)), None);
    assert_eq!(code(&chained(MAX_CHAIN + 1)), Some(codes::TOO_DEEP));
    assert_eq!(
        code(&format!("a{}", ".b".repeat(2000))),
        Some(codes::TOO_DEEP)
    );

    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    assert_eq!(code(&long(MAX_TEXT)), None);
    assert_eq!(code(&long(MAX_TEXT + 1)), Some(codes::TOO_LONG));
}
