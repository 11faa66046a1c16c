//! Mailboxes with room for one record: who waits for room, who waits for a delivery, who closes.

use std::sync::Arc;

use loom::future::block_on;
use loom::thread;

use super::{Heard, in_every_interleaving};
use crate::ack::{AckGuard, Outcome};
use crate::batch::Batch;
use crate::mailbox::{Capacity, Mailbox, MailboxSender, mailbox};

fn small() -> (MailboxSender, Mailbox) {
    mailbox(Capacity { records: 1, bytes: 1 }, Arc::default())
}

fn batch(tag: u64, heard: &Arc<Heard>) -> Batch {
    Batch { records: 1, guards: AckGuard::new(tag, heard.clone()).into() }
}

/// Two senders and room for one: both get through, one at a time, and then the end is seen.
pub fn everything_that_is_sent_is_received() {
    in_every_interleaving(|| {
        let heard = Arc::new(Heard::default());
        let (first, mailbox) = small();
        let senders = [(1, first.clone()), (2, first)].map(|(tag, sender)| {
            let batch = batch(tag, &heard);
            thread::spawn(move || block_on(sender.send(batch)).expect("the mailbox is open"))
        });
        block_on(async {
            while let Some(delivery) = mailbox.receive().await {
                assert_eq!(mailbox.queued_records(), 0, "the room is taken until this delivery is done");
                delivery.batch.guards.delivered();
            }
        });
        senders.into_iter().for_each(|sender| sender.join().expect("it does not panic"));
        assert_eq!(heard.all(), [(1, Outcome::Delivered), (2, Outcome::Delivered)]);
    });
}

/// Whoever waits for room when the mailbox closes is let go, though what has the room is still in hand.
pub fn closing_frees_those_who_wait() {
    in_every_interleaving(|| {
        let heard = Arc::new(Heard::default());
        let (sender, mailbox) = small();
        block_on(sender.send(batch(1, &heard))).expect("there is room");
        let in_hand = block_on(mailbox.receive()).expect("it was sent");
        let waiting = batch(2, &heard);
        let waits = thread::spawn(move || block_on(sender.send(waiting)).is_ok());
        mailbox.close();
        assert!(!waits.join().expect("it does not panic"), "there was no room before");
        in_hand.batch.guards.delivered();
        assert_eq!(heard.all(), [(1, Outcome::Delivered), (2, Outcome::NotDelivered)]);
    });
}

/// A sender that finds room while the mailbox closes either gets in before, or is refused: nothing stays behind.
pub fn nothing_gets_in_behind_a_close() {
    in_every_interleaving(|| {
        let heard = Arc::new(Heard::default());
        let (sender, mailbox) = small();
        let sent = batch(1, &heard);
        let sends = thread::spawn(move || block_on(sender.send(sent)).is_ok());
        mailbox.close();
        sends.join().expect("it does not panic");
        assert_eq!(heard.all(), [(1, Outcome::NotDelivered)], "though the mailbox is still there");
        assert_eq!(mailbox.queued_records(), 0);
    });
}

/// The end is seen when the last sender is gone, whichever that is, and after what it sent.
pub fn the_end_comes_behind_the_last_delivery() {
    in_every_interleaving(|| {
        let heard = Arc::new(Heard::default());
        let (sender, mailbox) = small();
        let other = sender.clone();
        let sent = batch(1, &heard);
        let sends = thread::spawn(move || block_on(sender.send(sent)).expect("the mailbox is open"));
        let leaves = thread::spawn(move || drop(other));
        let delivery = block_on(mailbox.receive()).expect("the end is behind it");
        delivery.batch.guards.delivered();
        drop(delivery.room);
        block_on(mailbox.finished());
        assert!(block_on(mailbox.receive()).is_none());
        sends.join().expect("it does not panic");
        leaves.join().expect("it does not panic");
        assert_eq!(heard.all(), [(1, Outcome::Delivered)]);
    });
}
