//! Waiting for a future on a plain thread: it parks, and whatever completes the future unparks it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use tokio::sync::oneshot;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker that unparks the calling thread.
pub(super) fn unpark_me() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

/// What is sent before `deadline`; `None` when nothing was, or the sender is gone.
pub(super) fn wait_until<T>(receiver: oneshot::Receiver<T>, deadline: Instant) -> Option<T> {
    let mut receiver = pin!(receiver);
    let waker = unpark_me();
    loop {
        if let Poll::Ready(received) = receiver.as_mut().poll(&mut Context::from_waker(&waker)) {
            return received.ok();
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_waits_for_the_value_or_the_deadline() {
        let long = || Instant::now() + Duration::from_secs(60);
        let (sender, receiver) = oneshot::channel();
        let sending = thread::spawn(move || sender.send(7));
        assert_eq!(wait_until(receiver, long()), Some(7));
        sending.join().unwrap().unwrap();

        let (sender, receiver) = oneshot::channel::<u8>();
        drop(sender);
        assert_eq!(wait_until(receiver, long()), None);

        let (_sender, receiver) = oneshot::channel::<u8>();
        assert_eq!(wait_until(receiver, Instant::now() + Duration::from_millis(5)), None);
    }
}
