//! How long a shard takes to open from a checkpoint of a million sessions, beside the time of the store itself.

use std::time::{Duration, Instant};

use crate::cpu::CpuTime;
use crate::fleet::Fleet;
use crate::per_record::on_a_system;
use crate::rig::Rig;
use crate::store::MemoryStore;
use crate::summary::{Row, Summary, Target};

/// Sessions in the checkpoint.
const SESSIONS: usize = 1_000_000;

/// Measures and puts it into the table.
pub fn measure(summary: &mut Summary) {
    let store = MemoryStore::keeping();
    on_a_system(async || {
        let mut rig = Rig::start(&store, Duration::from_secs(1)).await;
        rig.pass(Fleet::new(SESSIONS).roll_call()).await;
        rig.acknowledged().await;
        rig.stop().await;
    });
    assert_eq!(store.lay_out(), SESSIONS, "the checkpoint has every session");
    let full = ready_after(&store);
    let empty = ready_after(&MemoryStore::keeping());
    for (what, (took, used), limit, text) in
        [("1M sessions", full, 5.0, "≤ 5 s"), ("no sessions", empty, 0.5, "≤ 0.5 s")]
    {
        summary.add(Row {
            what: format!("ready again with a checkpoint of {what} in memory, {:.2} s of CPU time", used.as_secs_f64()),
            measured: format!("{:.3} s", took.as_secs_f64()),
            target: Target::AtMost { limit, is: took.as_secs_f64(), text },
        });
    }
}

/// From the start of the topology until its shard takes records: time, and CPU time.
fn ready_after(store: &MemoryStore) -> (Duration, Duration) {
    on_a_system(async || {
        let (started, used) = (Instant::now(), CpuTime::now());
        let rig = Rig::start(store, Duration::from_secs(1)).await;
        let took = (started.elapsed(), used.elapsed());
        rig.stop().await;
        took
    })
}
