//! Every key, field, member and message, as `docs/formats.md` gives them.

use std::sync::Arc;

use telemill_engine::clock::Timestamp;
use telemill_engine::device_id::DeviceId;
use telemill_engine::record::{DeadReason, EventId, Kind, Reason, Record};
use telemill_services::{Services, unique_name};
use ulid::Ulid;

use super::{deliver, hash, owned, sorted_set};
use crate::redis_support::{OTHER_TOPIC, Subscriber, TOPIC, batch, client, message, record, writer};

const NOW: u64 = 1_700_000_000;

#[tokio::test]
async fn state_history_notifications_and_guard_are_exact() {
    let url = Services::shared().redis_url();
    let (topology, name) = (unique_name("exact"), unique_name("dev"));
    let (a, b) = (format!("{name}-a"), format!("{name}-b"));
    let mut subscriber = Subscriber::new(url, &name).await;
    let mut writer = writer(url, &topology, 7).await;
    let mut client = client(url).await;

    let records = vec![
        record(&a, TOPIC, 10, NOW, r#"{"t": 1.50}"#),
        record(&b, TOPIC, 11, NOW, "\"ö\""),
        record(&a, TOPIC, 14, NOW + 1, "[1, 2]"),
        record(&a, OTHER_TOPIC, 3, NOW + 1, "true"),
    ];
    deliver(&mut writer, &batch(&[], records.clone())).await;

    let state = hash(&mut client, &format!("device:last_state:{a}")).await;
    assert_eq!(state, owned(&[("payload", "true"), ("timestamp", "1700000001")]));
    let state = hash(&mut client, &format!("device:last_state:{b}")).await;
    assert_eq!(state, owned(&[("payload", "\"ö\""), ("timestamp", "1700000000")]));

    let mut history = sorted_set(&mut client, &format!("device:history:{a}")).await;
    let mut expect =
        vec![(message(&records[0]), NOW), (message(&records[2]), NOW + 1), (message(&records[3]), NOW + 1)];
    history.sort();
    expect.sort();
    assert_eq!(history, expect);
    let ttl: i64 = redis::cmd("TTL").arg(format!("device:history:{a}")).query_async(&mut client).await.unwrap();
    assert!((17_900..=18_000).contains(&ttl), "{ttl}");

    assert_eq!(subscriber.heard().await, records.iter().map(message).collect::<Vec<_>>());

    let guard = hash(&mut client, &format!("telemill:offset:{topology}:writer:0")).await;
    let expect = [
        ("000000000000000000000000000000aa", "14:0"),
        ("000000000000000000000000000000bb", "3:0"),
        ("e", "7"),
        ("v", "1"),
    ];
    assert_eq!(guard, owned(&expect));
}

#[tokio::test]
async fn what_is_older_than_the_history_is_trimmed() {
    let url = Services::shared().redis_url();
    let device = unique_name("dev");
    let mut writer = writer(url, &unique_name("trim"), 1).await;
    let mut client = client(url).await;
    let old = record(&device, TOPIC, 1, NOW - 18_001, "1");
    let edge = record(&device, TOPIC, 2, NOW - 18_000, "2");
    deliver(&mut writer, &batch(&[], vec![old, edge.clone()])).await;
    assert_eq!(sorted_set(&mut client, &format!("device:history:{device}")).await.len(), 2);

    let new = record(&device, TOPIC, 3, NOW, "3");
    deliver(&mut writer, &batch(&[(TOPIC, 2, 0)], vec![new.clone()])).await;
    let history = sorted_set(&mut client, &format!("device:history:{device}")).await;
    assert_eq!(history, [(message(&edge), NOW - 18_000), (message(&new), NOW)], "exactly five hours old stays");
}

#[tokio::test]
async fn what_is_no_state_only_moves_the_guard() {
    let url = Services::shared().redis_url();
    let (topology, device) = (unique_name("kinds"), unique_name("dev"));
    let mut subscriber = Subscriber::new(url, &device).await;
    let mut writer = writer(url, &topology, 1).await;
    let mut client = client(url).await;
    let of_kind = |offset, kind, payload| Record { kind, ..record(&device, TOPIC, offset, NOW, payload) };
    let why = DeadReason {
        reason: Reason::PANIC,
        detail: "on purpose".into(),
        stage: "sessions".into(),
        attempts: 3,
        source: Default::default(),
    };
    let records = vec![
        of_kind(1, Kind::Hello, r#"{"up":1}"#),
        of_kind(2, Kind::Hello, "null"),
        of_kind(3, Kind::Mark, "{}"),
        of_kind(4, Kind::Command, "{}"),
        Record { dead: Some(Arc::new(why)), ..record(&device, TOPIC, 5, NOW, "5") },
    ];
    deliver(&mut writer, &batch(&[], records.clone())).await;
    assert_eq!(subscriber.heard().await, [message(&records[0])], "a keep-alive that says something is written");
    let state = hash(&mut client, &format!("device:last_state:{device}")).await;
    assert_eq!(state, owned(&[("payload", r#"{"up":1}"#), ("timestamp", "1700000000")]));
    let guard = hash(&mut client, &format!("telemill:offset:{topology}:writer:0")).await;
    assert_eq!(guard[0].1, "5:0");
}

#[tokio::test]
async fn records_made_on_the_way_are_written_as_messages() {
    let url = Services::shared().redis_url();
    let (topology, device) = (unique_name("made"), unique_name("dev"));
    let mut writer = writer(url, &topology, 1).await;
    let mut client = client(url).await;
    let id: DeviceId = device.parse().unwrap();
    let made = |n, payload: &'static str| {
        let id_of_record = EventId(Ulid::from_parts(NOW * 1000, n));
        Record::new(id_of_record, id.clone(), Kind::Data, payload.as_bytes().into(), Timestamp(NOW * 1000))
    };
    // Neither has a position: there is no guard, and a repetition is written again.
    let records = vec![made(1, r#"{"mean":3}"#), made(2, "")];
    for _ in 0..2 {
        deliver(&mut writer, &batch(&[], records.clone())).await;
    }
    let state = hash(&mut client, &format!("device:last_state:{device}")).await;
    assert_eq!(state, owned(&[("payload", "null"), ("timestamp", "1700000000")]));
    let history = sorted_set(&mut client, &format!("device:history:{device}")).await;
    assert_eq!(history, [(message(&records[1]), NOW), (message(&records[0]), NOW)], "equal scores, ordered by bytes");
    let guard = hash(&mut client, &format!("telemill:offset:{topology}:writer:0")).await;
    assert_eq!(guard, []);
}

#[tokio::test]
async fn a_batch_may_be_larger_than_what_one_call_takes() {
    let url = Services::shared().redis_url();
    let device = unique_name("dev");
    let mut writer = writer(url, &unique_name("large"), 1).await;
    let mut client = client(url).await;
    let records: Vec<_> = (0..20_000).map(|n| record(&device, TOPIC, n, NOW, &n.to_string())).collect();
    deliver(&mut writer, &batch(&[], records)).await;
    assert_eq!(sorted_set(&mut client, &format!("device:history:{device}")).await.len(), 20_000);
    let state = hash(&mut client, &format!("device:last_state:{device}")).await;
    assert_eq!(state[0].1, "19999");
}
