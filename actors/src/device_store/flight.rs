//! Who is in flight, so that nothing overtakes a batch that failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::ready;
use telemill_engine::record::Reason;
use telemill_engine::sink::{Completion, Submitted};

/// The batches of one sink that were accepted and whose answer was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Flight(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    out: AtomicUsize,
    failed: AtomicBool,
}

/// A batch in flight.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Shared>);

impl Flight {
    /// A turn for one more batch; none while one that failed, or one behind it, is still in flight.
    pub(crate) fn enter(&self) -> Option<Turn> {
        if self.0.failed.load(Ordering::Acquire) {
            if self.0.out.load(Ordering::Acquire) > 0 {
                return None;
            }
            self.0.failed.store(false, Ordering::Release);
        }
        self.0.out.fetch_add(1, Ordering::AcqRel);
        Some(Turn(self.0.clone()))
    }
}

impl Turn {
    /// The batch has its answer, which is given back as it is to be told. It is in flight until the turn is dropped.
    ///
    /// A gap behind a batch that failed is no gap of the store's: it closes once that batch is submitted again.
    pub(crate) fn judge(&self, submitted: Submitted) -> Submitted {
        if matches!(submitted, Submitted::Delivered) {
            return submitted;
        }
        let behind_another = self.0.failed.swap(true, Ordering::AcqRel);
        match submitted {
            Submitted::Gap { .. } if behind_another => out_of_turn(),
            other => other,
        }
    }

    /// An answer that is known, of a batch that counts as in flight until it was taken.
    pub(crate) fn answered(self, submitted: Submitted) -> Completion {
        let submitted = self.judge(submitted);
        Box::pin(async move {
            drop(self);
            submitted
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.out.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer to a batch that is not in flight.
pub(crate) fn answered(submitted: Submitted) -> Completion {
    Box::pin(ready(submitted))
}

/// The answer to a batch that has to wait for one before it.
pub(crate) fn out_of_turn() -> Submitted {
    let detail = "a batch before it did not get through".to_owned();
    Submitted::Retry { reason: Reason("out_of_turn"), detail, after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap() -> Submitted {
        Submitted::Gap { detail: "behind".to_owned() }
    }

    #[test]
    fn a_failure_closes_the_window_until_all_are_answered() {
        let flight = Flight::default();
        let first = flight.enter().unwrap();
        let second = flight.enter().unwrap();
        first.judge(Submitted::Fatal("gone".to_owned()));
        drop(first);
        assert!(flight.enter().is_none(), "the second is still out");
        assert!(matches!(second.judge(gap()), Submitted::Retry { .. }), "the gap is the first one's doing");
        assert!(flight.enter().is_none(), "its answer was not taken yet");
        drop(second);
        let again = flight.enter().expect("all are answered");
        assert!(matches!(again.judge(gap()), Submitted::Gap { .. }), "this gap is the store's");
    }

    #[test]
    fn a_batch_that_is_let_go_of_is_out_no_more() {
        let flight = Flight::default();
        let first = flight.enter().unwrap();
        let second = flight.enter().unwrap();
        first.judge(gap());
        drop((first, second));
        assert!(flight.enter().is_some());
    }
}
