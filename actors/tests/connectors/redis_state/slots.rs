//! How a slot's record is stored.

use telemill_engine::checkpoint::StateStore;
use telemill_engine::position::Epoch;
use telemill_services::{Services, unique_name};

use super::store;
use crate::conformance::state::slots::slot_record;
use crate::redis_support::client;

#[tokio::test]
async fn a_slot_is_stored_as_written_down() {
    let url = Services::shared().redis_url();
    let (store, topology) = (store(url), unique_name("slots"));
    store.save_slot(&topology, "ingress", 2, Epoch(5), &slot_record()).await.unwrap();
    let key = format!("telemill:slot:{topology}:ingress:2");
    let stored: String = redis::cmd("GET").arg(&key).query_async(&mut client(url).await).await.unwrap();
    let expect = concat!(
        r#"{"v":1,"slot_session":"00000000010000000000000002","#,
        r#""filters":["devices/+/data","devices/+/hello"],"subscribed":false,"epoch":5}"#
    );
    assert_eq!(stored, expect);
}
