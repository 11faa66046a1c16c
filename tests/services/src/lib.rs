//! The real brokers and stores that the tests talk to.
//!
//! A test that only needs *a* Kafka asks [`Services::shared`], and shares it with all other tests, so every name it
//! uses there (topic, client id, key) must be its own: [`unique_name`]. A test that stops, freezes, kills or restarts a
//! service starts one for itself: [`Mosquitto::start`], [`Kafka::start`], [`Redis::start`].
//!
//! What this crate promises:
//! - a started service serves: it has answered in its own protocol;
//! - it is the caller's alone, on a free port, with its files in a scratch directory;
//! - it ends with its value, or with the process, however that ends: no server outlives a test run;
//! - after a failed test its files and its log stay, and their place is printed.
//!
//! How a server is installed, configured and started is not here but in the scripts beside this crate, which a developer
//! uses as well: `install`, `serve`, `ready`, `up`. Only tests call this crate; what goes wrong is a failed test, so its
//! functions panic with the reason (a service that is not installed included) instead of returning it.

mod certificates;
mod port;
mod scratch;
mod server;
mod shared;
mod spawner;
mod wait;

pub use certificates::certify;
pub use server::{Kafka, Mosquitto, Redis, Server};
pub use shared::{Services, unique_name};
pub use wait::{eventually, wait_until};
