//! A source's book: one task settles and waits, guards resolve on other threads.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_util::future::{Either, select};
use loom::future::block_on;
use loom::thread;

use super::in_every_interleaving;
use crate::ack::AckGuard;
use crate::ack_book::{AckBook, Settled};

/// Guards that are delivered, each on its own thread.
fn delivered_elsewhere(guards: impl IntoIterator<Item = AckGuard>) -> Vec<thread::JoinHandle<()>> {
    guards.into_iter().map(|guard| thread::spawn(move || guard.delivered())).collect()
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
}

/// Whoever settles until nothing is out, and once more, has heard of everything, in the order of reading.
pub fn no_outcome_is_left_behind() {
    in_every_interleaving(|| {
        let book = AckBook::default();
        let threads = delivered_elsewhere([book.enter(0, 1), book.enter(0, 2)]);
        let mut settled = Settled::default();
        block_on(async {
            loop {
                settled.delivered.extend(book.settle().delivered);
                if book.outstanding() == 0 {
                    settled.delivered.extend(book.settle().delivered);
                    return;
                }
                book.changed().await;
            }
        });
        assert_eq!(settled, Settled { delivered: vec![(0, 1), (0, 2)], let_go: vec![] });
        join(threads);
    });
}

/// A partition is quiet when all that was delivered of it is acknowledged, which is seen by whoever waits for it.
pub fn a_quiet_partition_has_nothing_left_to_acknowledge() {
    in_every_interleaving(|| {
        let book = AckBook::default();
        let [first, lost, last] = [1, 2, 3].map(|tag| book.enter(0, tag));
        let threads = delivered_elsewhere([first, last]);
        drop(lost);
        let acknowledged = RefCell::new(Settled::default());
        let acknowledge = pin!(async {
            loop {
                let settled = book.settle();
                // What the source is told it is told some time later.
                yield_once().await;
                {
                    let mut acknowledged = acknowledged.borrow_mut();
                    acknowledged.delivered.extend(settled.delivered);
                    acknowledged.let_go.extend(settled.let_go);
                }
                book.acknowledged();
                book.changed().await;
            }
        });
        match block_on(select(pin!(book.is_quiet(0)), acknowledge)) {
            Either::Left(((), _)) => {}
            Either::Right((never, _)) => never,
        }
        let expect = Settled { delivered: vec![(0, 1)], let_go: vec![(0, 2)] };
        assert_eq!(*acknowledged.borrow(), expect);
        join(threads);
    });
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What is out can be waited for when the book itself is gone.
pub fn what_is_out_is_waited_for_beyond_its_book() {
    in_every_interleaving(|| {
        let book = AckBook::default();
        let out = book.watch();
        let threads = delivered_elsewhere([book.enter(0, 1), book.enter(1, 2)]);
        drop(book);
        block_on(out.none());
        join(threads);
    });
}

/// What is still out of a sequence that has ended is not heard of in the next, and is waited for all the same.
pub fn an_ended_sequence_is_not_heard() {
    in_every_interleaving(|| {
        let book = AckBook::default();
        let late = book.enter(0, 1);
        let lets_go = thread::spawn(move || drop(late));
        book.begin(0);
        let threads = delivered_elsewhere([book.enter(0, 7)]);
        block_on(book.all_resolved());
        assert_eq!(book.settle(), Settled { delivered: vec![(0, 7)], let_go: vec![] });
        lets_go.join().expect("it does not panic");
        join(threads);
    });
}
