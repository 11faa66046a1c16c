//! How a checkpoint's meta is stored, and that another form of it is not touched.

use telemill_engine::checkpoint::{CheckpointDelta, StateStore, StoreError};
use telemill_engine::position::Epoch;
use telemill_services::Services;

use super::store;
use crate::conformance::state::checkpoints::{meta, scope};
use crate::redis_support::client;

#[tokio::test]
async fn the_meta_is_stored_as_written_down() {
    let url = Services::shared().redis_url();
    let (store, scope) = (store(url), scope());
    store.save(&scope, Epoch(4), &CheckpointDelta { meta: meta(10), ..Default::default() }).await.unwrap();
    let key = format!("telemill:checkpoint:{}:events:3:meta", scope.topology);
    let mut command = redis::cmd("HMGET");
    command.arg(key).arg("v").arg("epoch").arg("n").arg("meta");
    let stored: (String, String, String, String) = command.query_async(&mut client(url).await).await.unwrap();
    let expect = concat!(
        r#"{"version":1,"number":1,"#,
        r#""cursor":[{"topic":"00000000-0000-0000-0000-0000000000aa","offset":10}],"log_time":12345,"#,
        r#""marks":[[0,1700000000123,12000]],"#,
        r#""last_mark":{"topic":"00000000-0000-0000-0000-0000000000aa","partition":3,"offset":76,"output":0},"#,
        r#""journals":[["alert_stream",77]],"stages":[["sessions",1],["alerts",2]],"#,
        r#""saved_at":1700000000456}"#
    );
    assert_eq!(stored, ("1".to_owned(), "4".to_owned(), "1".to_owned(), expect.to_owned()));
}

#[tokio::test]
async fn a_checkpoint_without_a_number_is_number_0() {
    let url = Services::shared().redis_url();
    let (store, scope) = (store(url), scope());
    let key = format!("telemill:checkpoint:{}:events:3:meta", scope.topology);
    let mut written = serde_json::to_value(meta(0)).unwrap();
    written.as_object_mut().unwrap().remove("number").expect("it is a number by itself");
    let mut command = redis::cmd("HSET");
    command.arg(&key).arg("v").arg(1).arg("epoch").arg(3).arg("meta").arg(written.to_string());
    let _: () = command.query_async(&mut client(url).await).await.unwrap();
    assert_eq!(store.open(&scope, Epoch(4)).await.unwrap(), Some(meta(0)));
    assert_eq!(store.number(&scope).await.unwrap(), 0);
    store.save(&scope, Epoch(4), &CheckpointDelta { meta: meta(10), ..Default::default() }).await.unwrap();
    assert_eq!(store.number(&scope).await.unwrap(), 1);
}

#[tokio::test]
async fn a_checkpoint_of_another_form_is_not_touched() {
    let url = Services::shared().redis_url();
    let (store, scope) = (store(url), scope());
    let key = format!("telemill:checkpoint:{}:events:3:meta", scope.topology);
    let mut command = redis::cmd("HSET");
    let _: () = command.arg(&key).arg("v").arg(2).query_async(&mut client(url).await).await.unwrap();
    let opened = store.open(&scope, Epoch(1)).await;
    let Err(StoreError::Corrupt(text)) = opened else { panic!("{opened:?}") };
    assert!(text.contains(&key) && text.contains("version 2"), "{text}");
    let saved = store.save(&scope, Epoch(1), &CheckpointDelta::default()).await;
    assert!(matches!(saved, Err(StoreError::Corrupt(_))), "{saved:?}");
}
