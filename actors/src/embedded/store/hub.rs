//! Who listens to which device. One for all writers and readers of a data directory, so that a writer that is built anew
//! is still heard by those who came before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use telemill_engine::device_id::DeviceId;
use telemill_engine::ports::Updates;

use crate::device_store::updates::{Receiver, Sender, channel};

#[derive(Debug, Default)]
pub(super) struct Hub(Mutex<HashMap<DeviceId, Vec<Sender>>>);

/// A subscription; its place in the hub goes with it.
struct Subscription {
    hub: Arc<Hub>,
    device: DeviceId,
    /// None once it is on its way out.
    receiver: Option<Receiver>,
}

impl Hub {
    /// Tells those who listen. Does not wait for them; a message to which nobody listens is not made.
    pub(super) fn publish<'a, M: FnOnce() -> Bytes>(&self, messages: impl IntoIterator<Item = (&'a DeviceId, M)>) {
        let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if listening.is_empty() {
            return;
        }
        for (device, message) in messages {
            let Some(senders) = listening.get(device) else { continue };
            let message = message();
            senders.iter().for_each(|sender| sender.send(message.clone()));
        }
    }

    /// Everything that is published of a device from now on.
    pub(super) fn subscribe(self: &Arc<Self>, device: &DeviceId) -> Updates {
        let (sender, receiver) = channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(device.clone()).or_default().push(sender);
        let subscription = Subscription { hub: self.clone(), device: device.clone(), receiver: Some(receiver) };
        let updates = stream::unfold(subscription, |mut subscription| async move {
            let next = subscription.receiver.as_mut()?.next().await?;
            Some((next, subscription))
        });
        updates.boxed()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.receiver = None;
        let mut listening = self.hub.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(senders) = listening.get_mut(&self.device) {
            senders.retain(Sender::is_open);
            if senders.is_empty() {
                listening.remove(&self.device);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemill_engine::ports::Update;

    #[tokio::test]
    async fn a_subscription_leaves_nothing_behind() {
        let hub = Arc::<Hub>::default();
        let device: DeviceId = "d".parse().unwrap();
        let first = hub.subscribe(&device);
        let mut second = hub.subscribe(&device);
        drop(first);
        assert_eq!(hub.0.lock().unwrap()[&device].len(), 1);
        hub.publish([(&device, || Bytes::from_static(b"m"))]);
        assert_eq!(second.next().await.unwrap().unwrap(), Update::Written(Bytes::from_static(b"m")));
        drop(second);
        assert!(hub.0.lock().unwrap().is_empty());
    }
}
