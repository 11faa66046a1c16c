//! The contract of a store of devices (the writer sink, and what the API reads): `docs/formats.md`, "Redis".
//!
//! An implementation gives a [`Harness`] and names it in `store_suite!`.

pub(crate) mod guard;
pub(crate) mod lasting;
pub(crate) mod model;
pub(crate) mod reading;
pub(crate) mod updates;
pub(crate) mod writing;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use telemill_engine::batch::Batch;
use telemill_engine::device_id::DeviceId;
use telemill_engine::ports::{DeviceStore, LastState, Update, Updates};
use telemill_engine::record::Record;
use telemill_engine::sink::{Sink, Submitted};

use super::records::{NOW, batch, message, record};
use crate::conformance::records::TOPIC;

/// Longer than anything takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How far back a device's history reaches where a test does not say.
pub(crate) const HISTORY: Duration = Duration::from_secs(18_000);

/// What the suite needs of an implementation. Topologies and devices have unique names, so stores may be shared.
pub(crate) trait Harness: Sized {
    /// The sink that writes.
    type Writer: Sink;

    /// A store that others may use, too.
    async fn start() -> Self;
    /// A store of its own, which keeps what it answered through [`Harness::restart`].
    async fn start_own() -> Self;
    /// The sink of stage `writer`, as an owner with this epoch builds it, with a window of 4; and what the API reads.
    async fn writer(&self, topology: &str, epoch: u64, history: Duration) -> (Self::Writer, Arc<dyn DeviceStore>);
    /// The store ends without warning and comes back. Writers of before are of no use any more.
    async fn restart(self) -> Self;
}

/// A writer with its store.
pub(crate) struct Open<W> {
    pub(crate) writer: W,
    pub(crate) devices: Arc<dyn DeviceStore>,
}

pub(crate) async fn open<H: Harness>(harness: &H, topology: &str, epoch: u64) -> Open<H::Writer> {
    let (writer, devices) = harness.writer(topology, epoch, HISTORY).await;
    Open { writer, devices }
}

impl<W: Sink> Open<W> {
    pub(crate) async fn submit(&mut self, batch: &Arc<Batch>) -> Submitted {
        self.writer.submit(batch.clone()).await.await
    }

    pub(crate) async fn deliver(&mut self, batch: &Arc<Batch>) {
        let submitted = self.submit(batch).await;
        assert!(matches!(submitted, Submitted::Delivered), "{submitted:?}");
    }

    /// Payload and timestamp of the last state.
    pub(crate) async fn last_state(&self, device: &str) -> Option<(String, u64)> {
        let state = self.devices.last_state(&id(device)).await.unwrap();
        state.map(|LastState { payload, timestamp }| (String::from_utf8(payload.to_vec()).unwrap(), timestamp))
    }

    /// The whole history, in order.
    pub(crate) async fn history(&self, device: &str) -> Vec<String> {
        let history = self.devices.history(&id(device), 0, u64::MAX, 1_000_000).await.unwrap();
        history.into_iter().map(|message| String::from_utf8(message.to_vec()).unwrap()).collect()
    }

    pub(crate) async fn listen(&self, device: &str) -> Heard {
        Heard { device: device.to_owned(), updates: self.devices.updates(&id(device)).await.unwrap() }
    }

    /// All that was heard up to now, in order, and how many messages were missed. Writes one more to see where now is.
    pub(crate) async fn heard(&mut self, heard: &mut Heard) -> (Vec<String>, u64) {
        let mut end = record(&heard.device, TOPIC, 0, NOW, r#""the end""#);
        end.position = None;
        self.deliver(&batch(&[], vec![end.clone()])).await;
        let (mut messages, mut missed) = (Vec::new(), 0);
        loop {
            let next = tokio::time::timeout(DEADLINE, heard.updates.next()).await.expect("the end is heard or missed");
            match next.expect("the subscription lasts").expect("the subscription lasts") {
                Update::Written(heard) if heard == message(&end) => return (messages, missed),
                Update::Written(heard) => messages.push(String::from_utf8(heard.to_vec()).unwrap()),
                // The end may be among what was missed.
                Update::Missed(count) => {
                    missed += count;
                    self.deliver(&batch(&[], vec![end.clone()])).await;
                }
            }
        }
    }
}

/// A subscription to one device.
pub(crate) struct Heard {
    device: String,
    updates: Updates,
}

pub(crate) fn id(device: &str) -> DeviceId {
    device.parse().unwrap()
}

pub(crate) fn state(payload: &str, timestamp: u64) -> Option<(String, u64)> {
    Some((payload.to_owned(), timestamp))
}

pub(crate) fn unguarded(records: &[Record]) -> Arc<Batch> {
    let mut records = records.to_vec();
    records.iter_mut().for_each(|record| record.position = None);
    batch(&[], records)
}

/// Every test of the suite, for one harness.
macro_rules! store_suite {
    ($harness:ty) => {
        crate::conformance::store::store_tests! { $harness:
            writing::state_history_and_updates_are_exact,
            writing::what_is_older_than_the_history_is_trimmed,
            writing::what_is_late_is_kept_until_the_next_trim,
            writing::what_is_trimmed_by_its_own_batch_does_not_come_back,
            writing::what_is_no_state_only_moves_the_guard,
            writing::records_without_a_position_are_written_at_least_once,
            writing::a_batch_may_be_large,
            writing::batches_in_flight_apply_in_order,
            guard::only_what_is_behind_the_guard_applies,
            guard::outputs_of_one_offset_are_told_apart,
            guard::a_gap_is_told_and_nothing_written,
            guard::behind_a_batch_that_failed_there_is_no_gap,
            guard::a_superseded_owner_writes_nothing,
            guard::a_partition_that_was_never_written_resumes_at_nothing,
            guard::stages_topologies_and_partitions_have_guards_of_their_own,
            reading::devices_are_read_back,
            updates::each_device_is_heard_alone_and_from_then_on,
            updates::a_slow_subscriber_is_told_what_it_missed,
            lasting::what_was_delivered_is_there_after_a_restart,
            lasting::a_silent_device_keeps_its_state_and_loses_its_history,
        }

        proptest::proptest! {
            #![proptest_config(proptest::prelude::ProptestConfig {
                cases: 64,
                failure_persistence: None,
                ..Default::default()
            })]

            #[test]
            fn the_store_holds_what_the_model_holds(course in crate::conformance::store::model::course()) {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(crate::conformance::store::model::check::<$harness>(&course));
            }
        }
    };
}

macro_rules! store_tests {
    ($harness:ty: $($part:ident::$name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                crate::conformance::store::$part::$name::<$harness>().await;
            }
        )*
    };
}

pub(crate) use {store_suite, store_tests};
