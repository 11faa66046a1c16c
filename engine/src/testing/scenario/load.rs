//! What the devices say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::sleep;

use crate::testing::world::{Message, Poison, World};

/// The messages of the devices, not yet published.
#[derive(Clone)]
pub(super) struct Load(Arc<Mutex<Vec<Message>>>);

impl Load {
    pub(super) fn new(world: &World) -> Self {
        let trouble = &world.trouble;
        let devices = trouble.between(1, 5);
        let count = trouble.between(5, 60);
        let poisoned = trouble.between(0, 2) == 0;
        let kinds = [Poison::Processor, Poison::Table, Poison::TablePanic, Poison::Keyed];
        let message = |number| {
            let poison = match poisoned && trouble.between(0, 9) == 0 {
                true => kinds[trouble.between(0, 3) as usize],
                false => Poison::None,
            };
            Message { number, device: format!("d{}", trouble.between(1, devices)), poison }
        };
        let mut messages: Vec<_> = (1..=count).map(message).collect();
        messages.reverse();
        Load(Arc::new(Mutex::new(messages)))
    }

    /// Publishes what is left, with pauses that let sessions go offline now and then.
    pub(super) async fn publish(self, world: Arc<World>) {
        loop {
            let next = self.0.lock().expect("nobody panics with the lock").pop();
            let Some(message) = next else { return };
            world.broker.publish(message);
            let pause = match world.trouble.between(0, 19) {
                0 => world.trouble.between(1000, 9000),
                1..=9 => 0,
                _ => world.trouble.between(1, 300),
            };
            sleep(Duration::from_millis(pause)).await;
        }
    }
}
