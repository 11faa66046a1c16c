//! The fleet that a topology brings along (`simulate:`), publishing to that topology's own ingress over real MQTT.

use std::sync::Arc;
use std::time::Duration;

use telemill_actors::embedded::EmbeddedConnection;
use telemill_actors::mqtt::MqttConnection;
use telemill_actors::mqtt_ingress::MqttIngress;
use telemill_engine::stage::Component;
use telemill_engine::topology::document::codes::INVALID_VALUE;
use telemill_engine::topology::{Located, Plan, Problem, Problems, SimulateSpec};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::Shared;
use super::fleet::{Fleet, Traits};
use super::report::Report;
use super::run::{self, Stop};
use super::schedule::{Schedule, Terms};
use super::tally::Tally;
use super::template::Template;
use super::{DEFAULT_PAYLOAD, default_connections};

/// The fleet belongs to the topology: it waits for its ingress for as long as that runs.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 3600);
/// The most devices of a fleet that shares the process with the pipeline it tries out.
const MAX_DEVICES: u32 = 100_000;

/// A fleet that is in order.
pub struct Demo {
    ingress: Ingress,
    traits: Traits,
    terms: Terms,
}

/// What the fleet publishes to.
enum Ingress {
    /// A broker that the topology reads from.
    Broker(Arc<MqttConnection>),
    /// The topology's own endpoint. Its port may be known only once it listens.
    Endpoint(Arc<EmbeddedConnection>),
}

impl Demo {
    /// The fleet of a plan, if it has one; every problem of it otherwise, at its place.
    pub fn check(plan: &Plan, problems: &mut Problems) -> Option<Demo> {
        let spec = plan.simulate.as_ref()?;
        let before = problems.len();
        in_range("devices", &spec.devices, 1, MAX_DEVICES, problems);
        let rate = spec.rate.value;
        if !rate.is_finite() || rate <= 0.0 {
            let hint = "write the records a second of all devices together, such as 50";
            report("rate", &spec.rate, format!("the rate {rate} is not above 0"), hint, problems);
        }
        for (field, given) in [("hot", &spec.hot), ("silent", &spec.silent)] {
            if given.value > spec.devices.value {
                let message = format!("{} are more than there are devices ({})", given.value, spec.devices.value);
                report(field, given, message, "write at most as many", problems);
            }
        }
        for (field, given) in [("malformed", &spec.malformed), ("duplicate", &spec.duplicate)] {
            if !(0.0..=100.0).contains(&given.value) {
                let message = format!("{} is not between 0 and 100", given.value);
                report(field, given, message, "it is a percentage", problems);
            }
        }
        let template = match &spec.payload {
            None => Template::parse(DEFAULT_PAYLOAD).ok(),
            Some(payload) => Template::parse(&payload.value)
                .map_err(|error| {
                    let hint = "placeholders are listed by `telemill simulate --help`";
                    report("payload", payload, format!("it is no template: {error}"), hint, problems);
                })
                .ok(),
        };
        let ingress = ingress(plan);
        if ingress.is_none() {
            let message = "there is no ingress that the fleet could publish to";
            let hint = "add a `mqtt_ingress` stage that asks nobody for a password, or remove `simulate`";
            problems.push(Problem::new(INVALID_VALUE, message).at("simulate").hint(hint));
        }
        (problems.len() == before).then_some(())?;
        Some(Demo { ingress: ingress?, traits: traits(spec, template?), terms: terms(spec) })
    }

    /// How many devices there are.
    pub fn devices(&self) -> u32 {
        self.terms.devices
    }

    /// Publishes until it is told to stop, then waits for what is not acknowledged yet.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let Demo { ingress, traits, terms } = self;
        let Some(broker) = ingress.broker() else {
            tracing::warn!(code = "simulated_fleet", "the ingress does not listen: the simulated fleet stays away");
            return;
        };
        let connections = default_connections(terms.devices);
        let shared = Shared {
            broker,
            patience: PATIENCE,
            start: Instant::now(),
            tally: Tally::default(),
            report: Report::silent(),
        };
        let (schedule, fleet) = (Schedule::new(terms), Fleet::new(traits));
        let (_, result) = run::run(Arc::new(shared), schedule, fleet, connections, Stop::told(stop)).await;
        if let Err(failure) = result {
            tracing::warn!(code = "simulated_fleet", %failure, "the simulated fleet has ended");
        }
    }
}

impl Ingress {
    fn broker(&self) -> Option<MqttConnection> {
        match self {
            Ingress::Broker(broker) => Some((**broker).clone()),
            Ingress::Endpoint(local) => MqttConnection::at(&format!("mqtt://{}", local.endpoint().address()?)).ok(),
        }
    }
}

/// The topology's ingress.
fn ingress(plan: &Plan) -> Option<Ingress> {
    let stage = plan.stages.iter().find(|stage| stage.kind == MqttIngress::KIND)?;
    let name = stage.connection.as_deref()?;
    let endpoint = || plan.connections.typed::<EmbeddedConnection>(name).filter(|c| c.endpoint().takes_plain_clients());
    let broker = plan.connections.typed::<MqttConnection>(name).map(Ingress::Broker);
    broker.or_else(|| endpoint().map(Ingress::Endpoint))
}

fn traits(spec: &SimulateSpec, template: Template) -> Traits {
    Traits {
        devices: spec.devices.value,
        seed: spec.seed.unwrap_or_else(rand::random),
        template,
        device_prefix: "device-".to_owned(),
        topic_prefix: "devices".to_owned(),
        hot: spec.hot.value,
        malformed: spec.malformed.value,
        duplicate: spec.duplicate.value,
    }
}

fn terms(spec: &SimulateSpec) -> Terms {
    let hello_every = spec.hello_every.get();
    Terms {
        devices: spec.devices.value,
        rate: spec.rate.value,
        count: None,
        lasts: None,
        hello_every: (!hello_every.is_zero()).then_some(hello_every),
        silent: spec.silent.value,
        silent_after: spec.silent_after.get(),
    }
}

fn in_range(field: &str, given: &Located<u32>, least: u32, most: u32, problems: &mut Problems) {
    if !(least..=most).contains(&given.value) {
        let message = format!("{} is not from {least} to {most}", given.value);
        report(field, given, message, "run `telemill simulate` beside it for a larger fleet", problems);
    }
}

fn report<T>(field: &str, given: &Located<T>, message: String, hint: &str, problems: &mut Problems) {
    let problem = Problem::new(INVALID_VALUE, message).at(format!("simulate.{field}").as_str());
    problems.push(problem.span(given.span).hint(hint));
}
