//! The primitives of `engine/src/sync.rs` over loom: its own, and the two of tokio's that it has not.
//!
//! Those are as short as their contract allows; what is under test is how they are used.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one who waits, or the next who will. As [`tokio::sync::Notify`], for one who waits at a time.
#[derive(Default)]
pub(crate) struct Notify(Mutex<Notified>);

#[derive(Default)]
struct Notified {
    permit: bool,
    waiting: Option<Waker>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Notify::default()
    }

    pub(crate) fn notify_one(&self) {
        let woken = {
            let mut inner = lock(&self.0);
            inner.permit = true;
            inner.waiting.take()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) async fn notified(&self) {
        poll_fn(|cx| {
            let mut inner = lock(&self.0);
            if std::mem::take(&mut inner.permit) {
                return Poll::Ready(());
            }
            inner.waiting = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Permits, given to those who wait in the order in which they came. As [`tokio::sync::Semaphore`].
pub(crate) struct Semaphore(Mutex<Permits>);

struct Permits {
    free: usize,
    closed: bool,
    next: u64,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    wanted: usize,
    waker: Option<Waker>,
}

/// Permits that somebody has.
pub(crate) struct OwnedSemaphorePermit {
    of: std::sync::Arc<Semaphore>,
    count: usize,
}

/// There are no permits, or will never be.
#[derive(Debug)]
pub(crate) struct Refused;

impl std::fmt::Debug for OwnedSemaphorePermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnedSemaphorePermit({})", self.count)
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.of.change(|permits| permits.free += self.count);
    }
}

impl Semaphore {
    pub(crate) const MAX_PERMITS: usize = tokio::sync::Semaphore::MAX_PERMITS;

    pub(crate) fn new(free: usize) -> Self {
        Semaphore(Mutex::new(Permits { free, closed: false, next: 0, waiting: VecDeque::new() }))
    }

    pub(crate) fn close(&self) {
        self.change(|permits| permits.closed = true);
    }

    /// Changes something that others may wait for, and wakes who is next.
    fn change(&self, change: impl FnOnce(&mut Permits)) {
        let woken: Vec<Waker> = {
            let mut permits = lock(&self.0);
            change(&mut permits);
            match permits.closed {
                true => permits.waiting.iter_mut().filter_map(|waiting| waiting.waker.take()).collect(),
                false => permits.waiting.front_mut().and_then(|first| first.waker.take()).into_iter().collect(),
            }
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn try_acquire_many_owned(
        self: std::sync::Arc<Self>,
        count: u32,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let count = count as usize;
        let mut permits = lock(&self.0);
        if permits.closed || permits.free < count || !permits.waiting.is_empty() {
            return Err(Refused);
        }
        permits.free -= count;
        drop(permits);
        Ok(OwnedSemaphorePermit { of: self, count })
    }

    pub(crate) async fn acquire_many_owned(
        self: std::sync::Arc<Self>,
        count: u32,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let wanted = count as usize;
        let number = {
            let mut permits = lock(&self.0);
            permits.next += 1;
            let number = permits.next;
            permits.waiting.push_back(Waiting { number, wanted, waker: None });
            number
        };
        let turn = Turn { of: &self, number };
        let acquired = poll_fn(|cx| {
            let mut permits = lock(&self.0);
            if permits.closed {
                return Poll::Ready(Err(Refused));
            }
            let free = permits.free;
            match permits.waiting.front_mut() {
                Some(first) if first.number == number && first.wanted <= free => {
                    permits.free -= wanted;
                    Poll::Ready(Ok(()))
                }
                _ => {
                    let ours = permits.waiting.iter_mut().find(|waiting| waiting.number == number);
                    ours.into_iter().for_each(|waiting| waiting.waker = Some(cx.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await;
        drop(turn);
        acquired.map(|()| OwnedSemaphorePermit { of: self, count: wanted })
    }
}

/// A place in the queue, which is left however the wait ends.
struct Turn<'a> {
    of: &'a Semaphore,
    number: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.of.change(|permits| permits.waiting.retain(|waiting| waiting.number != self.number));
    }
}
