//! What every MQTT ingress shares, whether devices are heard through a broker or at an endpoint of our own: which
//! messages belong to whom, which payloads are fit, and when time may be said to have passed. Pure.

mod ids;
mod look;
mod mark;
pub(crate) mod payload;
pub(crate) mod pulse;
mod route;
mod spec;

pub(crate) use ids::Ids;
pub(crate) use look::{Look, Routes};
pub(crate) use mark::Mark;
pub(crate) use route::Route;
pub(crate) use spec::{IngressChecked, check as check_spec, packet_limit};
pub use spec::{MqttIngressSpec, Retained};
