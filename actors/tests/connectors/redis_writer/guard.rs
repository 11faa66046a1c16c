//! What other programs may have put where the writer's keys are.

use telemill_engine::record::Reason;
use telemill_engine::sink::{Sink, Submitted};
use telemill_engine::stage::StageError;
use telemill_services::{Services, unique_name};

use super::{deliver, hash, submit};
use crate::conformance::records::{NOW, TOPIC, batch, message, record};
use crate::redis_support::{Subscriber, client, writer};

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
