//! Connections that break and servers that refuse: tried again, in order, with one effect.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use telemill_actors::redis_writer::RedisWriter;
use telemill_engine::batch::Batch;
use telemill_engine::sink::{Completion, Sink, Submitted};
use telemill_engine::stage::BuildError;
use telemill_services::{Redis, eventually, unique_name};

use super::{deliver, hash, submit};
use crate::conformance::records::{NOW, TOPIC, batch, messages_of, record, run_of_batches};
use crate::conformance::store::unguarded;
use crate::redis_support::{DEADLINE, Proxy, Refusal, Subscriber, build_writer, client, context, writer};

/// Submits batches as the engine does: up to the window in flight; after one that did not get through it waits for those
/// behind, and submits them all again. Gives back how often it had to.
async fn drive(writer: &mut RedisWriter, batches: &[Arc<Batch>]) -> usize {
    let (mut done, mut again) = (0, 0);
    while done < batches.len() {
        let mut in_flight: VecDeque<Completion> = VecDeque::new();
        let mut next = done;
        let failure = loop {
            while next < batches.len() && in_flight.len() < writer.window() {
                in_flight.push_back(writer.submit(batches[next].clone()).await);
                next += 1;
            }
            match in_flight.pop_front() {
                None => break None,
                Some(completion) => match completion.await {
                    Submitted::Delivered => done += 1,
                    other => break Some(other),
                },
            }
        };
        match failure {
            Some(Submitted::Retry { .. }) => again += 1,
            None => {}
            Some(other) => panic!("batch {done}: {other:?}"),
        }
        for completion in in_flight {
            let behind = completion.await;
            assert!(!matches!(behind, Submitted::Delivered), "a batch overtook the one before it");
        }
    }
    again
}

#[tokio::test]
async fn a_connection_cut_anywhere_costs_neither_order_nor_a_second_effect() {
    let server = Redis::start();
    let proxy = Proxy::to(server.port()).await;
    let (topology, device) = (unique_name("cut"), unique_name("dev"));
    let mut subscriber = Subscriber::new(&server.url(), &device).await;
    let cx = context(&server.url(), &topology, 1);
    let mut writer = build_writer(&proxy.url(), DEADLINE, &cx).await.unwrap();
    let mut from = 0;
    let mut expect = Vec::new();
    let mut cuts = 0;
    // A batch is some 1,300 bytes up; an answer 15 bytes down.
    let up = (0..14).map(|n| (n * 431, u64::MAX));
    let down = (0..10).map(|n| (u64::MAX, n * 7));
    for (up, down) in up.chain(down) {
        let batches = run_of_batches(&device, from);
        from += 40;
        expect.extend(messages_of(&batches));
        proxy.cut_after(up, down);
        cuts += drive(&mut writer, &batches).await;
    }
    assert!(cuts >= 24, "every cut was felt: {cuts}");
    assert_eq!(subscriber.heard().await, expect);
    let mut client = client(&server.url()).await;
    assert_eq!(
        hash(&mut client, &format!("device:last_state:{device}")).await[0].1,
        format!("\"number {}\"", from - 1)
    );
}

/// A time that did not grow with the batch would never be enough for it, however often it is sent.
#[tokio::test]
async fn a_large_batch_to_a_slow_server_is_waited_for() {
    let server = Redis::start();
    let proxy = Proxy::to(server.port()).await;
    let (topology, device) = (unique_name("slow"), unique_name("dev"));
    let cx = context(&server.url(), &topology, 1);
    let mut writer = build_writer(&proxy.url(), Duration::from_secs(1), &cx).await.unwrap();
    let payload = format!("\"{}\"", "x".repeat(100_000));
    let large =
        |n: i64| batch(&[(TOPIC, n - 1, 0)][..usize::from(n > 0)], vec![record(&device, TOPIC, n, NOW, &payload)]);
    proxy.slow_down(200_000);
    assert_eq!(drive(&mut writer, &(0..8).map(large).collect::<Vec<_>>()).await, 0, "nothing had to be sent again");
}

#[tokio::test]
async fn without_a_guard_order_is_kept_and_only_what_was_lost_repeated() {
    let server = Redis::start();
    let proxy = Proxy::to(server.port()).await;
    let (topology, device) = (unique_name("loose"), unique_name("dev"));
    let mut subscriber = Subscriber::new(&server.url(), &device).await;
    let cx = context(&server.url(), &topology, 1);
    let mut writer = build_writer(&proxy.url(), Duration::from_secs(1), &cx).await.unwrap();
    let mut from = 0;
    let up = (0..6).map(|n| (n * 431, u64::MAX));
    let down = (0..4).map(|n| (u64::MAX, n * 7));
    for (up, down) in up.chain(down) {
        let batches: Vec<_> = run_of_batches(&device, from).iter().map(|batch| unguarded(&batch.records)).collect();
        from += 40;
        proxy.cut_after(up, down);
        drive(&mut writer, &batches).await;
        let mut heard = subscriber.heard().await;
        // A batch whose answer was lost comes again as a whole, before any behind it.
        for (index, batch) in batches.iter().enumerate() {
            let expect = messages_of(std::slice::from_ref(batch));
            let mut times = 0;
            while heard.starts_with(&expect) {
                heard.drain(..expect.len());
                times += 1;
            }
            assert!(times == 1 || times == 2 && down != u64::MAX, "batch {index} was heard {times} times");
        }
        assert_eq!(heard, [""; 0]);
    }
}

