//! The engine on one thread in virtual time.
//!
//! Each run has an actix system and a tokio runtime of its own, paused: whenever nothing can go on, time jumps to the
//! next timer. When the run returns, everything that is left of the deployment is dropped where it stands, which is
//! what a crash leaves behind: state that was not written outside is gone.

use std::panic;
use std::sync::Once;
use std::time::Duration;

use ulid::Ulid;

use crate::checkpoint::Owner;
use crate::clock::{Clock, Timestamp, VirtualTime};
use crate::runtime::{DeployError, Deployment, Environment, Placement, begin, deploy};
use crate::topology::Plan;

/// The wall time at which simulations begin.
pub const BASE: Timestamp = Timestamp(1_700_000_000_000);

/// One life of a process.
#[derive(Clone, Debug)]
pub struct Sim {
    /// The wall clock, to be stepped by hand.
    pub wall: VirtualTime,
    /// The clock that the engine is given.
    pub clock: Clock,
    instance: Ulid,
}

impl Sim {
    /// Runs `life` on a fresh system whose wall clock begins at `base`, and drops everything that is left after it.
    pub fn run<T>(base: Timestamp, life: impl AsyncFnOnce(Sim) -> T) -> T {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let built = builder.enable_time().start_paused(true).build();
            built.expect("a runtime without I/O needs nothing from the system")
        };
        let system = actix::System::with_tokio_rt(runtime);
        system.block_on(async {
            let wall = VirtualTime::starting_at(base);
            let clock = Clock::new(wall.clone());
            life(Sim { wall, clock, instance: Ulid::from_parts(base.0, 1) }).await
        })
    }

    /// The same world as another instance sees it.
    pub fn instance(&self, number: u128) -> Sim {
        Sim { instance: Ulid::from_parts(self.instance.timestamp_ms(), number), ..self.clone() }
    }

    /// Deploys a plan on this thread, waiting until every stage runs.
    pub async fn deploy(&self, plan: Plan) -> Result<Deployment, DeployError> {
        deploy(plan, self.environment()).await
    }

    /// Begins to deploy a plan on this thread.
    pub async fn begin(&self, plan: Plan) -> Result<Deployment, DeployError> {
        begin(plan, self.environment()).await
    }

    fn environment(&self) -> Environment {
        let owner = Owner { instance: self.instance, host: "sim".to_owned(), pid: 1 };
        Environment { clock: self.clock.clone(), placement: Placement::Here, owner }
    }

    /// Waits until `wanted` holds, looking every 10 ms of virtual time.
    ///
    /// # Panics
    /// When it does not within `deadline`.
    pub async fn until(&self, what: &str, deadline: Duration, mut wanted: impl FnMut() -> bool) {
        let looking = async {
            while !wanted() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(deadline, looking).await.is_ok(), "not within {deadline:?}: {what}");
    }
}

/// Keeps panics that say `injected` off the console; all others are shown as ever.
pub fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let message = info.payload_as_str().unwrap_or_default();
            if !message.contains("injected") {
                shown(info);
            }
        }));
    });
}
