//! Components over the simulated world, and components with one behaviour each.

mod behave;
mod committer;
mod keyed;
mod log_flow;
mod log_source;
mod processor;
mod producer;
mod router;
mod table_sink;

pub use behave::{Collected, FakeSink, FakeSource, SinkStep, collector};
pub(crate) use keyed::incarnation;
pub use keyed::{OFFLINE_AFTER, SimKeyed, Transition, TransitionKind};
pub(crate) use log_source::GROUP;
pub use log_source::SimSource;
pub use processor::{SimProcessor, SimShape};
pub use producer::SimProducer;
pub use router::SimRouter;
pub use table_sink::SimTableSink;
