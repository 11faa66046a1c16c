//! Which device a message is of, of which kind, and whether it is fit.

use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{Kind, Reason};

use super::Route;
use super::payload::{Limits, Unfit};

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A message of a device; without its payload where that need not be JSON and is not.
    Fit { device: DeviceId, kind: Kind, with_payload: bool },
    /// One for the dead letters. No device where the name is at fault.
    Unfit { device: Option<DeviceId>, kind: Kind, why: Unfit },
    /// Its topic belongs to none of the routes.
    Unmatched,
}

/// The routes, and what a payload may be.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    pub(crate) routes: Vec<Route>,
    pub(crate) limits: Limits,
}

impl Routes {
    /// The level of a topic that stands for the device; none when the topic belongs to no route.
    pub(crate) fn device_in<'t>(&self, topic: &'t str) -> Option<&'t str> {
        self.routes.iter().find_map(|route| route.template.device_in(topic))
    }

    /// Looks at a message.
    pub(crate) fn look(&self, topic: &str, payload: &[u8]) -> Look {
        let found = self.routes.iter().find_map(|route| Some((route, route.template.device_in(topic)?)));
        let Some((Route { kind, needs_json, .. }, device)) = found else { return Look::Unmatched };
        let kind = kind.clone();
        let device = match DeviceId::new(device.as_bytes()) {
            Ok(device) => device,
            Err(error) => {
                let why = Unfit { reason: Reason::BAD_DEVICE_ID, detail: error.to_string() };
                return Look::Unfit { device: None, kind, why };
            }
        };
        match self.limits.check_json(payload) {
            Ok(()) => Look::Fit { device, kind, with_payload: true },
            Err(_) if !needs_json => Look::Fit { device, kind, with_payload: false },
            Err(why) => Look::Unfit { device: Some(device), kind, why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::TopicTemplate;

    fn check(topic: &str, payload: &[u8], expect: &str) {
        let route = |text, needs_json| {
            let template = TopicTemplate::parse(text).unwrap();
            let kind = template.last_level().unwrap().into();
            Route { template, kind, needs_json }
        };
        let routes = vec![route("devices/{device_id}/data", true), route("devices/{device_id}/hello", false)];
        let routes = Routes { routes, limits: Limits { max_payload: 20, max_depth: 2 } };
        let found = match routes.look(topic, payload) {
            Look::Fit { device, kind, with_payload } => format!("{device} {kind} {with_payload}"),
            Look::Unfit { device, kind, why } => {
                format!("{} {kind} {}", device.map_or_else(|| "nobody".to_owned(), |d| d.to_string()), why.reason)
            }
            Look::Unmatched => "unmatched".to_owned(),
        };
        assert_eq!(found, expect, "{topic}");
    }

    #[test]
    fn each_message_has_its_place() {
        check("devices/d1/data", b"[1]", "d1 data true");
        check("devices/d1/data", b"", "d1 data empty");
        check("devices/d1/data", b"{", "d1 data not_json");
        check("devices/d1/data", b"[[[]]]", "d1 data too_deep");
        check("devices/d1/data", b"123456789012345678901", "d1 data too_large");
        check("devices/d1/data", b"\xff", "d1 data not_utf8");
        check("devices/d1/hello", b"", "d1 hello false");
        check("devices/d1/hello", b"[1]", "d1 hello true");
        check("devices/a b/hello", b"", "nobody hello bad_device_id");
        check("devices/\r\n/data", b"1", "nobody data bad_device_id");
        check("devices//data", b"1", "nobody data bad_device_id");
        check("devices/d1/x", b"1", "unmatched");
    }
}
