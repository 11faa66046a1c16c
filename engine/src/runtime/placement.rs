//! On which thread an actor runs.
//!
//! What hands batches to each other runs on one thread where it can: waking another one costs several times what a small
//! batch does. So everything that hangs on one source has a *home*, and sources have different ones; the shards of a
//! source, which do the work that grows with the devices, are spread over all.

use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, Addr, Arbiter, Context};

/// Where actors are started. The only place that knows about threads: a simulation puts everything on its own.
pub enum Placement {
    /// On the thread of the one who starts it.
    Here,
    /// On one of these arbiters, in turn.
    Arbiters(Arbiters),
}

/// What actors that belong on one thread have in common: the number of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home(pub(super) usize);

/// A fixed set of arbiters.
pub struct Arbiters {
    arbiters: Vec<Arbiter>,
    next: AtomicUsize,
}

impl Placement {
    /// One arbiter a core.
    pub fn one_per_core() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Placement::Arbiters(Arbiters {
            arbiters: (0..cores).map(|_| Arbiter::new()).collect(),
            next: AtomicUsize::new(0),
        })
    }

    /// Starts an actor with those that have the same home, or on the next thread in turn.
    pub(super) fn start<A>(&self, actor: A, home: Option<Home>) -> Addr<A>
    where
        A: Actor<Context = Context<A>> + Send,
    {
        match self {
            Placement::Here => actor.start(),
            Placement::Arbiters(arbiters) => {
                let index = home.map_or_else(|| arbiters.next.fetch_add(1, Ordering::Relaxed), |Home(number)| number);
                let index = index % arbiters.arbiters.len();
                A::start_in_arbiter(&arbiters.arbiters[index].handle(), move |_| actor)
            }
        }
    }

    /// Stops the arbiters, and with them every actor that is left. Blocks until their threads have ended.
    pub fn shut_down(self) {
        if let Placement::Arbiters(arbiters) = self {
            for arbiter in &arbiters.arbiters {
                arbiter.stop();
            }
            for arbiter in arbiters.arbiters {
                // An arbiter whose thread panicked has stopped as well.
                let _ = arbiter.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Takes its time to go.
    struct Slow {
        never: mpsc::Receiver<()>,
        is_gone: Arc<AtomicBool>,
    }

    impl Actor for Slow {
        type Context = Context<Self>;
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.never.recv_timeout(Duration::from_millis(200));
            self.is_gone.store(true, Ordering::Release);
        }
    }

    #[test]
    fn shutting_down_waits_for_every_thread() {
        let is_gone = Arc::new(AtomicBool::new(false));
        let (_silent, never) = mpsc::sync_channel(0);
        actix::System::new().block_on(async {
            let placement = Placement::one_per_core();
            let addr = placement.start(Slow { never, is_gone: is_gone.clone() }, None);
            while !addr.connected() {
                tokio::task::yield_now().await;
            }
            placement.shut_down();
            assert!(is_gone.load(Ordering::Acquire), "an actor is still there");
        });
    }
}
