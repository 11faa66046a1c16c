//! Many connections, slow readers, and an engine that does not answer.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use telemill_services::eventually;
use tokio::io::AsyncWriteExt;

use super::fixture::Site;
use super::program::Program;
use super::sessions::with_will;
use crate::mqtt_support::raw::{PING, PONG, Raw, SILENCE, connect, packet, publish, subscribe};
use crate::mqtt_support::{Counters, SOON, soon};

/// Held by those that measure the memory of the process.
static MEASURING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What the process has in memory, in bytes.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_are_all_served() {
    const CONNECTIONS: usize = 10_000;
    /// Of the endpoint's side, what the kernel keeps excepted; with room for what other tests take at the same time.
    const BYTES_EACH: usize = 16 << 10;
    let _measuring = MEASURING.lock().await;
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).unwrap();
    let site = Site::new();
    let endpoint = site.start().await;
    let before = resident();
    let mut idle = Program::script("idle_clients.py", &[&endpoint.port.to_string(), &CONNECTIONS.to_string()]);
    let patience = Duration::from_secs(120);
    assert_eq!(idle.line_within(patience).await, "ready");
    let each = resident().saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes of memory a connection");
    for _ in 0..2 {
        idle.say("ping");
        assert_eq!(idle.line_within(patience).await, CONNECTIONS.to_string());
    }
    let (mut busy, _) = Raw::connected(endpoint.port, 4, "busy", true, 60).await;
    busy.send(&publish(4, 1, 1, "devices/d1/data", b"1")).await;
    assert_eq!(busy.packet().await, [0x40, 2, 0, 1]);
    assert!(each < BYTES_EACH, "{each} bytes of memory a connection");
    assert!(idle.ends().await.0);
    endpoint.close().await;
}

#[tokio::test]
async fn there_is_room_for_so_many_and_no_more() {
    let site = Site::with(json!({ "limits": { "connections": 2, "sessions": 1 } }));
    let endpoint = site.start().await;
    let (kept, _) = Raw::connected(endpoint.port, 4, "d1", false, 60).await;
    for (version, busy, quota) in
        [(4, &[0x20, 2, 0, 3][..], &[0x20, 2, 0, 3][..]), (5, &[0x20, 3, 0, 0x89, 0], &[0x20, 3, 0, 0x97, 0])]
    {
        let mut raw = Raw::open(endpoint.port).await;
        raw.send(&connect(version, "d2", false, 60)).await;
        assert_eq!(raw.rest().await, quota);
        let (second, _) = Raw::connected(endpoint.port, version, "d2", true, 60).await;
        let mut raw = Raw::open(endpoint.port).await;
        raw.send(&connect(version, "d3", true, 60)).await;
        assert_eq!(raw.rest().await, busy);
        let (mut again, _) = Raw::connected(endpoint.port, version, "d2", true, 60).await;
        again.only_pong().await;
        drop(second);
        again.send(&[0xe0, 0]).await;
        assert_eq!(again.rest().await, SILENCE);
    }
    drop(kept);
    endpoint.close().await;
}

#[tokio::test]
async fn a_flood_at_qos_0_is_dropped_and_counted() {
    const SENT: u64 = 60_000;
    let counters = Counters::default();
    let _recording = metrics::set_default_local_recorder(&counters);
    let site = Site::new();
    let endpoint = site.start().await;
    endpoint.hold();
    let (mut raw, _) = Raw::connected(endpoint.port, 4, "d1", true, 60).await;
    let message = publish(4, 0, 0, "devices/d1/data", b"1");
    for _ in 0..SENT / 1000 {
        raw.send(&message.repeat(1000)).await;
    }
    raw.only_pong().await;
    let dropped = counters.get("telemill_mqtt_rejected_total", "qos0_flooded");
    assert_eq!(counters.get("telemill_mqtt_received_total", "0"), SENT);
    let kept = SENT - dropped;
    assert!((16_384..20_000).contains(&kept), "{kept} of {SENT} were kept");
    endpoint.flow();
    endpoint.records(kept as usize).await;
    endpoint.close().await;
}

#[tokio::test]
async fn memory_is_bounded_and_keep_alives_stand_while_nobody_is_read() {
    const DEVICES: usize = 16;
    const MESSAGES: u16 = 40;
    let _measuring = MEASURING.lock().await;
    let counters = Counters::default();
    let _recording = metrics::set_default_local_recorder(&counters);
    let site = Site::new();
    let endpoint = site.start().await;
    endpoint.hold();
    let before = resident();
    let flowing = tokio::sync::watch::Sender::new(false);
    let payload = format!("\"{}\"", "x".repeat(250_000));
    let mut tasks = Vec::new();
    for number in 0..DEVICES {
        let (mut raw, _) = Raw::connected(endpoint.port, 4, &format!("d{number}"), true, 1).await;
        let payload = payload.clone();
        let message = move |id| publish(4, 1, id, format!("devices/d{number}/data"), payload.as_bytes());
        let mut flowing = flowing.subscribe();
        tasks.push(tokio::spawn(async move {
            for id in 1..=MESSAGES {
                raw.send(&message(id)).await;
            }
            // A device keeps its promise, whether it is read or not.
            while tokio::time::timeout(Duration::from_millis(300), flowing.wait_for(|flowing| *flowing)).await.is_err()
            {
                raw.send(&PING).await;
            }
            let mut next = 1;
            while next <= MESSAGES {
                let packet = raw.packet().await;
                if packet != PONG {
                    assert_eq!(packet, [0x40, 2, 0, next as u8]);
                    next += 1;
                }
            }
        }));
    }
    // 160 MB want in; 64 MiB and a packet a connection may be.
    let mut most = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(resident().saturating_sub(before));
    }
    assert!(most < 130 << 20, "{most} bytes");
    assert!(tasks.iter().all(|task| !task.is_finished()), "nobody is acknowledged, and nobody sent away");
    let mut raw = Raw::open(endpoint.port).await;
    raw.send(&with_will(4, 0)).await;
    assert_eq!(raw.rest().await, [0x20, 2, 0, 3], "a will would be kept beyond the bound");
    endpoint.flow();
    flowing.send_replace(true);
    for task in tasks {
        soon("a device's acknowledgements", task).await.unwrap();
    }
    endpoint.records(DEVICES * usize::from(MESSAGES)).await;
    assert!(counters.get("telemill_mqtt_paused_milliseconds_total", "") > 1500, "they were all read all the time");
    endpoint.close().await;
}

#[tokio::test]
async fn a_slow_reader_harms_itself_alone() {
    let site = Site::new();
    let endpoint = site.start().await;
    let (mut slow, _) = Raw::connected(endpoint.port, 4, "slow", true, 0).await;
    // It pings and never reads the answers: at last it is read no further.
    let pings = PING.repeat(32 << 10);
    let stuffed = eventually(SOON, "the slow one to be read no further", async || {
        let sent = tokio::time::timeout(Duration::from_millis(500), slow.0.write_all(&pings)).await;
        sent.is_err().then_some(())
    });
    stuffed.await;
    let (mut good, _) = Raw::connected(endpoint.port, 5, "good", true, 60).await;
    good.send(&publish(5, 1, 1, "devices/good/data", b"1")).await;
    assert_eq!(good.packet().await, [0x40, 2, 0, 1]);
    good.send(&subscribe(5, 2, "devices/good/commands", 1)).await;
    assert_eq!(good.packet().await, packet(0x90, &[&[0, 2, 0, 1]]));
    // As soon as it reads, it goes on.
    assert_eq!(slow.packet().await, PONG);
    endpoint.close().await;
}
