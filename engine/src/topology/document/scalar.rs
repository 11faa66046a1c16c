//! What an unquoted YAML scalar is: the core schema of YAML 1.2.2 (§10.3.2).
//!
//! Only `true` and `false` are booleans: `yes`, `no`, `on` and `off` are strings, as is `012:30`.

use super::node::Value;

/// The value of a plain scalar that is not a string; `None` for strings.
pub(super) fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    integer(text).map(Value::Int).or_else(|| float(text).map(Value::Float))
}

fn integer(text: &str) -> Option<i128> {
    let digits = |digits: &str, radix| i128::from_str_radix(digits, radix).ok();
    if let Some(octal) = text.strip_prefix("0o") {
        return octal.bytes().all(|b| b.is_ascii_digit()).then(|| digits(octal, 8))?;
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return hex.bytes().all(|b| b.is_ascii_hexdigit()).then(|| digits(hex, 16))?;
    }
    // `from_str_radix` takes exactly one sign, as the schema does.
    digits(text, 10)
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    // Rust's own parser also knows `inf` and `nan`, which are strings here.
    let numeric = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let starts = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    (numeric && starts).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        for (text, expected) in [
            ("", "Null"),
            ("~", "Null"),
            ("null", "Null"),
            ("true", "Bool(true)"),
            ("FALSE", "Bool(false)"),
            ("0", "Int(0)"),
            ("-17", "Int(-17)"),
            ("+3", "Int(3)"),
            ("012", "Int(12)"),
            ("0o14", "Int(12)"),
            ("0xC", "Int(12)"),
            ("1.5", "Float(1.5)"),
            ("-.5e3", "Float(-500.0)"),
            ("1.", "Float(1.0)"),
            ("1e3", "Float(1000.0)"),
            (".inf", "Float(inf)"),
            ("-.inf", "Float(-inf)"),
            (".nan", "Float(NaN)"),
            ("999999999999999999999999999999999999999999", "Float(1e42)"),
        ] {
            let value = resolve(text).map(|value| format!("{value:?}"));
            assert_eq!(value.as_deref(), Some(expected), "{text:?}");
        }
        for text in [
            "yes", "no", "on", "off", "inf", "nan", "1_000", "60s", ".", "-", "+-3", "0o", "0o18", "0x", "1.2.3", "e3",
            "12:30",
        ] {
            assert!(resolve(text).is_none(), "{text:?} is a string");
        }
    }
}
