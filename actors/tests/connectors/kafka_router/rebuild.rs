//! A router that is rebuilt while batches are in flight: what the engine submits again is written once.

use futures_util::FutureExt;
use telemill_actors::kafka_router::KafkaRouter;
use telemill_engine::record::Kind;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::Component;
use telemill_engine::testing::record;
use ulid::Ulid;

use super::Routed;
use crate::kafka_support::{batch, delivered, produced};

fn numbers(routed: &Routed) -> Vec<u64> {
    routed.site.read(&routed.data).iter().map(|m| m.header("delivery").unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn what_was_written_without_an_answer_is_not_written_again() {
    what_was_written_is_not_written_again_after(0).await;
}

#[tokio::test]
async fn a_life_that_did_nothing_hands_on_what_the_one_before_it_had_written() {
    what_was_written_is_not_written_again_after(2).await;
}

async fn what_was_written_is_not_written_again_after(idle_lives: usize) {
    let routed = Routed::new(1);
    let checked = routed.checked();
    let session = Ulid::from_parts(1, 1);
    let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
    let batches: Vec<_> =
        (0..8).map(|b| batch((1..=500).map(|n| produced("d1", session, b * 500 + n)).collect())).collect();
    delivered(router.submit(batches[0].clone()).await).await;
    let mut unanswered = Vec::new();
    for batch in &batches[1..] {
        unanswered.push(router.submit(batch.clone()).await);
    }
    // As after a panic: nobody closes, and only what was answered by then is heard.
    drop(router);
    let heard: Vec<bool> =
        unanswered.into_iter().map(|answer| matches!(answer.now_or_never(), Some(Submitted::Delivered))).collect();
    for _ in 0..idle_lives {
        drop(KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap());
    }

    let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
    for (batch, _) in batches[1..].iter().zip(heard).filter(|(_, heard)| !heard) {
        delivered(router.submit(batch.clone()).await).await;
    }
    assert_eq!(numbers(&routed), (1..=4000).collect::<Vec<_>>());
}

#[tokio::test]
async fn several_rebuilds_in_a_row_write_once() {
    let routed = Routed::new(1);
    let checked = routed.checked();
    let session = Ulid::from_parts(1, 1);
    let all = batch((1..=400).map(|n| produced("d1", session, n)).collect());
    for _ in 0..3 {
        let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
        drop(router.submit(all.clone()).await);
    }
    let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
    delivered(router.submit(all).await).await;
    assert_eq!(numbers(&routed), (1..=400).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_submitted_again_on_purpose_is_written_again() {
    let routed = Routed::new(1);
    let checked = routed.checked();
    let again = batch(vec![record("d1", 1)]);
    for _ in 0..2 {
        let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
        delivered(router.submit(again.clone()).await).await;
        Sink::close(&mut router).await;
    }
    assert_eq!(routed.site.read(&routed.data).len(), 2);
}

#[tokio::test]
async fn a_mark_after_a_rebuild_vouches_for_what_the_last_life_had_written() {
    let mut routed = Routed::new(1);
    let marks = routed.site.topic("marks", 1);
    routed.site.marks = Some(routed.site.topics.get(&marks));
    let checked = routed.checked();
    let session = Ulid::from_parts(1, 1);
    let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
    let records: Vec<_> = (1..=10).map(|n| produced("d1", session, n)).collect();
    delivered(router.submit(batch(records[..5].to_vec())).await).await;
    let last = batch(records[5..].to_vec());
    drop(router.submit(last.clone()).await);
    drop(router);

    let mut router = KafkaRouter::build(&checked, &routed.site.cx()).await.unwrap();
    let mut mark = record("-", 99);
    mark.kind = Kind::Mark;
    mark.payload = format!(r#"{{"slot":0,"slot_session":"{session}","since":0,"time":1}}"#).into();
    delivered(router.submit(last).await).await;
    delivered(router.submit(batch(vec![mark])).await).await;
    assert_eq!(numbers(&routed), (1..=10).collect::<Vec<_>>());
    assert_eq!(routed.site.read(&marks)[0].json()["delivered"][&routed.data], 9);
}
