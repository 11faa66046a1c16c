//! Whether a payload is fit: JSON, of a size and a depth.
//!
//! The payload is looked at, never taken apart: no tree, no copy, no recursion, so that no input can cost more than its
//! own length. serde_json skips a value without recursion and checks the grammar on the way; UTF-8 it leaves to us. Its
//! own depth limit does not apply there, so depth is counted apart, and only where a payload has more opening brackets
//! than it may have levels, which is rare.

use telemill_engine::record::Reason;

/// What a payload may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// In bytes.
    pub(crate) max_payload: usize,
    /// Levels of arrays and objects; a plain number has none.
    pub(crate) max_depth: usize,
}

/// Why a payload is unfit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Limits {
    /// Proves that a payload is JSON within the limits.
    pub(crate) fn check_json(self, payload: &[u8]) -> Result<(), Unfit> {
        let unfit = |reason, detail| Err(Unfit { reason, detail });
        if payload.is_empty() {
            return unfit(Reason::EMPTY, "the payload has no bytes".to_owned());
        }
        if payload.len() > self.max_payload {
            let detail = format!("the payload has {} bytes, more than {}", payload.len(), self.max_payload);
            return unfit(Reason::TOO_LARGE, detail);
        }
        let text = match std::str::from_utf8(payload) {
            Ok(text) => text,
            Err(error) => return unfit(Reason::NOT_UTF8, format!("the payload is not UTF-8: {error}")),
        };
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) {
            return unfit(Reason::NOT_JSON, format!("the payload is not JSON: {error}"));
        }
        if self.is_too_deep(payload) {
            let detail = format!("the payload nests deeper than {} levels", self.max_depth);
            return unfit(Reason::TOO_DEEP, detail);
        }
        Ok(())
    }

    fn is_too_deep(self, json: &[u8]) -> bool {
        let opening = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
        opening > self.max_depth && depth(json) > self.max_depth
    }
}

/// The levels of arrays and objects in a valid JSON text.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { max_payload: 400, max_depth: 64 };

    #[test]
    fn each_fault_has_its_reason() {
        let check = |payload: &[u8], expect: Result<(), Reason>| {
            let found = LIMITS.check_json(payload).map_err(|unfit| unfit.reason);
            assert_eq!(found, expect, "{:?}", String::from_utf8_lossy(payload));
        };
        check(br#"{"temperature": 21.5, "a": [null, true, "\u00e4\"[["]}"#, Ok(()));
        check(b" 1e400 ", Ok(()));
        check(b"", Err(Reason::EMPTY));
        check(b" ", Err(Reason::NOT_JSON));
        check(b"{", Err(Reason::NOT_JSON));
        check(b"{]", Err(Reason::NOT_JSON));
        check(b"1 2", Err(Reason::NOT_JSON));
        check(b"NaN", Err(Reason::NOT_JSON));
        check(b"'a'", Err(Reason::NOT_JSON));
        check(b"\"a\nb\"", Err(Reason::NOT_JSON));
        check(b"\xff\xfe", Err(Reason::NOT_UTF8));
        check(b"\"\xc3\"", Err(Reason::NOT_UTF8));
        check(b"\xef\xbb\xbf{}", Err(Reason::NOT_JSON));
    }

    #[test]
    fn the_limits_are_exact() {
        let nested = |levels: usize| [vec![b'['; levels], vec![b']'; levels]].concat();
        let check = |payload: &[u8], expect: Result<(), Reason>| {
            assert_eq!(LIMITS.check_json(payload).map_err(|unfit| unfit.reason), expect, "{} bytes", payload.len());
        };
        check(&nested(64), Ok(()));
        check(&nested(65), Err(Reason::TOO_DEEP));
        check("[1],".repeat(65).trim_end_matches(',').replacen('[', "[[", 1).as_bytes(), Err(Reason::NOT_JSON));
        check(format!("[{}1]", "[1],".repeat(65)).as_bytes(), Ok(()));
        check(format!("\"{}\"", "[".repeat(100)).as_bytes(), Ok(()));
        check(format!("\"{}\"", "a".repeat(398)).as_bytes(), Ok(()));
        check(format!("\"{}\"", "a".repeat(399)).as_bytes(), Err(Reason::TOO_LARGE));
        let deep = Limits { max_payload: usize::MAX, ..LIMITS };
        assert_eq!(deep.check_json(&nested(1_000_000)).map_err(|unfit| unfit.reason), Err(Reason::TOO_DEEP));
        assert_eq!(Limits { max_depth: 1, ..LIMITS }.check_json(b"[1]"), Ok(()));
        assert!(Limits { max_depth: 1, ..LIMITS }.check_json(b"[{}]").is_err());
    }

    fn json() -> impl Strategy<Value = (serde_json::Value, usize)> {
        let leaf = prop_oneof![
            Just((serde_json::Value::Null, 0)),
            any::<f64>().prop_map(|n| (n.into(), 0)),
            r#"[\[\]{}"\\a]*"#.prop_map(|text| (text.into(), 0)),
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            proptest::collection::vec((r#"[\[{"\\]*"#, inner), 0..4).prop_flat_map(|members| {
                let deepest = members.iter().map(|(_, (_, depth))| *depth).max().unwrap_or(0) + 1;
                let list: Vec<_> = members.iter().map(|(_, (value, _))| value.clone()).collect();
                // Of members with the same key one would hide the others.
                let keyed =
                    members.iter().enumerate().map(|(i, (key, (value, _)))| (format!("{key}{i}"), value.clone()));
                let map: serde_json::Map<_, _> = keyed.collect();
                prop_oneof![Just((list.into(), deepest)), Just((map.into(), deepest))]
            })
        })
    }

    proptest! {
        #[test]
        fn depth_is_that_of_the_tree((value, expect) in json()) {
            let text = value.to_string();
            prop_assert_eq!(depth(text.as_bytes()), expect);
            let limits = Limits { max_payload: text.len(), max_depth: expect };
            prop_assert_eq!(limits.check_json(text.as_bytes()), Ok(()));
            if expect > 0 {
                let limits = Limits { max_depth: expect - 1, ..limits };
                prop_assert_eq!(limits.check_json(text.as_bytes()).map_err(|unfit| unfit.reason), Err(Reason::TOO_DEEP));
            }
        }

        #[test]
        fn any_bytes_get_an_answer_that_a_full_parser_shares(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            let fit = LIMITS.check_json(&bytes).is_ok();
            prop_assert!(!fit || serde_json::from_slice::<&serde_json::value::RawValue>(&bytes).is_ok());
        }
    }
}
