//! Processors: one behind the ingress that refuses its poison, one behind the log that filters and multiplies.

use std::sync::Arc;

use crate::record::{Kind, Reason, Record};
use crate::stage::{Outlet, Outlets, Processor, StageError};
use crate::testing::number_of;
use crate::testing::world::{Poison, World};

/// Hands everything on but its poison, with the world's troubles.
pub struct SimProcessor {
    /// The world whose troubles it has.
    pub world: Arc<World>,
}

impl Processor for SimProcessor {
    async fn handle(&mut self, record: &Record, out: &mut Outlets) -> Result<(), StageError> {
        let number = number_of(record);
        // Emitted before the trouble: what a failed try has emitted must not be seen.
        out.emit(Outlet::MAIN, record.clone());
        if record.kind != Kind::Mark {
            self.world.trouble.maybe_panic_on("processor", number);
            if Poison::of(&record.payload) == Poison::Processor {
                return Err(StageError::reject(Reason("poison"), "injected"));
            }
        }
        if self.world.trouble.fails("processor") {
            tokio::time::sleep(self.world.trouble.delay()).await;
            let (reason, detail) = (Reason("unavailable"), "injected".to_owned());
            return Err(StageError::Retry { reason, detail, after: None });
        }
        Ok(())
    }
}

/// Drops marks and every fifth record, doubles every third, with the world's troubles.
pub struct SimShape {
    /// The world whose troubles it has.
    pub world: Arc<World>,
}

impl SimShape {
    /// How many records it makes of one.
    pub fn copies(number: u64) -> usize {
        match number {
            n if n % 5 == 0 => 0,
            n if n % 3 == 0 => 2,
            _ => 1,
        }
    }
}

impl Processor for SimShape {
    async fn handle(&mut self, record: &Record, out: &mut Outlets) -> Result<(), StageError> {
        if record.kind == Kind::Mark {
            return Ok(());
        }
        let number = number_of(record);
        for _ in 0..SimShape::copies(number) {
            out.emit(Outlet::MAIN, record.clone());
        }
        self.world.trouble.maybe_panic_on("shape", number);
        Ok(())
    }
}
