//! The engine's acknowledgements and mailboxes under every interleaving of the threads that share them.
//!
//! A test on real threads sees the few orders that the machine happens to take. Here the engine's own files are compiled
//! over [`loom`]'s primitives, which take all of them, up to a bound on how often a thread is interrupted, with what the
//! memory model allows on top: [`models`] say what must hold in each. A wake-up that is lost is a thread that waits for
//! ever, and found as such.
//!
//! The files name their primitives through `crate::sync`, and what else they use of the engine stands here in its
//! simplest form.

// The unit tests of what is included are run where they live, and on real primitives: as a test of its own this is empty.
#![cfg(not(test))]

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../engine/src/ack.rs"]
mod ack;
#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../engine/src/runtime/ack_book.rs"]
mod ack_book;
#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../../engine/src/runtime/mailbox.rs"]
mod mailbox;
pub mod models;
mod sync;

/// Partitions, as the engine numbers them.
mod position {
    pub type Partition = i32;
}

/// Batches of which only the size and the guards matter.
mod batch {
    use crate::ack::Guards;

    #[derive(Debug)]
    pub struct Batch {
        pub records: usize,
        pub guards: Guards,
    }

    impl Batch {
        pub fn len(&self) -> usize {
            self.records
        }

        pub fn weight(&self) -> usize {
            self.records
        }
    }
}

/// Metrics that nobody reads.
mod metrics {
    use std::time::Duration;

    #[derive(Default)]
    pub struct StageMetrics;

    impl StageMetrics {
        pub fn mailbox_capacity(&self, _: usize) {}
        pub fn mailbox_records(&self, _: usize) {}
        pub fn sender_waited(&self, _: Duration) {}
    }
}
