//! A transition as it stands in the alert log (`docs/formats.md`, "Alert transitions").

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use telemill_engine::clock::{LogTime, Timestamp};
use telemill_engine::device_id::DeviceId;
use telemill_engine::position::{Partition, Position, TopicId};
use telemill_engine::record::{EventId, Kind, Reason, Record};
use telemill_engine::stage::StageError;
use telemill_engine::topology::expr::Value;
use ulid::Ulid;
use xxhash_rust::xxh3::xxh3_64;

use super::machine::Phase;

/// The version of the form.
const VERSION: u8 = 1;

/// A transition on its way out.
pub(super) struct Transition<'a> {
    pub(super) alertname: &'a str,
    pub(super) device: &'a DeviceId,
    pub(super) incarnation: Ulid,
    pub(super) phase: Phase,
    pub(super) sequence: u32,
    pub(super) labels: Vec<(&'a str, String)>,
    pub(super) annotations: Vec<(&'a str, String)>,
    pub(super) value: Option<&'a Value<'a>>,
    pub(super) active_at: Timestamp,
    pub(super) at: Timestamp,
    pub(super) log_time: LogTime,
    pub(super) cause: Position,
    /// It is resolved only because nothing is known of the device any more.
    pub(super) is_forgotten: bool,
}

impl Transition<'_> {
    /// The record that carries it: message and payload are the same bytes.
    pub(super) fn into_record(self) -> Record {
        let Transition { alertname, device, incarnation, sequence, .. } = self;
        let fingerprint = xxh3_64(format!("{alertname}\0{device}\0{incarnation}").as_bytes());
        let fingerprint = format!("{fingerprint:016x}");
        let id = EventId::derived(self.at, format!("{fingerprint}/{sequence}").as_bytes());
        let form = Written {
            v: VERSION,
            alertname,
            state: State::from(self.phase),
            device_id: device,
            fingerprint: &fingerprint,
            sequence,
            incarnation,
            labels: Texts(&self.labels),
            annotations: Texts(&self.annotations),
            value: Json(self.value),
            active_at: self.active_at,
            at: self.at,
            log_time: self.log_time,
            cause: self.cause.into(),
            forgotten: self.is_forgotten,
        };
        let bytes = serde_json::to_vec(&form).expect("texts, numbers and maps with text keys have a form in JSON");
        let message = Bytes::from(bytes);
        let mut record = Record::new(id, device.clone(), Kind::Alert, message.clone(), self.at);
        record.message = Some(message);
        record
    }
}

/// What a restart has to know of a transition.
#[derive(Debug, Deserialize)]
pub(super) struct Entry<'a> {
    v: u8,
    #[serde(borrow)]
    pub(super) alertname: std::borrow::Cow<'a, str>,
    state: State,
    pub(super) sequence: u32,
    pub(super) incarnation: Ulid,
    pub(super) active_at: Timestamp,
    pub(super) at: Timestamp,
    pub(super) log_time: LogTime,
    cause: Cause,
}

impl Entry<'_> {
    /// Reads a record of the alert log.
    pub(super) fn read(record: &Record) -> Result<Entry<'_>, StageError> {
        let unreadable = |detail| StageError::reject(Reason::BAD_ENVELOPE, detail);
        let entry: Entry<'_> = serde_json::from_slice(record.message.as_ref().unwrap_or(&record.payload))
            .map_err(|error| unreadable(format!("the transition cannot be read: {error}")))?;
        match entry.v {
            VERSION => Ok(entry),
            other => Err(unreadable(format!("the transition has form {other}; this version reads {VERSION}"))),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Pending => Phase::Pending,
            State::Firing => Phase::Firing,
            State::Resolved => Phase::Inactive,
        }
    }

    pub(super) fn cause(&self) -> Position {
        let Cause { topic, partition, offset } = self.cause;
        Position { topic, partition, offset, output: 0 }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    v: u8,
    alertname: &'a str,
    state: State,
    device_id: &'a DeviceId,
    fingerprint: &'a str,
    sequence: u32,
    incarnation: Ulid,
    labels: Texts<'a>,
    annotations: Texts<'a>,
    value: Json<'a>,
    active_at: Timestamp,
    at: Timestamp,
    log_time: LogTime,
    cause: Cause,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    forgotten: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Pending,
    Firing,
    Resolved,
}

