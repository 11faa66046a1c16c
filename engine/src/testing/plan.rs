//! Plans wired by hand: stages from any factory, inputs by name.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::checkpoint::StateStore;
use crate::context::{BuildContext, Connections};
use crate::erased::{self, DynProcessor, DynSink};
use crate::keyed::Keyed;
use crate::registry::{Description, Factory, StageFactory};
use crate::retry::BackoffPolicy;
use crate::runtime::{Capacity, KeyedHost, RestartPolicy, StageLimits, host};
use crate::sink::Sink;
use crate::source::Source;
use crate::stage::{BuildError, Outlet, Processor};
use crate::topology::{Plan, PlannedSink, PlannedStage};

struct Make<F>(F);

#[async_trait]
impl<T, F, Fut> Factory<T> for Make<F>
where
    F: Fn(BuildContext) -> Fut + Send + Sync,
    Fut: Future<Output = Result<T, BuildError>> + Send,
{
    async fn build(&self, cx: &BuildContext) -> Result<T, BuildError> {
        (self.0)(cx.clone()).await
    }
}

/// A factory out of a function that is called at start and at every restart.
pub fn make<T, Fut>(build: impl Fn(BuildContext) -> Fut + Send + Sync + 'static) -> Arc<dyn Factory<T>>
where
    T: 'static,
    Fut: Future<Output = Result<T, BuildError>> + Send + 'static,
{
    Arc::new(Make(build))
}

/// A source stage.
pub fn source<S: Source>(
    build: impl Fn(&BuildContext) -> Result<S, BuildError> + Send + Sync + 'static,
) -> StageFactory {
    StageFactory::Source(make(move |cx| {
        let built = build(&cx).map(erased::split);
        async { built }
    }))
}

/// A processor stage.
pub fn processor<P: Processor>(
    build: impl Fn(&BuildContext) -> Result<P, BuildError> + Send + Sync + 'static,
) -> StageFactory {
    StageFactory::Processor(make(move |cx| {
        let built = build(&cx).map(|p| Box::new(p) as Box<dyn DynProcessor>);
        async { built }
    }))
}

/// A keyed stage.
pub fn keyed<K: Keyed>(build: impl Fn(&BuildContext) -> Result<K, BuildError> + Send + Sync + 'static) -> StageFactory {
    StageFactory::Keyed(make(move |cx| {
        let built: Result<Box<dyn KeyedHost>, _> = build(&cx).map(host);
        async { built }
    }))
}

/// A sink stage.
pub fn sink<S: Sink>(build: impl Fn(&BuildContext) -> Result<S, BuildError> + Send + Sync + 'static) -> StageFactory {
    StageFactory::Sink(make(move |cx| {
        let built = build(&cx).map(|s| Box::new(s) as Box<dyn DynSink>);
        async { built }
    }))
}

/// A plan in the making.
pub struct PlanBuilder {
    plan: Plan,
}

impl PlanBuilder {
    /// A topology without stages, with checkpoints in `store` and unfit records in `dead_letters`.
    ///
    /// Restarts are not limited to speak of, and waits between tries are short: tests that look at either say so.
    pub fn new(store: Arc<dyn StateStore>, dead_letters: StageFactory) -> Self {
        let dead_letters = PlannedSink { kind: "fake", factory: dead_letters, description: Description::default() };
        PlanBuilder {
            plan: Plan {
                name: "test".into(),
                topics: Arc::default(),
                stages: Vec::new(),
                dead_letters,
                store: make(move |_| {
                    let store = store.clone();
                    async { Ok(store) }
                }),
                checkpoint_every: Duration::from_secs(1),
                restart: RestartPolicy { max_restarts: 1000, ..RestartPolicy::default() },
                marks: None,
                drain_deadline: Duration::from_secs(30),
                simulate: None,
                connections: Connections::new(),
            },
        }
    }

    /// Adds a stage fed by `inputs`: stage names, or `stage.outlet`.
    ///
    /// # Panics
    /// When an input names nothing that was added before.
    pub fn stage(mut self, name: &str, inputs: &[&str], factory: StageFactory) -> Self {
        let inputs = inputs.iter().map(|input| self.find(input)).collect();
        let backoff = BackoffPolicy { initial: Duration::from_millis(10), max: Duration::from_secs(1) };
        self.plan.stages.push(PlannedStage {
            name: name.into(),
            kind: "fake",
            connection: None,
            factory,
            description: Description::default(),
            outlets: vec![""],
            inputs,
            limits: StageLimits { backoff, ..StageLimits::default() },
            capacity: Capacity::default(),
        });
        self
    }

    fn find(&self, input: &str) -> (usize, Outlet) {
        let (name, outlet) = input.split_once('.').unwrap_or((input, ""));
        let index = self.plan.stages.iter().position(|s| *s.name == *name);
        let index = index.unwrap_or_else(|| panic!("no stage `{name}` was added before"));
        let outlet = self.plan.stages[index].outlets.iter().position(|o| *o == outlet);
        (index, Outlet(outlet.unwrap_or_else(|| panic!("no outlet `{input}`")) as u8))
    }

    /// Changes the stage that was added last.
    pub fn with(mut self, change: impl FnOnce(&mut PlannedStage)) -> Self {
        change(self.plan.stages.last_mut().expect("a stage was added before"));
        self
    }

    /// Changes the plan.
    pub fn plan(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// The plan.
    pub fn build(self) -> Plan {
        self.plan
    }
}
