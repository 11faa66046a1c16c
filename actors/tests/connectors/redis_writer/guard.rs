//! What the guard skips, and what it refuses without writing anything.

use telemill_engine::position::{Cursor, TopicOffset};
use telemill_engine::record::Reason;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::StageError;
use telemill_services::{Services, unique_name};

use super::{deliver, hash, owned, sorted_set, submit};
use crate::redis_support::{OTHER_TOPIC, Subscriber, TOPIC, batch, client, message, record, writer};

const NOW: u64 = 1_700_000_000;

#[tokio::test]
async fn only_what_is_behind_the_guard_applies() {
    let url = Services::shared().redis_url();
    let (topology, name) = (unique_name("overlap"), unique_name("dev"));
    let (a, b) = (format!("{name}-a"), format!("{name}-b"));
    let mut subscriber = Subscriber::new(url, &name).await;
    let mut writer = writer(url, &topology, 1).await;
    let mut client = client(url).await;
    let records = vec![
        record(&a, TOPIC, 1, NOW, "1"),
        record(&a, OTHER_TOPIC, 1, NOW, "2"),
        record(&b, TOPIC, 2, NOW, "3"),
        record(&b, OTHER_TOPIC, 2, NOW, "4"),
        record(&a, TOPIC, 5, NOW + 1, "5"),
    ];
    deliver(&mut writer, &batch(&[], records[..3].to_vec())).await;
    subscriber.heard().await;
    // What b had so far is taken away, to see that it is not written again.
    let _: () = redis::cmd("DEL").arg(format!("device:history:{b}")).query_async(&mut client).await.unwrap();
    for _ in 0..2 {
        deliver(&mut writer, &batch(&[], records.clone())).await;
    }
    assert_eq!(subscriber.heard().await, [message(&records[3]), message(&records[4])]);
    let history = sorted_set(&mut client, &format!("device:history:{b}")).await;
    assert_eq!(history, [(message(&records[3]), NOW)]);
    let state = hash(&mut client, &format!("device:last_state:{a}")).await;
    assert_eq!(state, owned(&[("payload", "5"), ("timestamp", "1700000001")]));
}

