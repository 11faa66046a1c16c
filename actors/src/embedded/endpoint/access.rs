//! What a client may do. Pure.
//!
//! One that has proved who it is publishes and subscribes as that device alone. Without authentication every client may
//! publish as any device, and get any device's commands. Nothing else can be subscribed to, by anyone: so no message of
//! a device ever reaches another client, and there is nothing that a retained message could be handed to.

use telemill_engine::device_id::DeviceId;

use super::wire::Code;
use crate::ingress::Routes;
use crate::mqtt::TopicTemplate;

/// What one client may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// There is no authentication.
    Anyone,
    /// It is this device.
    Device(DeviceId),
}

impl Access {
    /// Whether it may publish to a topic. What belongs to no route is a device's mistake, or, where devices are known,
    /// none of their business.
    pub(crate) fn may_publish(&self, routes: &Routes, topic: &str) -> bool {
        match self {
            Access::Anyone => true,
            Access::Device(me) => routes.device_in(topic) == Some(me.as_str()),
        }
    }

    /// The quality of service that a subscription is granted, or why it is not.
    pub(crate) fn subscribe(&self, commands: &TopicTemplate, filter: &str, qos: u8) -> Code {
        if !is_filter(filter) {
            return Code::FILTER_INVALID;
        }
        let device = commands.device_in(filter).and_then(|device| DeviceId::new(device.as_bytes()).ok());
        let granted = match (self, device) {
            (_, None) => false,
            (Access::Anyone, Some(_)) => true,
            (Access::Device(me), Some(device)) => *me == device,
        };
        if granted { Code(qos.min(1)) } else { Code::NOT_AUTHORIZED }
    }
}

/// Whether wildcards stand where they may: `+` for a whole level, `#` for the last.
fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').rev();
    let last = levels.next().unwrap_or_default();
    let plus = |level: &str| level == "+" || !level.contains('+');
    (last == "#" || !last.contains('#')) && plus(last) && levels.all(|level| plus(level) && !level.contains('#'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::Route;
    use crate::ingress::payload::Limits;

    fn device() -> Access {
        Access::Device("d1".parse().unwrap())
    }

    #[test]
    fn a_device_publishes_only_as_itself() {
        let route = |text| {
            let template = TopicTemplate::parse(text).unwrap();
            Route { kind: template.last_level().unwrap().into(), template, needs_json: true }
        };
        let routes = ["devices/{device_id}/data", "devices/{device_id}/hello"].map(route).into();
        let routes = Routes { routes, limits: Limits { max_payload: 1, max_depth: 1 } };
        let check = |topic: &str, as_anyone: bool, as_device: bool| {
            assert_eq!(Access::Anyone.may_publish(&routes, topic), as_anyone, "{topic}");
            assert_eq!(device().may_publish(&routes, topic), as_device, "{topic}");
        };
        check("devices/d1/data", true, true);
        check("devices/d1/hello", true, true);
        check("devices/d2/data", true, false);
        check("devices/d1 /data", true, false);
        check("devices/d1/data/x", true, false);
        check("other/d1", true, false);
        check("", true, false);
    }

    #[test]
    fn commands_are_all_that_can_be_subscribed_to() {
        let commands = TopicTemplate::parse("devices/{device_id}/commands").unwrap();
        let check = |filter: &str, as_anyone: Code, as_device: Code| {
            assert_eq!(Access::Anyone.subscribe(&commands, filter, 2), as_anyone, "{filter}");
            assert_eq!(device().subscribe(&commands, filter, 2), as_device, "{filter}");
        };
        check("devices/d1/commands", Code(1), Code(1));
        check("devices/d2/commands", Code(1), Code::NOT_AUTHORIZED);
        check("devices/+/commands", Code::NOT_AUTHORIZED, Code::NOT_AUTHORIZED);
        check("devices/d1/data", Code::NOT_AUTHORIZED, Code::NOT_AUTHORIZED);
        check("devices/a b/commands", Code::NOT_AUTHORIZED, Code::NOT_AUTHORIZED);
        check("#", Code::NOT_AUTHORIZED, Code::NOT_AUTHORIZED);
        check("$SYS/#", Code::NOT_AUTHORIZED, Code::NOT_AUTHORIZED);
        check("devices/#/commands", Code::FILTER_INVALID, Code::FILTER_INVALID);
        check("devices/d+/commands", Code::FILTER_INVALID, Code::FILTER_INVALID);
        check("devices/d1#", Code::FILTER_INVALID, Code::FILTER_INVALID);
        assert_eq!(device().subscribe(&commands, "devices/d1/commands", 0), Code(0));
    }
}
