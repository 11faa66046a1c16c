//! What the device itself sent twice, known by its own message ids.
//!
//! A device that did not hear its acknowledgement sends again, and each sending is a record of its own in the log. Where
//! the device numbers its messages, the session keeps the ids of the last ones in a window and drops what it has seen.
//! Ids are kept as hashes of 64 bits: that two different ones of a window are taken for one happens once in 10^17
//! records. An id that is no text and no whole number of 64 bits is none: it could not be told from its neighbours.

use std::collections::VecDeque;
use std::fmt::{self, Formatter};

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use telemill_engine::context::{CheckContext, FieldProblem};
use telemill_engine::record::Record;
use telemill_engine::topology::document::codes::INVALID_VALUE;
use telemill_engine::topology::expr::{FieldPlan, Fields, Path, Slots, Value};
use xxhash_rust::xxh3::xxh3_64;

/// How many ids are kept when the topology does not say.
const WINDOW: usize = 64;
const LARGEST_WINDOW: usize = 4096;

/// As written: `payload.<field>`, or with the size of the window.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum IdentitySpec {
    /// The field that holds the id.
    Field(String),
    /// The field that holds the id, and how many of the last ids are known.
    Window(IdentityWindowSpec),
}

/// Not derived: which of the forms is meant is known by the first look, and then its own mistakes are named.
impl<'de> Deserialize<'de> for IdentitySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = IdentitySpec;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("a field such as `payload.msg_id`, or `{ from: payload.msg_id, window: 64 }`")
            }

            fn visit_str<E: Error>(self, from: &str) -> Result<IdentitySpec, E> {
                Ok(IdentitySpec::Field(from.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IdentitySpec, A::Error> {
                IdentityWindowSpec::deserialize(MapAccessDeserializer::new(map)).map(IdentitySpec::Window)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

/// The long form.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityWindowSpec {
    /// The field that holds the id, such as `payload.msg_id`: a text or a whole number.
    pub from: String,
    /// How many of the device's last ids are known, 1 to 4096; 64 when absent. Each takes 8 bytes of the session.
    #[serde(default = "default_window")]
    pub window: usize,
}

fn default_window() -> usize {
    WINDOW
}

/// Proven good.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    plan: FieldPlan,
    window: usize,
}

impl IdentitySpec {
    pub(super) fn check(self, cx: &mut CheckContext<'_>) -> Option<Identity> {
        let (at, from, window) = match self {
            IdentitySpec::Field(from) => ("identity", from, WINDOW),
            IdentitySpec::Window(spec) => ("identity.from", spec.from, spec.window),
        };
        let fits = (1..=LARGEST_WINDOW).contains(&window);
        if !fits {
            let message = format!("a window of {window} ids is not from 1 to {LARGEST_WINDOW}");
            let hint = "as many as the device may have sent without an answer; 64 when absent";
            cx.problem("identity.window", INVALID_VALUE, message, hint);
        }
        let path = match Path::parse(&from) {
            Ok(path) if path.segments().is_empty() => {
                cx.problem(at, INVALID_VALUE, "the whole payload is no id", "name a field: `payload.msg_id`");
                return None;
            }
            Ok(path) => path,
            Err(errors) => {
                cx.problems.extend(errors.into_iter().map(|error| FieldProblem {
                    at: at.to_owned(),
                    range: Some(error.span),
                    code: error.code,
                    message: error.message,
                    hint: error.hint,
                }));
                return None;
            }
        };
        let mut fields = Fields::new();
        fields.add(&path);
        fits.then(|| Identity { plan: fields.freeze(), window })
    }
}

impl Identity {
    /// Whether the session has seen the record's id; from here on it has. A record without one was never seen.
    pub(super) fn has_seen(&self, seen: &mut Option<Box<Seen>>, record: &Record) -> bool {
        let mut slots = Slots::default();
        // What cannot be read holds no field.
        let _ = self.plan.extract(&record.payload, &mut slots);
        let id = match slots.as_slice().first() {
            Some(Some(Value::Str(text))) => xxh3_64(text.as_bytes()),
            // As text, so that a device which begins to quote its numbers stays the same.
            Some(Some(Value::Int(number))) => xxh3_64(number.to_string().as_bytes()),
            _ => return false,
        };
        let Seen(ids) = &mut **seen.get_or_insert_default();
        if ids.contains(&id) {
            return true;
        }
        ids.push_back(id);
        while ids.len() > self.window {
            ids.pop_front();
        }
        false
    }
}

/// The hashes of the last ids, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen(VecDeque<u64>);
