//! Topic templates: `devices/{device_id}/data`.
//!
//! One level of the topic is the device. Read from left to right a template gives the filter to subscribe to; read
//! backwards it gives the device of a topic. Both directions are exact: the device is one whole level, and no other
//! level is a wildcard, so a topic names its device in one way only.

use telemill_engine::device_id::DeviceId;
use thiserror::Error;

/// The level of a template that stands for the device.
pub const DEVICE_LEVEL: &str = "{device_id}";

/// A topic with one level left open for the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    /// What stands before the device's level, its slash included.
    prefix: String,
    /// What stands behind it, its slash included.
    suffix: String,
}

/// Why a text is no topic template.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    /// No level is `{device_id}`.
    #[error("no level of the topic is `{DEVICE_LEVEL}`")]
    NoDevice,
    /// More than one level is.
    #[error("`{DEVICE_LEVEL}` stands in the topic more than once")]
    TwoDevices,
    /// It is only part of a level.
    #[error("`{DEVICE_LEVEL}` must be a whole level of the topic, between slashes")]
    PartOfLevel,
    /// A wildcard besides the device.
    #[error("a topic template has no wildcards `+` and `#`; the device is its only open level")]
    Wildcard,
    /// A shared subscription.
    #[error("shared subscriptions spread one device over several consumers, which breaks the order of its records")]
    Shared,
    /// A level with a dollar sign in front belongs to the broker.
    #[error("topics that begin with `$` belong to the broker")]
    Reserved,
    /// What MQTT does not allow in a topic.
    #[error("a topic has 1 to 65535 bytes, none of them zero")]
    NoTopic,
}

impl TopicTemplate {
    /// Takes a template apart.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() || text.len() > usize::from(u16::MAX) || text.contains('\0') {
            return Err(TemplateError::NoTopic);
        }
        if text.starts_with("$share/") {
            return Err(TemplateError::Shared);
        }
        if text.starts_with('$') {
            return Err(TemplateError::Reserved);
        }
        if text.contains(['+', '#']) {
            return Err(TemplateError::Wildcard);
        }
        match text.split('/').filter(|level| *level == DEVICE_LEVEL).count() {
            _ if text.split('/').any(|level| level != DEVICE_LEVEL && level.contains(DEVICE_LEVEL)) => {
                Err(TemplateError::PartOfLevel)
            }
            0 => Err(TemplateError::NoDevice),
            1 => {
                let (prefix, suffix) = text.split_once(DEVICE_LEVEL).ok_or(TemplateError::NoDevice)?;
                Ok(TopicTemplate { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
            }
            _ => Err(TemplateError::TwoDevices),
        }
    }

    /// The filter that matches the topics of all devices.
    pub fn filter(&self) -> String {
        format!("{}+{}", self.prefix, self.suffix)
    }

    /// The topic of one device.
    pub fn topic_of(&self, device: &DeviceId) -> String {
        format!("{}{device}{}", self.prefix, self.suffix)
    }

    /// The level of `topic` that stands for the device, whatever is in it; none when the topic is not of this template.
    pub fn device_in<'t>(&self, topic: &'t str) -> Option<&'t str> {
        let device = topic.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        (!device.contains('/')).then_some(device)
    }

    /// The last level, unless it is the device.
    pub fn last_level(&self) -> Option<&str> {
        self.suffix.rsplit_once('/').map(|(_, last)| last)
    }

    /// Whether there are topics of both templates. A broker may deliver such a message twice.
    pub fn overlaps(&self, other: &TopicTemplate) -> bool {
        let (ours, theirs) = (self.filter(), other.filter());
        let same = |(a, b): (&str, &str)| a == b || a == "+" || b == "+";
        ours.split('/').count() == theirs.split('/').count() && ours.split('/').zip(theirs.split('/')).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_one_open_level() {
        let check = |text: &str, expect: Result<&str, TemplateError>| {
            assert_eq!(TopicTemplate::parse(text).map(|t| t.filter()), expect.map(str::to_owned), "{text}");
        };
        check("devices/{device_id}/data", Ok("devices/+/data"));
        check("{device_id}/data", Ok("+/data"));
        check("a/b/{device_id}", Ok("a/b/+"));
        check("/{device_id}//data", Ok("/+//data"));
        check("devices/data", Err(TemplateError::NoDevice));
        check("devices/{device}/data", Err(TemplateError::NoDevice));
        check("{device_id}/{device_id}", Err(TemplateError::TwoDevices));
        check("d-{device_id}/data", Err(TemplateError::PartOfLevel));
        check("{device_id}{device_id}/data", Err(TemplateError::PartOfLevel));
        check("+/{device_id}/data", Err(TemplateError::Wildcard));
        check("devices/{device_id}/#", Err(TemplateError::Wildcard));
        check("$share/g/devices/{device_id}/data", Err(TemplateError::Shared));
        check("$SYS/{device_id}/data", Err(TemplateError::Reserved));
        check("", Err(TemplateError::NoTopic));
        check("a\0/{device_id}", Err(TemplateError::NoTopic));
    }

    #[test]
    fn a_topic_names_its_device_whatever_that_is() {
        let template = TopicTemplate::parse("devices/{device_id}/data").unwrap();
        let check = |topic: &str, expect: Option<&str>| assert_eq!(template.device_in(topic), expect, "{topic}");
        check("devices/d1/data", Some("d1"));
        check("devices//data", Some(""));
        check("devices/a b/data", Some("a b"));
        check("devices/a/b/data", None);
        check("devices/d1/hello", None);
        check("devices/data", None);
        check("xdevices/d1/data", None);
        assert_eq!(template.topic_of(&"d1".parse().unwrap()), "devices/d1/data");
        assert_eq!(template.last_level(), Some("data"));
        assert_eq!(TopicTemplate::parse("a/{device_id}").unwrap().last_level(), None);
    }

    #[test]
    fn templates_overlap_when_a_topic_fits_both() {
        let check = |a: &str, b: &str, expect: bool| {
            let (a, b) = (TopicTemplate::parse(a).unwrap(), TopicTemplate::parse(b).unwrap());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expect, expect), "{a:?} {b:?}");
        };
        check("devices/{device_id}/data", "devices/{device_id}/data", true);
        check("devices/{device_id}/data", "{device_id}/d1/data", true);
        check("devices/{device_id}/data", "devices/{device_id}/hello", false);
        check("devices/{device_id}/data", "devices/{device_id}/data/x", false);
    }
}
