//! The contract of an ingress (a source that devices' messages come from): `docs/formats.md`, "Identity", "Time" and
//! "MQTT redelivery", and the no-loss promise as far as it is the ingress' own.
//!
//! An implementation gives a [`Harness`] and names it in `ingress_suite!`.

pub(crate) mod acks;
pub(crate) mod commands;
pub(crate) mod device;
pub(crate) mod flow;
pub(crate) mod marks;
pub(crate) mod pressure;
pub(crate) mod unfit;

use std::time::Duration;

use telemill_engine::record::Record;
use telemill_engine::sink::Sink;
use telemill_engine::source::Source;

use crate::mqtt_support::Ingress;

use device::{Device, Version};

/// Longer than a whole test takes on a busy machine. Each has this deadline beside those of its steps: marks go on when
/// nothing else comes, so reading alone never waits in vain.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What the suite needs of an implementation. Its ingress has the routes `data` and `hello`, the default limits, and is
/// the stage `ingress`.
pub(crate) trait Harness: Sized {
    /// The ingress.
    type Source: Source;
    /// The sink of the devices' commands.
    type Commands: Sink;

    /// Who has the promise of no loss. `true`: the device, to whom a PUBACK says that the engine has acknowledged its
    /// message; what it got none for it sends again. `false`: a broker stands between, which acknowledges to devices by
    /// itself, and gives to the ingress again what the ingress has not acknowledged.
    const ACKNOWLEDGES_TO_DEVICES: bool;
    /// The longest topic that gets through to the ingress, in bytes.
    const LONGEST_TOPIC: usize;
    /// How many messages of a kibibyte from two devices, of which one keeps a window of [`device::WINDOW`] and the other
    /// none, get in at most while none is acknowledged.
    const MOST_UNACKNOWLEDGED: usize;

    /// A place for an ingress, with topics that no other test has.
    async fn start() -> Self;
    /// Builds the ingress, as the engine does at the start and after every failure.
    async fn build(&self) -> Self::Source;
    /// Builds the sink of the devices' commands.
    async fn commands(&self) -> Self::Commands;
    /// The process is gone without warning, after its ingress was; what is built next is built by another one.
    async fn crash(&mut self);
    /// Where devices connect: `host:port`. Another one, perhaps, after each build.
    fn address(&self) -> String;
    /// The topic of a device that ends in `word`: `data`, `hello`, `commands`.
    fn topic(&self, device: &str, word: &str) -> String;
    /// The log has these records now.
    fn has(&self, records: &[Record]);
}

/// Every test of the suite, for one harness.
macro_rules! ingress_suite {
    ($harness:ty) => {
        crate::conformance::ingress::ingress_tests! { $harness:
            flow::what_devices_publish_arrives_once_in_order_and_whole,
            flow::messages_at_qos_0_are_taken_as_they_come,
            flow::a_retained_message_is_taken_when_it_is_published,
            acks::what_was_not_acknowledged_comes_again_after_a_crash,
            acks::a_graceful_end_acknowledges_what_is_safe,
            acks::a_batch_that_is_given_back_is_read_again,
            unfit::each_unfit_message_is_rejected_with_its_bytes_its_topic_and_the_reason,
            unfit::at_the_limits_a_message_is_fit,
            marks::time_is_vouched_for_second_by_second,
            marks::no_time_is_vouched_for_while_devices_cannot_be_heard,
            pressure::an_engine_that_takes_nothing_is_waited_for,
            commands::a_command_reaches_the_subscription_of_its_device_alone,
        }
    };
}

macro_rules! ingress_tests {
    ($harness:ty: $($part:ident::$name:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let test = crate::conformance::ingress::$part::$name::<$harness>();
                tokio::time::timeout(crate::conformance::ingress::DEADLINE, test).await.expect("the test ends in time");
            }
        )*
    };
}

pub(crate) use {ingress_suite, ingress_tests};

/// A harness with an ingress that takes what devices publish from now on.
pub(crate) async fn serving<H: Harness>() -> (H, Ingress<H::Source>) {
    let harness = H::start().await;
    let mut ingress = Ingress::begin(harness.build().await).await;
    ingress.serving().await;
    (harness, ingress)
}

/// A device that is connected.
pub(crate) async fn connected<H: Harness>(harness: &H, device: &str, version: Version) -> Device {
    Device::connect(&harness.address(), device, version, 60).await
}

/// How many PUBACKs a device gets that has sent `sent` messages, of which the engine has acknowledged `acknowledged`.
pub(crate) fn owed<H: Harness>(sent: usize, acknowledged: usize) -> usize {
    if H::ACKNOWLEDGES_TO_DEVICES { acknowledged } else { sent }
}

pub(crate) fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// What [`payloads`] finds of messages that are the numbers of a range.
pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// All that was published is acknowledged: in the next life of the ingress, what comes first is what is published then.
pub(crate) async fn nothing_comes_again<H: Harness>(harness: &H, ingress: Ingress<H::Source>, device: &mut Device) {
    device.settled().await;
    ingress.close().await;
    let mut ingress = Ingress::begin(harness.build().await).await;
    device.reconnect(&harness.address()).await;
    device.publish(&harness.topic("d1", "data"), "\"last\"").await;
    ingress.expect_next("\"last\"").await;
    device.settled().await;
    ingress.close().await;
}