impl From<Phase> for State {
    fn from(phase: Phase) -> State {
        match phase {
            Phase::Inactive => State::Resolved,
            Phase::Pending => State::Pending,
            Phase::Firing => State::Firing,
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cause {
    topic: TopicId,
    partition: Partition,
    offset: i64,
}

impl From<Position> for Cause {
    fn from(Position { topic, partition, offset, .. }: Position) -> Cause {
        Cause { topic, partition, offset }
    }
}

struct Texts<'a>(&'a [(&'a str, String)]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, text) in self.0 {
            map.serialize_entry(name, text)?;
        }
        map.end()
    }
}

/// A scalar as JSON; `null` for whatever has no value, or is a list or an object.
struct Json<'a>(Option<&'a Value<'a>>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None | Some(Value::Null | Value::List(_) | Value::Map(_)) => serializer.serialize_unit(),
            Some(Value::Bool(value)) => serializer.serialize_bool(*value),
            Some(Value::Int(value)) => serializer.serialize_i64(*value),
            Some(Value::Double(value)) => serializer.serialize_f64(*value),
            Some(Value::Str(text)) => serializer.serialize_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition<'a>(device: &'a DeviceId, value: Option<&'a Value<'a>>) -> Transition<'a> {
        let topic = TopicId(uuid::Uuid::from_u128(0xabc));
        Transition {
            alertname: "Über \"heiß\"",
            device,
            incarnation: Ulid::from_parts(7, 9),
            phase: Phase::Firing,
            sequence: 2,
            labels: vec![("severity", "critical".to_owned())],
            annotations: vec![("a", "x\ny".to_owned()), ("b", String::new())],
            value,
            active_at: Timestamp(1_000),
            at: Timestamp(31_000),
            log_time: LogTime(45_000),
            cause: Position { topic, partition: 3, offset: 77, output: 0 },
            is_forgotten: false,
        }
    }

    #[test]
    fn the_written_form_is_fixed() {
        let device = "d1".parse().unwrap();
        let record = transition(&device, Some(&Value::Double(81.5))).into_record();
        let expect = concat!(
            r#"{"v":1,"alertname":"Über \"heiß\"","state":"firing","device_id":"d1","fingerprint":"53a742f65573a14e","#,
            r#""sequence":2,"incarnation":"00000000070000000000000009","labels":{"severity":"critical"},"#,
            r#""annotations":{"a":"x\ny","b":""},"value":81.5,"active_at":1000,"at":31000,"log_time":45000,"#,
            r#""cause":{"topic":"00000000-0000-0000-0000-000000000abc","partition":3,"offset":77}}"#,
        );
        assert_eq!(std::str::from_utf8(&record.payload).unwrap(), expect);
        assert_eq!(record.message, Some(record.payload.clone()));
        assert_eq!((record.kind, record.received_at), (Kind::Alert, Timestamp(31_000)));
        assert_eq!(record.id.0.timestamp_ms(), 31_000);
        let forgotten = Transition { is_forgotten: true, ..transition(&device, Some(&Value::Double(81.5))) };
        let expect = expect.replace("\"offset\":77}}", "\"offset\":77},\"forgotten\":true}");
        assert_eq!(std::str::from_utf8(&forgotten.into_record().payload).unwrap(), expect);
    }

    #[test]
    fn the_value_is_a_scalar_or_null() {
        let check = |value: Option<Value<'_>>, expect: &str| {
            assert_eq!(serde_json::to_string(&Json(value.as_ref())).unwrap(), expect);
        };
        check(None, "null");
        check(Some(Value::Int(-3)), "-3");
        check(Some(Value::Bool(true)), "true");
        check(Some(Value::Str("on".into())), r#""on""#);
        check(Some(Value::Null), "null");
        check(Some(Value::List(3)), "null");
        check(Some(Value::Map(3)), "null");
    }

    #[test]
    fn a_repetition_has_the_same_id_and_another_transition_another() {
        let device = "d1".parse().unwrap();
        let id = |sequence| Transition { sequence, ..transition(&device, None) }.into_record().id;
        assert_eq!(id(2), id(2));
        assert_ne!(id(2), id(3));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let device = "d1".parse().unwrap();
        let record = transition(&device, None).into_record();
        let entry = Entry::read(&record).unwrap();
        assert_eq!((&*entry.alertname, entry.phase(), entry.sequence), ("Über \"heiß\"", Phase::Firing, 2));
        assert_eq!((entry.incarnation, entry.active_at), (Ulid::from_parts(7, 9), Timestamp(1_000)));
        assert_eq!(entry.at, Timestamp(31_000));
        assert_eq!((entry.log_time, entry.cause().offset, entry.cause().partition), (LogTime(45_000), 77, 3));
        for bad in [r#"{"v":1}"#, "", "null"] {
            let bad = Record { message: Some(bad.into()), ..record.clone() };
            assert!(Entry::read(&bad).is_err());
        }
        let text = std::str::from_utf8(&record.payload).unwrap().replace(r#""v":1"#, r#""v":2"#);
        let newer = Record { message: Some(text.into()), ..record.clone() };
        assert!(Entry::read(&newer).unwrap_err().to_string().contains("form 2"));
    }
}