#[tokio::test]
async fn killed_clients_are_connected_again() {
    let server = Redis::start();
    let (topology, device) = (unique_name("kill"), unique_name("dev"));
    let mut subscriber = Subscriber::new(&server.url(), &device).await;
    let mut writer = writer(&server.url(), &topology, 1).await;
    let mut client = client(&server.url()).await;
    let batches = run_of_batches(&device, 0);
    deliver(&mut writer, &batches[0]).await;
    let mut kill = redis::cmd("CLIENT");
    let _: i64 = kill.arg("KILL").arg("TYPE").arg("normal").query_async(&mut client).await.unwrap();
    drive(&mut writer, &batches).await;
    assert_eq!(subscriber.heard().await, messages_of(&batches));
}

#[tokio::test]
async fn a_server_that_stands_still_is_waited_for() {
    let server = Redis::start();
    let (topology, device) = (unique_name("still"), unique_name("dev"));
    let mut subscriber = Subscriber::new(&server.url(), &device).await;
    let cx = context(&server.url(), &topology, 1);
    let mut writer = build_writer(&server.url(), Duration::from_secs(1), &cx).await.unwrap();
    let batches = run_of_batches(&device, 0);
    deliver(&mut writer, &batches[0]).await;

    server.stop();
    let mut in_flight = Vec::new();
    for batch in &batches[1..5] {
        in_flight.push(writer.submit(batch.clone()).await);
    }
    for completion in in_flight {
        let submitted = completion.await;
        assert!(matches!(submitted, Submitted::Retry { .. }), "{submitted:?}");
    }
    let submitted = submit(&mut writer, &batches[1]).await;
    assert!(matches!(submitted, Submitted::Retry { .. }), "it still stands: {submitted:?}");
    server.cont();
    drive(&mut writer, &batches[1..]).await;
    assert_eq!(subscriber.heard().await, messages_of(&batches));
}

#[tokio::test]
async fn a_server_that_was_away_is_waited_for() {
    let server = Redis::start_with(&["--set", "appendfsync always"]);
    let (topology, device) = (unique_name("away"), unique_name("dev"));
    let mut writer = writer(&server.url(), &topology, 1).await;
    let batches = run_of_batches(&device, 0);
    deliver(&mut writer, &batches[0]).await;
    server.kill9();
    let submitted = submit(&mut writer, &batches[1]).await;
    assert!(matches!(submitted, Submitted::Retry { .. }), "{submitted:?}");
    server.restart();
    drive(&mut writer, &batches[1..]).await;
    let mut client = client(&server.url()).await;
    assert_eq!(hash(&mut client, &format!("device:last_state:{device}")).await[0].1, "\"number 39\"");
}

/// Nothing is dead-lettered for it, either: only an answer that names a record does that.
#[tokio::test]
async fn what_the_server_refuses_for_its_own_state_is_tried_again() {
    let server = Refusal::server();
    let (topology, device) = (unique_name("refuse"), unique_name("dev"));
    let mut subscriber = Subscriber::new(&server.url(), &device).await;
    let mut writer = writer(&server.url(), &topology, 1).await;
    let batches = run_of_batches(&device, 0);
    let batches = &batches[..Refusal::ALL.len()];
    for (batch, refusal) in batches.iter().zip(Refusal::ALL) {
        refusal.begin(&server).await;
        let submitted = submit(&mut writer, batch).await;
        let Submitted::Retry { reason, .. } = submitted else { panic!("{refusal:?}: {submitted:?}") };
        assert_eq!(reason.0, refusal.reason());
        refusal.end(&server).await;
        eventually(DEADLINE, "the batch to be delivered", async || {
            matches!(submit(&mut writer, batch).await, Submitted::Delivered).then_some(())
        })
        .await;
    }
    assert_eq!(subscriber.heard().await, messages_of(batches), "each once");
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_a_gap() {
    let server = Redis::start();
    let mut writer = writer(&server.url(), &unique_name("lost"), 1).await;
    let batches = run_of_batches(&unique_name("dev"), 0);
    deliver(&mut writer, &batches[0]).await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut client(&server.url()).await).await.unwrap();
    let submitted = submit(&mut writer, &batches[1]).await;
    assert!(matches!(submitted, Submitted::Gap { .. }), "{submitted:?}");
    // The source reads again from where the store stands: from the start.
    drive(&mut writer, &batches).await;
}

#[tokio::test]
async fn a_node_of_a_cluster_and_a_wrong_password_are_refused() {
    let server = Redis::start();
    let mut client = client(&server.url()).await;
    let mut protect = redis::cmd("CONFIG");
    let _: () = protect.arg("SET").arg("requirepass").arg("another").query_async(&mut client).await.unwrap();
    let url = format!("redis://:s3cr3t@{}", server.address());
    let built = build_writer(&url, DEADLINE, &context(&url, "refused", 1)).await;
    let Err(BuildError::Impossible(text)) = built else { panic!("a wrong password was accepted") };
    assert!(text.contains("authentication failed") && !text.contains("s3cr3t"), "{text}");

    // By default the nodes' port is the clients' port plus 10000, which may be taken.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Redis::start_with(&["--set", "cluster-enabled yes", "--set", &format!("cluster-port {free}")]);
    let built = build_writer(&server.url(), DEADLINE, &context(&server.url(), "refused", 1)).await;
    let Err(BuildError::Impossible(text)) = built else { panic!("a cluster node was accepted") };
    assert!(text.contains("Redis Cluster"), "{text}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_waited_for_at_start() {
    let url = "redis://:s3cr3t@127.0.0.1:1";
    let built = build_writer(url, DEADLINE, &context(url, "absent", 1)).await;
    let Err(BuildError::Unavailable(text)) = built else { panic!("there is nothing to build on") };
    assert!(text.contains("127.0.0.1:1") && !text.contains("s3cr3t"), "{text}");
}
