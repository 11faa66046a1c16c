//! Every key, field, member and message, as `docs/formats.md` gives them.

use telemill_services::{Services, unique_name};

use super::{deliver, hash, owned, sorted_set};
use crate::conformance::records::{NOW, OTHER_TOPIC, TOPIC, batch, message, record};
use crate::redis_support::{Subscriber, client, writer};

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
