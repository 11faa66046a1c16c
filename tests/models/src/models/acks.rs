//! Guards that are cloned, resolved and dropped on several threads.

use std::sync::Arc;

use loom::thread;

use super::{Heard, in_every_interleaving};
use crate::ack::{AckGuard, Outcome};

/// One of three owners lets go of a share that it had taken itself: that is what is heard, once, whoever is last.
pub fn the_worst_of_all_owners_is_heard_once() {
    in_every_interleaving(|| {
        let heard = Arc::new(Heard::default());
        let guard = AckGuard::new(5, heard.clone());
        let (one, other) = (guard.clone(), guard.clone());
        let delivers = thread::spawn(move || one.delivered());
        let lets_go = thread::spawn(move || {
            drop(other.clone());
            other.delivered();
        });
        guard.delivered();
        delivers.join().expect("it does not panic");
        lets_go.join().expect("it does not panic");
        assert_eq!(heard.all(), [(5, Outcome::NotDelivered)]);
    });
}

/// A delivery is heard when the last owner has said so, and not before.
pub fn a_delivery_is_heard_once_and_from_the_last() {
    in_every_interleaving(|| {
        let heard = Arc::new(Heard::default());
        let guard = AckGuard::new(5, heard.clone());
        let owners = [guard.clone(), guard.clone()];
        let owners = owners.map(|owner| thread::spawn(move || owner.delivered()));
        assert_eq!(heard.all(), [], "an owner is left");
        guard.delivered();
        owners.into_iter().for_each(|owner| owner.join().expect("it does not panic"));
        assert_eq!(heard.all(), [(5, Outcome::Delivered)]);
    });
}
