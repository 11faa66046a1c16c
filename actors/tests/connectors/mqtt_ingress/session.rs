//! Which session it is, what it is subscribed to, and what is written down of it.

use rumqttc::{ConnAck, ConnectReturnCode, Packet, QoS, SubAck, SubscribeReasonCode};
use telemill_engine::checkpoint::SlotRecord;
use telemill_engine::source::SourceError;
use telemill_services::Mosquitto;

use crate::mqtt_support::{Counters, Mood, Peer, Publisher, Scripted, Site};

/// Filters and `subscribed` of each write.
fn writes(site: &Site) -> Vec<(Vec<String>, bool)> {
    site.store.writes().into_iter().map(|SlotRecord { filters, subscribed, .. }| (filters, subscribed)).collect()
}

#[tokio::test]
async fn the_slot_is_written_down_before_connect_before_subscribe_and_after_suback() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let _ingress = site.build().await;
    let mut peer = broker.connection().await;
    assert_eq!((peer.client_id.as_str(), peer.clean_session), (site.client_id().as_str(), false));
    assert_eq!(writes(&site), [(vec![], false)]);
    peer.send([Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))]).await;
    match peer.next().await {
        Some(Packet::Subscribe(subscribe)) => {
            assert_eq!(writes(&site), [(vec![], false), (site.filters(), false)]);
            assert!(subscribe.filters.iter().all(|filter| filter.qos == QoS::AtLeastOnce));
            let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce); 2];
            peer.send([Packet::SubAck(SubAck::new(subscribe.pkid, codes))]).await;
        }
        other => panic!("{other:?}"),
    }
    peer.until(|| site.store.writes().len() == 3).await;
    assert_eq!(writes(&site)[2], (site.filters(), true));
    let sessions: Vec<_> = site.store.writes().into_iter().map(|record| record.slot_session).collect();
    assert!(sessions.iter().all(|session| *session == sessions[0]));
}

#[tokio::test]
async fn a_resumed_session_is_not_subscribed_again() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    let session = site.store.slot().unwrap().slot_session;

    // A cut, then a restart of the process: neither needs a SUBSCRIBE.
    drop(peer);
    let mut peer = broker.accept(true).await;
    peer.until(|| site.store.writes().len() == 5).await;
    assert_eq!(writes(&site)[3..], [(site.filters(), false), (site.filters(), true)], "in doubt until CONNACK");
    peer.expect_only_pings().await;
    ingress.crash().await;
    let _ingress = site.build().await;
    let mut peer = broker.accept(true).await;
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    peer.expect_only_pings().await;
    assert_eq!(site.store.slot().unwrap().slot_session, session);
}

#[tokio::test]
async fn changed_filters_are_subscribed_and_old_ones_let_go_of() {
    let broker = Scripted::start().await;
    let mut site = Site::new(&broker.url());
    let ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    ingress.crash().await;

    let old = site.filters();
    site.topics = vec![site.topics[1].clone(), site.topics[0].replace("data", "log")];
    let _ingress = site.build().await;
    let mut peer = broker.accept(true).await;
    assert_eq!(peer.release().await, old[..1]);
    let before = [old.clone(), site.filters()[1..].to_vec()].concat();
    assert_eq!(writes(&site).last(), Some(&(before, false)), "what the session may have");
    assert_eq!(peer.grant().await, site.filters()[1..]);
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    assert_eq!(writes(&site).last(), Some(&(site.filters(), true)));
    // What was queued under the old filter is nobody's any more.
    peer.send([Peer::message(1, &site.data("d1"), "1", false)]).await;
    assert_eq!(peer.acks(1).await, [1]);
}

#[tokio::test]
async fn without_suback_it_is_subscribed_again() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let ingress = site.build().await;
    let mut peer = broker.accept(false).await;
    assert!(matches!(peer.next().await, Some(Packet::Subscribe(_))));
    ingress.crash().await;
    let _ingress = site.build().await;
    assert_eq!(broker.accept(true).await.grant().await, site.filters());
}

#[tokio::test]
async fn a_refused_subscription_is_asked_for_until_it_is_granted() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let _ingress = site.build().await;
    for code in [SubscribeReasonCode::Failure, SubscribeReasonCode::Success(QoS::AtMostOnce)] {
        let mut peer = broker.accept(false).await;
        let Some(Packet::Subscribe(subscribe)) = peer.next().await else { panic!() };
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        peer.send([Packet::SubAck(SubAck::new(subscribe.pkid, vec![granted, code]))]).await;
        assert_eq!(peer.next().await, None, "a subscription in part is none");
    }
    assert_eq!(broker.accept(true).await.grant().await, site.filters());
}

