//! Marks are written behind what came before them, to every partition, with the offsets they vouch for.

use std::collections::BTreeMap;

use telemill_engine::record::{Kind, Record};
use telemill_engine::sink::Sink;
use telemill_engine::testing::record;

use super::Routed;
use crate::kafka_support::{Message, batch, delivered, of_kind};

const SESSION: &str = "00000000010000000000000002";

fn mark(number: usize, since: u64, time: u64) -> Record {
    let mut mark = record("-", number);
    mark.kind = Kind::Mark;
    mark.payload = format!(r#"{{"slot":0,"slot_session":"{SESSION}","since":{since},"time":{time}}}"#).into();
    mark
}

fn routed_with_marks() -> (Routed, String) {
    let mut routed = Routed::new(3);
    let marks = routed.site.topic("marks", 3);
    routed.site.marks = Some(routed.site.topics.get(&marks));
    (routed, marks)
}

fn delivered_of(mark: &Message) -> BTreeMap<String, i64> {
    serde_json::from_value(mark.json()["delivered"].clone()).unwrap()
}

#[tokio::test]
async fn a_mark_carries_the_last_offsets_before_it() {
    let (routed, marks) = routed_with_marks();
    let mut router = routed.router().await;
    let mut records: Vec<_> = (0..60).map(|n| record(&format!("d{n}"), n)).collect();
    records.extend((60..70).map(|n| of_kind(record(&format!("d{n}"), n), "hello")));
    let before = records.len();
    records.push(mark(100, 1000, 2000));
    records.extend((70..90).map(|n| record(&format!("d{n}"), n)));
    records.push(mark(101, 2000, 3000));
    delivered(router.submit(batch(records)).await).await;

    let (data, hello, marks) =
        (routed.site.read(&routed.data), routed.site.read(&routed.hello), routed.site.read(&marks));
    assert_eq!(marks.len(), 6, "two marks in each of three partitions");
    // The offset of the last record in a partition whose number is below a bound.
    let last = |messages: &[Message], partition, bound: usize| {
        let number = |m: &Message| m.key.as_ref().unwrap()[1..].parse::<usize>().unwrap();
        messages.iter().filter(|m| m.partition == partition && number(m) < bound).map(|m| m.offset).max()
    };
    for partition in 0..3 {
        let here: Vec<_> = marks.iter().filter(|m| m.partition == partition).collect();
        for (mark, bound) in here.iter().zip([before, 90]) {
            let named = [(&routed.data, &data), (&routed.hello, &hello)];
            let expect = named.iter().filter_map(|(name, all)| Some(((*name).clone(), last(all, partition, bound)?)));
            assert_eq!(delivered_of(mark), expect.collect::<BTreeMap<_, _>>(), "partition {partition}");
        }
        assert_eq!(here[0].key, None);
        assert_eq!(here[0].header("kind"), Some("mark"));
        assert_eq!(here[0].header("received-at-ms"), Some("2000"));
        assert_eq!(here[0].header("event-id"), Some("01HF7YAT340000000000000034"));
        let prefix = format!(r#"{{"v":1,"slot":0,"slot_session":"{SESSION}","since":1000,"time":2000,"delivered":{{"#);
        assert!(here[0].text().starts_with(&prefix), "{}", here[0].text());
        assert_eq!(here[1].json()["time"], 3000);
    }
}

#[tokio::test]
async fn a_mark_alone_is_written_at_once() {
    let (routed, marks) = routed_with_marks();
    let mut router = routed.router().await;
    delivered(router.submit(batch(vec![mark(1, 0, 1000)])).await).await;
    let written = routed.site.read(&marks);
    assert_eq!(written.iter().map(|mark| mark.partition).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(written.iter().all(|mark| delivered_of(mark).is_empty()));
}

#[tokio::test]
async fn without_a_topic_for_them_marks_are_done_with() {
    let routed = Routed::new(1);
    let mut router = routed.router().await;
    delivered(router.submit(batch(vec![mark(1, 0, 1000), record("d1", 1)])).await).await;
    assert_eq!(routed.site.read(&routed.data).len(), 1);
}
