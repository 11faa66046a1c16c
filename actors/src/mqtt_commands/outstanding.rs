//! Which commands the broker has, and which it still owes an answer.
//!
//! Packet ids are given out here, so a PUBACK names its PUBLISH. Pure.

use std::collections::VecDeque;

/// Commands of one batch on their way, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Outstanding {
    /// Packet ids that wait for their PUBACK, oldest first.
    waiting: VecDeque<u16>,
    window: usize,
    last_id: u16,
}

impl Outstanding {
    /// Nothing on its way; at most `window` at a time.
    pub(super) fn new(window: usize) -> Self {
        Outstanding { waiting: VecDeque::with_capacity(window), window, last_id: 0 }
    }

    /// A packet id for one more, unless the window is full.
    pub(super) fn issue(&mut self) -> Option<u16> {
        if self.waiting.len() >= self.window {
            return None;
        }
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.waiting.contains(&self.last_id) {
                self.waiting.push_back(self.last_id);
                return Some(self.last_id);
            }
        }
    }

    /// A PUBACK came. False when nothing waited for it.
    pub(super) fn settle(&mut self, packet_id: u16) -> bool {
        match self.waiting.iter().position(|waiting| *waiting == packet_id) {
            Some(index) => self.waiting.remove(index).is_some(),
            None => false,
        }
    }

    /// Whether the broker has everything.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_bounds_what_is_on_its_way() {
        let mut outstanding = Outstanding::new(2);
        assert_eq!((outstanding.issue(), outstanding.issue(), outstanding.issue()), (Some(1), Some(2), None));
        assert!(!outstanding.settle(3) && outstanding.settle(1) && !outstanding.settle(1));
        assert_eq!((outstanding.issue(), outstanding.issue()), (Some(3), None));
        assert!(outstanding.settle(3) && outstanding.settle(2) && outstanding.is_empty());
    }

    #[test]
    fn ids_come_round_without_zero_and_pass_over_those_in_use() {
        let mut outstanding = Outstanding::new(3);
        assert_eq!((outstanding.issue(), outstanding.issue()), (Some(1), Some(2)));
        assert!(outstanding.settle(1));
        for expect in 3..=u16::MAX {
            assert_eq!(outstanding.issue(), Some(expect));
            assert!(outstanding.settle(expect));
        }
        assert_eq!(outstanding.issue(), Some(1));
        assert_eq!(outstanding.issue(), Some(3), "2 is still on its way");
    }
}
