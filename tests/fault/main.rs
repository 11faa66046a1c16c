//! The promises under fire: the real binary on real brokers behind proxies, with faults by a seeded schedule, and one
//! checker over what was sent, delivered, acknowledged, logged, stored and notified. `tests/fault/run` is how it is run.
//!
//! - [`rig`], [`engine`], [`proxy`], [`tap`]: the pipeline and its links. [`load`]: what devices publish.
//! - [`faults`], [`deeds`], [`states`], [`points`]: what goes wrong. [`round`]: one fault, from load to verdict.
//! - [`embedded`]: the same for the embedded default, whose devices are its clients.
//! - [`schedule`]: which faults, in which order, as [`options`] say; [`pipeline`] begins it. [`limits`]: what is allowed.
//! - [`watch`] and [`memory`] look all the time, [`check`] judges in the end; [`mutants`] checks the checker.

mod check;
mod deeds;
mod embedded;
mod engine;
mod faults;
mod limits;
mod load;
mod memory;
mod mutants;
mod options;
mod pipeline;
mod points;
mod proxy;
mod report;
mod rig;
mod round;
mod schedule;
mod states;
mod tap;
mod watch;

#[path = "../e2e/support/mod.rs"]
mod support;