#[tokio::test]
async fn a_lost_session_is_counted_and_a_new_one_begins() {
    let counters = Counters::default();
    let _recording = metrics::set_default_local_recorder(&counters);
    let broker = Mosquitto::start_with(&["--set", "persistence false"]);
    let site = Site::new(&broker.url());
    let mut ingress = site.build_subscribed().await;
    let mut devices = Publisher::connect(&broker.url()).await;
    devices.send(&site.data("d1"), "1").await;
    let (records, _) = ingress.take(1).await;
    assert_eq!(counters.get("telemill_mqtt_sessions_lost_total", ""), 0);

    let old = site.store.slot().unwrap().slot_session;
    broker.restart();
    ingress.idle_until(|| site.store.slot().is_some_and(|slot| slot.subscribed && slot.slot_session != old)).await;
    assert_eq!(counters.get("telemill_mqtt_sessions_lost_total", ""), 1);
    devices.send(&site.data("d1"), "2").await;
    let (new, _) = ingress.take(1).await;
    assert_eq!(records[0].origin.unwrap().slot_session, old);
    let origin = new[0].origin.unwrap();
    assert_eq!((origin.slot_session, origin.delivery), (site.store.slot().unwrap().slot_session, 1));
}

#[tokio::test]
async fn what_had_arrived_in_a_session_that_is_lost_is_handed_out_all_the_same() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    let messages = (1..=4).map(|id| Peer::message(id, &site.data("d1"), &id.to_string(), false));
    peer.send(messages).await;
    let (records, tag) = ingress.take(2).await;
    assert_eq!(records[1].origin.unwrap().delivery, 2);
    drop(peer);
    let mut peer = broker.accept_new().await;
    let (records, last) = ingress.take(2).await;
    assert_eq!(records.iter().map(|r| &r.payload[..]).collect::<Vec<_>>(), [b"3", b"4"]);
    let origins: Vec<_> = records.iter().map(|r| r.origin.unwrap()).map(|o| (o.delivery, o.packet_id)).collect();
    assert_eq!(origins, [(1, 0), (2, 0)]);
    // Nothing of it can be acknowledged: the new session has never heard of it.
    ingress.acknowledge(tag).await;
    ingress.acknowledge(last).await;
    peer.send([Peer::message(1, &site.data("d1"), "5", false)]).await;
    let (records, tag) = ingress.take(1).await;
    assert_eq!(records[0].origin.unwrap().delivery, 3);
    ingress.acknowledge(tag).await;
    assert_eq!(peer.acks(1).await, [1]);
}

#[tokio::test]
async fn a_connect_whose_answer_was_not_seen_may_have_made_a_new_session() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    let session = site.store.slot().unwrap().slot_session;
    drop(peer);

    // Nothing comes before the SUBACK: a session of which nothing can be recognised.
    drop(broker.connection().await);
    let mut peer = broker.accept(true).await;
    assert_eq!(peer.grant().await, site.filters());
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    let renewed = site.store.slot().unwrap().slot_session;
    assert_ne!(renewed, session);

    // A message before the SUBACK proves that it is the known one.
    peer.send([Peer::message(7, &site.data("d1"), "1", false)]).await;
    let (_, tag) = ingress.take(1).await;
    drop(peer);
    drop(broker.connection().await);
    let mut peer = broker.accept(true).await;
    peer.send([Peer::message(7, &site.data("d1"), "1", true)]).await;
    assert_eq!(peer.grant().await, site.filters());
    ingress.acknowledge(tag).await;
    assert_eq!(peer.acks(1).await, [7], "it was recognised");
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    assert_eq!(site.store.slot().unwrap().slot_session, renewed);
}

#[tokio::test]
async fn an_instance_that_lost_its_ownership_does_not_connect() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    let mut ingress = site.build().await;
    let mut peer = broker.accept_new().await;
    peer.until(|| site.store.slot().is_some_and(|slot| slot.subscribed)).await;
    site.store.set_mood(Mood::Fencing);
    drop(peer);
    match ingress.event(1).await {
        Err(SourceError::Broken(why)) => assert!(why.contains("another instance owns"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(broker.is_idle().await, "the new owner's session is left alone");
}

#[tokio::test]
async fn a_store_that_is_away_is_waited_for() {
    let broker = Scripted::start().await;
    let site = Site::new(&broker.url());
    site.store.set_mood(Mood::Unavailable);
    let mut ingress = site.build().await;
    assert!(broker.is_idle().await);
    site.store.set_mood(Mood::Willing);
    let mut peer = broker.accept_new().await;
    peer.send([Peer::message(1, &site.data("d1"), "1", false)]).await;
    ingress.expect_next("1").await;
}
