//! The messages of one connection that the broker has not acknowledged yet: pure.
//!
//! A device's messages go out in order, over one connection. When that is lost, all that is not acknowledged goes out
//! again on the next, in the order of the first time: a broker may then get a message twice, but none is missing.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::Publish;

/// How many messages of a connection may be on their way. Below the number of packet ids, and enough for a broker that
/// answers within milliseconds.
pub(super) const WINDOW: usize = 256;

/// Messages on their way, oldest first. Times count from the start of the run.
#[derive(Debug, Default)]
pub(super) struct Window {
    sent: VecDeque<Sent>,
    last_id: u16,
}

#[derive(Debug)]
struct Sent {
    publish: Publish,
    first_at: Duration,
}

impl Window {
    /// How many more may be sent.
    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.sent.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// When the oldest message went out for the first time.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.sent.front().map(|sent| sent.first_at)
    }

    /// Gives the message its packet id; it is on its way from now on.
    pub(super) fn send(&mut self, mut publish: Publish, now: Duration) -> Publish {
        // Ids go round all of them, and at most `WINDOW` are in use, one behind the other.
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        publish.pkid = self.last_id;
        self.sent.push_back(Sent { publish: publish.clone(), first_at: now });
        publish
    }

    /// A PUBACK came: when its message first went out. None when nothing waited for it.
    pub(super) fn settle(&mut self, packet_id: u16) -> Option<Duration> {
        // Brokers acknowledge in order, so it is the first one.
        let index = self.sent.iter().position(|sent| sent.publish.pkid == packet_id)?;
        self.sent.remove(index).map(|sent| sent.first_at)
    }

    /// All that is on its way, to be sent on a new connection.
    pub(super) fn again(&self) -> Vec<Publish> {
        self.sent.iter().map(|sent| sent.publish.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::QoS;

    use super::*;

    fn publish(topic: &str) -> Publish {
        Publish::new(topic, QoS::AtLeastOnce, "")
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_not_acknowledged_goes_out_again_in_order() {
        let mut window = Window::default();
        let ids: Vec<u16> = (0..4).map(|n| window.send(publish(&n.to_string()), at(n)).pkid).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        assert_eq!((window.settle(1), window.settle(3), window.settle(9)), (Some(at(0)), Some(at(2)), None));
        assert_eq!(window.oldest(), Some(at(1)));
        let again: Vec<(String, u16)> = window.again().into_iter().map(|p| (p.topic, p.pkid)).collect();
        assert_eq!(again, [("1".to_owned(), 2), ("3".to_owned(), 4)]);
        assert_eq!((window.settle(2), window.settle(4)), (Some(at(1)), Some(at(3))));
        assert!(window.is_empty());
    }

    #[test]
    fn ids_are_never_zero_and_never_doubled() {
        let mut window = Window::default();
        for _ in 0..WINDOW {
            window.send(publish("d"), at(0));
        }
        assert_eq!(window.room(), 0);
        for round in 0..70_000 {
            let oldest = window.sent[0].publish.pkid;
            assert!(window.settle(oldest).is_some());
            let id = window.send(publish("d"), at(0)).pkid;
            let holders = window.sent.iter().filter(|sent| sent.publish.pkid == id).count();
            assert!(id != 0 && holders == 1, "{round}: {id}");
        }
    }
}
