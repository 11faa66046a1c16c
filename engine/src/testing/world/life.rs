//! How long a process lives, counted in what it does to the world.
//!
//! All that is in a process is lost when it is killed. So what distinguishes one crash from another is which of its
//! effects on the world were the last: a life that ends before any of them ends, as far as anybody can tell later, at any
//! await point that there is. Each effect is a step ([`super::Trouble::step`]), with one more behind it, before its answer
//! is known; a life may be given a number of steps, and whoever would take one more never does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The steps of one process life.
#[derive(Default)]
pub(super) struct Life {
    /// `None`: as many as it takes.
    left: Mutex<Option<u64>>,
    over: Notify,
}

impl Life {
    /// Another life begins, with so many steps.
    pub(super) fn begin(&self, steps: Option<u64>) {
        *self.lock() = steps;
    }

    /// One more step, if there is one left. Whoever has none waits until it is dropped with all the rest.
    pub(super) async fn step(&self) {
        let may = match &mut *self.lock() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        };
        if !may {
            self.over.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Waits until somebody has wanted a step that there was not. Only one may wait.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_life_ends_before_the_step_that_it_has_not() {
        let life = Life::default();
        life.begin(Some(1));
        assert!(life.step().now_or_never().is_some());
        assert!(life.over().now_or_never().is_none(), "nobody has wanted another");
        assert!(life.step().now_or_never().is_none());
        assert!(life.over().now_or_never().is_some());
        life.begin(None);
        assert!(life.step().now_or_never().is_some());
        assert!(life.over().now_or_never().is_none(), "that was another life's end");
    }
}
