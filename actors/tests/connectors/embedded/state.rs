//! The state store: the contract, the exact rows, and that another form of them is not touched.

use bytes::Bytes;
use telemill_actors::embedded::disk::{DiskError, KeyRange, Read, Space, View};
use telemill_engine::checkpoint::{CheckpointDelta, StoreError};
use telemill_engine::position::Epoch;

use super::harness::EmbeddedHarness;
use crate::conformance::state::checkpoints::{device, meta, session};
use crate::conformance::state::slots::slot_record;
use crate::conformance::state::{Harness, owner, state_suite};

state_suite!(EmbeddedHarness);

fn scope() -> telemill_engine::checkpoint::Scope {
    telemill_engine::checkpoint::Scope { topology: "t".into(), source: "events".into(), partition: 3 }
}

async fn rows(harness: &EmbeddedHarness, space: &'static str) -> Vec<(Bytes, Bytes)> {
    let all = |view: &View<'_>| {
        view.rows(Space(space), KeyRange::prefix(Bytes::new())).collect::<Result<Vec<_>, DiskError>>()
    };
    harness.disk().read(all).await.unwrap()
}

#[tokio::test]
async fn every_row_is_as_written_down() {
    let harness = EmbeddedHarness::new().await;
    let store = Harness::store(&harness);
    store.claim("t", &owner(1)).await.unwrap();
    store.save_slot("t", "ingress", 2, Epoch(1), &slot_record()).await.unwrap();
    store.open(&scope(), Epoch(1)).await.unwrap();
    let key = b"checkpoint\0t\0events\0\x80\0\0\x03";
    let found = rows(&harness, "state").await;
    let expect: [(&[u8], &str); 3] = [
        (key, r#"{"v":1,"epoch":1,"meta":null}"#),
        (b"epoch\0t", r#"{"v":1,"epoch":1}"#),
        (
            b"slot\0t\0ingress\0\0\x02",
            concat!(
                r#"{"v":1,"epoch":1,"slot_session":"00000000010000000000000002","#,
                r#""filters":["devices/+/data","devices/+/hello"],"subscribed":false}"#
            ),
        ),
    ];
    let expect = expect.map(|(key, value)| (Bytes::from_static(key), Bytes::from_static(value.as_bytes())));
    assert_eq!(found, expect);

    let delta = CheckpointDelta {
        meta: meta(10),
        live: vec![session(1, 0)],
        passivated: vec![session(2, 0)],
        ..Default::default()
    };
    store.save(&scope(), Epoch(1), &delta).await.unwrap();
    let stored = rows(&harness, "state").await[0].1.clone();
    let expect = format!(r#"{{"v":1,"epoch":1,"meta":{}}}"#, serde_json::to_string(&meta(10)).unwrap());
    assert_eq!(stored, expect);
    let mut sessions = rows(&harness, "sessions").await;
    assert!(sessions.is_sorted());
    sessions.sort_by_key(|(key, _)| key.slice(21..));
    let expect = [(b'l', session(1, 0)), (b'p', session(2, 0))].map(|(kind, (device, session))| {
        let name = device.as_str().as_bytes();
        let hash = xxhash_rust::xxh3::xxh3_64(name).to_be_bytes();
        let key = [b"t\0events\0\x80\0\0\x03", &hash[..], name].concat();
        (Bytes::from(key), Bytes::from([&[kind], &session[..]].concat()))
    });
    assert_eq!(sessions, expect);
    let forget = CheckpointDelta { meta: meta(20), forgotten: vec![device(1), device(2)], ..Default::default() };
    store.save(&scope(), Epoch(1), &forget).await.unwrap();
    assert!(rows(&harness, "sessions").await.is_empty());
}

#[tokio::test]
async fn what_a_newer_program_wrote_is_not_touched() {
    let harness = EmbeddedHarness::new().await;
    let store = Harness::store(&harness);
    let keys: [&[u8]; 3] = [b"checkpoint\0t\0events\0\x80\0\0\x03", b"epoch\0t", b"slot\0t\0ingress\0\0\x02"];
    for key in keys {
        let written = harness.disk().write(move |tx| {
            tx.insert(Space("state"), key, &br#"{"v":2,"other":true}"#[..]);
            Ok::<_, DiskError>(())
        });
        written.await.unwrap();
    }
    let refused = |error: StoreError, what: &str| {
        let StoreError::Corrupt(text) = error else { panic!("{what}: {error:?}") };
        assert!(text.contains(what) && text.contains("version 2"), "{text}");
    };
    refused(store.open(&scope(), Epoch(1)).await.unwrap_err(), "the checkpoint of t:events:3");
    refused(store.save(&scope(), Epoch(1), &CheckpointDelta::default()).await.unwrap_err(), "the checkpoint of");
    refused(store.claim("t", &owner(1)).await.unwrap_err(), "the counter of epochs of `t`");
    refused(store.load_slot("t", "ingress", 2).await.unwrap_err(), "slot 2 of `ingress` in `t`");
    let saved = store.save_slot("t", "ingress", 2, Epoch(1), &slot_record()).await;
    refused(saved.unwrap_err(), "slot 2 of `ingress` in `t`");
    let stored = rows(&harness, "state").await;
    assert!(stored.iter().all(|(_, value)| value == &br#"{"v":2,"other":true}"#[..]), "{stored:?}");
}
