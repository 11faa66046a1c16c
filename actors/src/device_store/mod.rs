//! What every store of devices has in common, whatever it is kept in: which records are written, whom a batch that
//! failed holds up, and how a subscriber that is slow is kept from costing memory.

pub(crate) mod flight;
pub(crate) mod settings;
pub(crate) mod updates;

use telemill_engine::batch::Batch;
use telemill_engine::record::{Kind, Record};

/// Whether a record is written; any other only moves the guard.
pub(crate) fn is_written(record: &Record) -> bool {
    let says_nothing = |payload: &[u8]| payload.is_empty() || payload == b"null";
    match record.kind {
        _ if record.dead.is_some() => false,
        Kind::Mark | Kind::Command => false,
        Kind::Hello => !says_nothing(&record.payload),
        _ => true,
    }
}

/// Whether a batch has positions, and with them a guard.
pub(crate) fn is_guarded(batch: &Batch) -> bool {
    batch.records.iter().any(|record| record.position.is_some())
}
