//! What acknowledgements and mailboxes are built on.
//!
//! Named in one place so that `tests/models` can compile the same files over primitives that go through every
//! interleaving.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
