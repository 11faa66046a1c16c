//! What the broker delivers again: recognised by the rule of the formats, or produced again.

use telemill_actors::mqtt::PacketIds;
use telemill_engine::record::{Origin, Record};
use telemill_engine::source::Acker;
use telemill_engine::stage::BuildError;
use telemill_services::{Mosquitto, Services, eventually};

use crate::mqtt_support::{Counters, Peer, Publisher, SOON, Scripted, Site, kick};

const URL: fn() -> &'static str = || Services::shared().mqtt_url();

async fn published(site: &Site, count: usize) -> Publisher {
    let mut devices = Publisher::connect(URL()).await;
    for number in 0..count {
        devices.send(&site.data("d1"), number.to_string()).await;
    }
    devices.settled().await;
    devices
}

fn origins(records: &[Record]) -> Vec<Origin> {
    records.iter().map(|record| record.origin.unwrap()).collect()
}

fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

#[tokio::test]
async fn after_a_crash_what_the_log_has_is_not_produced_again() {
    let counters = Counters::default();
    let _recording = metrics::set_default_local_recorder(&counters);
    let site = Site::new(URL());
    let mut ingress = site.build_subscribed().await;
    let mut devices = published(&site, 100).await;

    let (acknowledged, tag) = ingress.take(20).await;
    ingress.acknowledge(tag).await;
    let (unacknowledged, _) = ingress.take(80).await;
    // The log took 50 of them, the dead letters 5, before the process died.
    site.router.has(origins(&acknowledged));
    site.router.has(origins(&unacknowledged[..50]));
    site.dead_letters.has(origins(&unacknowledged[50..55]));
    ingress.crash().await;

    let mut ingress = site.build().await;
    let (again, tag) = ingress.take(25).await;
    assert_eq!(payloads(&again), payloads(&unacknowledged[55..]));
    let deliveries: Vec<_> = origins(&again).iter().map(|origin| origin.delivery).collect();
    assert!(deliveries.into_iter().eq(76..=100), "numbers go on behind the highest in the log");
    assert!(counters.get("telemill_mqtt_redeliveries_total", "recognised") >= 55);
    assert_eq!(counters.get("telemill_mqtt_redeliveries_total", "produced"), 25);
    ingress.acknowledge(tag).await;
    devices.send(&site.data("d1"), "\"new\"").await;
    ingress.expect_next("\"new\"").await;
    ingress.close().await;

    // Those that were recognised were acknowledged, too: nothing of them is left at the broker.
    devices.send(&site.data("d1"), "\"last\"").await;
    site.build().await.expect_next("\"last\"").await;
}

#[tokio::test]
async fn after_a_crash_a_broker_may_send_again_more_than_its_window() {
    const COUNT: u16 = 3000;
    let broker = Scripted::start().await;
    let mut site = Site::new(&broker.url());
    site.connection.max_inflight = 10;
    let message = |id, dup| Peer::message(id, &site.data("d1"), "1", dup);
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    for first in (1..=COUNT).step_by(500) {
        peer.send((first..first + 500).map(|id| message(id, false))).await;
        let (records, _) = ingress.take(500).await;
        site.router.has(origins(&records));
    }
    ingress.crash().await;

    let mut ingress = site.build().await;
    let mut peer = broker.accept(true).await;
    peer.send((1..=COUNT).map(|id| message(id, true))).await;
    assert!(peer.acks(COUNT.into()).await.into_iter().eq(1..=COUNT));
    // What comes next is new, though it reads the same and never got out of the last connection's socket.
    peer.send([message(COUNT + 1, true)]).await;
    assert_eq!(origins(&ingress.take(1).await.0)[0].delivery, u64::from(COUNT) + 1);
}

#[tokio::test]
async fn without_cyclic_packet_ids_everything_unacknowledged_is_produced_again() {
    let site = Site::new(URL()).with_packet_ids(PacketIds::Unknown);
    let mut ingress = site.build_subscribed().await;
    published(&site, 30).await;
    let (records, _) = ingress.take(30).await;
    site.router.has(origins(&records));
    ingress.crash().await;
    let (again, _) = site.build().await.take(30).await;
    assert_eq!(payloads(&again), payloads(&records));
    assert_eq!(origins(&again)[0].delivery, 31);
}

#[tokio::test]
async fn after_a_cut_what_is_in_flight_is_acknowledged_by_its_first_outcome() {
    let counters = Counters::default();
    let _recording = metrics::set_default_local_recorder(&counters);
    let site = Site::new(URL());
    let mut ingress = site.build_subscribed().await;
    let mut devices = published(&site, 60).await;
    let (handed_out, tag) = ingress.take(40).await;

    kick(URL(), &site.client_id()).await;
    // The 20 that were not handed out come again as they are, the 40 are recognised.
    let recognised = || counters.get("telemill_mqtt_redeliveries_total", "recognised");
    eventually(SOON, "the redelivery", async || (recognised() == 40).then_some(())).await;
    let (rest, last) = ingress.take(20).await;
    assert!(payloads(&rest).into_iter().eq((40..60).map(|n| n.to_string())));
    assert!(origins(&rest).iter().map(|origin| origin.delivery).eq(41..=60), "numbers have no holes");
    assert_eq!(recognised(), 40);

    site.router.has(origins(&handed_out));
    ingress.acknowledge(tag).await;
    ingress.acknowledge(last).await;
    ingress.close().await;
    devices.send(&site.data("d1"), "\"last\"").await;
    site.build().await.expect_next("\"last\"").await;
}

#[tokio::test]
async fn what_got_through_behind_a_batch_that_was_let_go_of_is_not_produced_again() {
    let site = Site::new(URL());
    let mut ingress = site.build_subscribed().await;
    published(&site, 20).await;
    let (let_go, tag) = ingress.take(10).await;
    let (behind, _) = ingress.take(10).await;
    ingress.acker.give_back(0, tag).await.unwrap();
    drop(ingress);

    site.router.has(origins(&behind));
    let (again, _) = site.build().await.take(10).await;
    assert_eq!(payloads(&again), payloads(&let_go));
    assert_eq!(origins(&again)[0].delivery, 21, "a number that the log has is not used again");
}

#[tokio::test]
async fn a_log_that_cannot_tell_is_waited_for() {
    let site = Site::new(URL());
    site.build_subscribed().await.close().await;
    site.router.break_down();
    match site.try_build().await.map(|_| ()) {
        Err(BuildError::Unavailable(why)) => assert!(why.contains("the log is away"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_broker_that_restarts_with_its_sessions_loses_and_doubles_nothing() {
    let broker = Mosquitto::start();
    let site = Site::new(&broker.url());
    let mut ingress = site.build_subscribed().await;
    let mut devices = Publisher::connect(&broker.url()).await;
    for number in 0..200 {
        devices.send(&site.data("d1"), number.to_string()).await;
    }
    devices.settled().await;
    let (first, tag) = ingress.take(50).await;
    broker.restart();
    ingress.acknowledge(tag).await;
    let (rest, tag) = ingress.take(150).await;
    ingress.acknowledge(tag).await;
    let all = [payloads(&first), payloads(&rest)].concat();
    assert!(all.into_iter().eq((0..200).map(|n| n.to_string())));
    assert_eq!(site.store.slot().unwrap().slot_session, origins(&first)[0].slot_session);
    let mut devices = Publisher::connect(&broker.url()).await;
    devices.send(&site.data("d1"), "\"after\"").await;
    ingress.expect_next("\"after\"").await;
}
