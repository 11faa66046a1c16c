//! A command on its way through the log (`docs/formats.md`, "Commands").

use telemill_engine::clock::Timestamp;
use telemill_engine::envelope;
use telemill_engine::ports::Command;

/// What the name of a topic of commands ends with.
const SUFFIX: &str = "-commands";

/// The first of these topics that is one of commands.
pub(crate) fn topic_of_commands<'a>(mut topics: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    topics.find(|topic| topic.ends_with(SUFFIX))
}

/// The message of a command: as of any record, with the time until which it may wait.
pub(crate) fn value(command: &Command) -> Vec<u8> {
    let mut out = Vec::new();
    envelope::write(&mut out, &command.device, &command.body, command.accepted_at, command.id);
    let expires_at = command.ttl.map(|ttl| command.accepted_at + ttl);
    let expires_at = expires_at.map_or_else(|| "null".to_owned(), |Timestamp(millis)| millis.to_string());
    out.pop();
    out.extend_from_slice(b",\"expires_at\":");
    out.extend_from_slice(expires_at.as_bytes());
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use bytes::Bytes;
    use telemill_engine::record::EventId;
    use ulid::Ulid;

    #[test]
    fn the_written_form_is_fixed() {
        let check = |ttl: Option<u64>, expect: &str| {
            let command = Command {
                id: EventId(Ulid::from_parts(7, 9)),
                device: "d1".parse().unwrap(),
                body: Bytes::from_static(br#"{"set": 1}"#),
                accepted_at: Timestamp(5_432),
                ttl: ttl.map(Duration::from_millis),
            };
            assert_eq!(std::str::from_utf8(&value(&command)).unwrap(), expect);
        };
        check(
            None,
            r#"{"device_id":"d1","payload":{"set": 1},"timestamp":5,"event_id":"00000000070000000000000009","expires_at":null}"#,
        );
        check(
            Some(1_000),
            r#"{"device_id":"d1","payload":{"set": 1},"timestamp":5,"event_id":"00000000070000000000000009","expires_at":6432}"#,
        );
    }

    #[test]
    fn a_topic_of_commands_is_known_by_its_name() {
        let find = |topics: &[&str]| topic_of_commands(topics.iter().copied()).map(str::to_owned);
        assert_eq!(find(&["iot-data", "iot-commands"]), Some("iot-commands".to_owned()));
        assert_eq!(find(&["iot-data", "commands"]), None);
    }
}
