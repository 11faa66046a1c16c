//! Removes the history of devices that fell silent, cuts that of all where it is too much, and says what the store takes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use telemill_engine::clock::Clock;
use telemill_engine::context::BuildContext;
use tokio::task::JoinHandle;

use super::Refusal;
use super::apply::remove_rows;
use super::entry::{DEVICES, EXPIRY, Entry, HISTORY, Retention, device_in, device_key, seconds_from};
use super::trim::trim;
use super::weight::{Change, Room, WEIGHT};
use crate::embedded::disk::{Disk, KeyRange, Read, Tx};

/// The longest time between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The same where `history_size` is to be kept: what comes in between stands above it.
const PAUSE_WITH_LIMIT: Duration = Duration::from_secs(5);

/// The most of the history that one write removes.
const ROOM: Room = Room { rows: 2_000, bytes: 8 << 20 };

/// The task that sweeps, for as long as this is kept.
pub(super) struct Sweep(JoinHandle<()>);

impl Sweep {
    /// Sweeps, and cuts the history to `limit` bytes where there is one.
    pub(super) fn start(disk: Arc<Disk>, cx: &BuildContext, retention: Retention, limit: Option<u64>) -> Self {
        let longest = if limit.is_some() { PAUSE_WITH_LIMIT } else { LONGEST_PAUSE };
        let pause = Duration::from_secs(retention.step).min(longest);
        let (clock, topology, stage) = (cx.clock.clone(), cx.topology.to_string(), cx.stage.to_string());
        Sweep(tokio::spawn(async move {
            loop {
                if let Err(error) = sweep(&disk, &clock).await {
                    tracing::debug!(code = "store_sweep", %error, "cannot remove expired history now");
                }
                let labels = [("topology", topology.clone()), ("stage", stage.clone())];
                // What came during a cut may be too much again.
                while let Some(limit) = limit {
                    match trim(&disk, limit).await {
                        Ok(None) => break,
                        Ok(Some(cut)) => {
                            tracing::info!(
                                code = "history_cut",
                                stage,
                                before = cut.before,
                                messages = cut.messages,
                                "the history took more than `history_size`: the oldest was removed"
                            );
                            metrics::counter!("telemill_store_history_cut_total", &labels).increment(cut.messages);
                        }
                        Err(Refusal::Disk(error)) => {
                            tracing::debug!(code = "store_sweep", %error, "cannot cut the history now");
                            break;
                        }
                        Err(error) => {
                            tracing::warn!(code = "store_sweep", %error, "cannot cut the history");
                            break;
                        }
                    }
                }
                for space in [DEVICES, HISTORY, EXPIRY, WEIGHT] {
                    let [topology, stage] = labels.clone();
                    let labels = [topology, stage, ("space", space.0.to_owned())];
                    metrics::gauge!("telemill_store_bytes", &labels).set(disk.space_bytes(space) as f64);
                }
                tokio::time::sleep(pause).await;
            }
        }))
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Removes all that has expired by now.
async fn sweep(disk: &Disk, clock: &Clock) -> Result<(), Refusal> {
    let now = clock.now().as_secs();
    // Looked for outside of a write, so that in most rounds there is none.
    while !disk.read(move |view| due(view, now, 1)).await?.is_empty() {
        disk.tidy(move |tx| some(tx, now)).await?;
    }
    Ok(())
}

/// The first keys whose time has come.
fn due(from: &impl Read, now: u64, limit: usize) -> Result<Vec<Bytes>, Refusal> {
    let range = KeyRange::between(Bytes::new(), now.saturating_add(1).to_be_bytes().to_vec());
    from.rows(EXPIRY, range).take(limit).map(|row| Ok(row?.0)).collect()
}

/// Removes what has expired of the history, as far as there is [`ROOM`] for it. A device is done when nothing of its history is
/// left.
fn some(tx: &mut Tx<'_>, now: u64) -> Result<(), Refusal> {
    let (mut room, mut change) = (ROOM, Change::default());
    for key in due(tx, now, ROOM.rows)? {
        let device = device_in(EXPIRY, key.get(8..).unwrap_or_default())?;
        let entry = Entry::read(tx, &device)?;
        // One that was put off has another key.
        if let Some(entry) = entry.filter(|entry| entry.expires.to_be_bytes() == key[..8]) {
            let rows = room.take(tx.rows(HISTORY, seconds_from(&device, 0)))?;
            remove_rows(tx, rows, &mut change);
            if room.is_used_up() {
                break;
            }
            let silent = Entry { hidden_below: 0, removed_below: 0, expires: 0, ..entry };
            tx.insert(DEVICES, device_key(&device), silent.written());
        }
        tx.remove(EXPIRY, key);
    }
    change.write(tx)
}