#[tokio::test]
async fn outputs_of_one_offset_are_told_apart() {
    let url = Services::shared().redis_url();
    let (topology, device) = (unique_name("outputs"), unique_name("dev"));
    let mut subscriber = Subscriber::new(url, &device).await;
    let mut writer = writer(url, &topology, 1).await;
    let outputs: Vec<_> = (1..=3)
        .map(|output| {
            let mut record = record(&device, TOPIC, 8, NOW, &output.to_string());
            record.position.as_mut().unwrap().output = output;
            record
        })
        .collect();
    deliver(&mut writer, &batch(&[], outputs[..2].to_vec())).await;
    let cursor = writer.resume(0).await.unwrap();
    assert_eq!(cursor, Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 7 }])), "there may be more of offset 8");
    deliver(&mut writer, &batch(&[], outputs.clone())).await;
    assert_eq!(subscriber.heard().await, outputs.iter().map(message).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_gap_is_told_and_nothing_written() {
    let url = Services::shared().redis_url();
    let (topology, device) = (unique_name("gap"), unique_name("dev"));
    let mut writer = writer(url, &topology, 1).await;
    let mut client = client(url).await;
    let second = batch(&[(TOPIC, 1, 0)], vec![record(&device, TOPIC, 2, NOW, "2")]);
    let submitted = submit(&mut writer, &second).await;
    assert!(matches!(submitted, Submitted::Gap { .. }), "a store that has nothing: {submitted:?}");

    deliver(&mut writer, &batch(&[], vec![record(&device, TOPIC, 1, NOW, "1")])).await;
    let third = batch(&[(TOPIC, 2, 0)], vec![record(&device, TOPIC, 3, NOW, "3")]);
    let submitted = submit(&mut writer, &third).await;
    let Submitted::Gap { detail } = submitted else { panic!("{submitted:?}") };
    assert!(detail.contains("1:0") && detail.contains("2:0"), "{detail}");
    let state = hash(&mut client, &format!("device:last_state:{device}")).await;
    assert_eq!(state[0].1, "1");
    deliver(&mut writer, &second).await;
    deliver(&mut writer, &third).await;
}

#[tokio::test]
async fn a_superseded_owner_writes_nothing() {
    let url = Services::shared().redis_url();
    let (topology, device) = (unique_name("fenced"), unique_name("dev"));
    let mut old = writer(url, &topology, 4).await;
    let mut new = writer(url, &topology, 5).await;
    let mut client = client(url).await;
    deliver(&mut old, &batch(&[], vec![record(&device, TOPIC, 1, NOW, "1")])).await;
    let cursor = new.resume(0).await.unwrap();
    assert_eq!(cursor, Some(Cursor(vec![TopicOffset { topic: TOPIC, offset: 1 }])));

    // Taking over is enough: the new owner has not written yet.
    let submitted = submit(&mut old, &batch(&[(TOPIC, 1, 0)], vec![record(&device, TOPIC, 2, NOW, "2")])).await;
    let Submitted::Fatal(text) = submitted else { panic!("{submitted:?}") };
    assert!(text.contains("epoch 4") && text.contains("epoch 5"), "{text}");
    assert_eq!(hash(&mut client, &format!("device:last_state:{device}")).await[0].1, "1");
    let resumed = old.resume(0).await;
    assert!(matches!(resumed, Err(StageError::Fatal(_))), "{resumed:?}");
}

#[tokio::test]
async fn the_records_that_meet_a_wrong_type_are_named_and_none_applied() {
    let url = Services::shared().redis_url();
    let (topology, name) = (unique_name("types"), unique_name("dev"));
    let [good, state, past] = ["a", "b", "c"].map(|end| format!("{name}-{end}"));
    let mut subscriber = Subscriber::new(url, &name).await;
    let mut writer = writer(url, &topology, 1).await;
    let mut client = client(url).await;
    let set = |key: String| {
        let mut set = redis::cmd("SET");
        set.arg(key).arg("mine");
        set
    };
    let _: () = set(format!("device:last_state:{state}")).query_async(&mut client).await.unwrap();
    let _: () = set(format!("device:history:{past}")).query_async(&mut client).await.unwrap();
    let mark = {
        let mut mark = record(&good, TOPIC, 1, NOW, "{}");
        mark.kind = telemill_engine::record::Kind::Mark;
        mark
    };
    let records = vec![
        mark,
        record(&good, TOPIC, 2, NOW, "2"),
        record(&state, TOPIC, 3, NOW, "3"),
        record(&past, TOPIC, 4, NOW, "4"),
        record(&state, TOPIC, 5, NOW, "5"),
    ];
    let submitted = submit(&mut writer, &batch(&[], records.clone())).await;
    let Submitted::Rejected { records: rejected, others_applied } = submitted else { panic!("{submitted:?}") };
    assert!(!others_applied);
    assert!(rejected.iter().all(|r| !r.permanent && r.reason == Reason::WRONG_TYPE), "{rejected:?}");
    assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(rejected[0].detail.contains(&state) && rejected[0].detail.contains("string"), "{rejected:?}");
    assert_eq!(subscriber.heard().await, [""; 0]);
    assert_eq!(hash(&mut client, &format!("telemill:offset:{topology}:writer:0")).await, []);

    // As the engine goes on: the batch without those that were given up.
    let others = vec![records[0].clone(), records[1].clone()];
    deliver(&mut writer, &batch(&[], others)).await;
    assert_eq!(subscriber.heard().await, [message(&records[1])]);
}

#[tokio::test]
async fn a_guard_that_is_none_stops_the_writer() {
    let url = Services::shared().redis_url();
    let (topology, device) = (unique_name("noguard"), unique_name("dev"));
    let mut writer = writer(url, &topology, 1).await;
    let mut client = client(url).await;
    let guard = format!("telemill:offset:{topology}:writer:0");
    let one = batch(&[], vec![record(&device, TOPIC, 1, NOW, "1")]);
    let check = |submitted, word: &str| {
        let Submitted::Fatal(text) = submitted else { panic!("{submitted:?}") };
        assert!(text.contains(&guard) && text.contains(word), "{text}");
    };
    let _: () = redis::cmd("SET").arg(&guard).arg("x").query_async(&mut client).await.unwrap();
    check(submit(&mut writer, &one).await, "something else than a hash");
    assert!(matches!(writer.resume(0).await, Err(StageError::Fatal(_))));
    let _: () = redis::cmd("DEL").arg(&guard).query_async(&mut client).await.unwrap();
    let _: () = redis::cmd("HSET").arg(&guard).arg("v").arg(2).query_async(&mut client).await.unwrap();
    check(submit(&mut writer, &one).await, "version 2");
    assert!(matches!(writer.resume(0).await, Err(StageError::Fatal(_))));
}

#[tokio::test]
async fn a_partition_that_was_never_written_resumes_at_nothing() {
    let url = Services::shared().redis_url();
    let mut writer = writer(url, &unique_name("new"), 1).await;
    assert_eq!(writer.resume(3).await.unwrap(), Some(Cursor::default()));
}
