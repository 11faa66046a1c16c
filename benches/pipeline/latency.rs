//! How long a record takes through the whole pipeline: from PUBLISH to the notification in Redis, and from PUBLISH to
//! the alert on the stream. The shipped topology runs, with names of its own and one rule more.

use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Amount;
use crate::load::Fleet;
use crate::site::{DEVICES, Site};
use crate::subject::Subject;

/// Records a second.
const RATE: usize = 5_000;
/// One record in so many lets an alert fire, and each device's does once.
const PROBE_EVERY: usize = 50;
const HEARD_WITHIN: Duration = Duration::from_secs(20);

/// How long records took.
pub struct Latency {
    /// From where to where.
    pub what: &'static str,
    /// Of so many.
    pub count: usize,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// What 99 in 100 are to take at most.
    pub target: Duration,
}

/// Runs the pipeline at a steady rate and listens at both ends.
pub fn measure(amount: Amount) -> anyhow::Result<Vec<Latency>> {
    let site = Site::new("pipeline");
    let subject = Subject::engine(&site.write(&topology(&site)?)?, &site)?;
    let start = Instant::now();
    let notified = notifications(&site, start)?;
    let alerted = alerts(subject.api(), start)?;
    let fleet = Fleet::connect(&site)?;
    let payload = |number: usize| {
        let (device, round) = (number % DEVICES, number / DEVICES);
        let sent = start.elapsed().as_micros();
        let probe = if device % PROBE_EVERY == round { sent } else { 0 };
        format!(
            r#"{{"temperature":21.5,"humidity":40,"battery":80,"sequence":{number},"probe":{probe},"sent":{sent}}}"#
        )
    };
    // The first second is not counted: it is the one in which everything happens for the first time.
    let (count, warm) = (PROBE_EVERY.min(RATE * amount.live.as_secs() as usize / DEVICES) * DEVICES, RATE);
    fleet.publish(&site, count, Some(RATE), payload)?;
    let notified = collect(&notified, count)?.split_off(warm);
    let alerted = collect(&alerted, count / PROBE_EVERY)?.split_off(warm / PROBE_EVERY);
    subject.stop()?;
    let found = vec![
        latency("PUBLISH → notification in Redis", notified, Duration::from_millis(10)),
        latency("PUBLISH → alert on the stream", alerted, Duration::from_millis(20)),
    ];
    for Latency { what, count, p50, p99, .. } in &found {
        println!("{what}: p50 {p50:.1?}, p99 {p99:.1?} of {count}");
    }
    Ok(found)
}

/// The shipped topology, renamed, with the rule that the probes make fire.
fn topology(site: &Site) -> anyhow::Result<String> {
    let mut text = include_str!("../../topologies/iot-ingestion.yaml").to_owned();
    let name = site.name();
    let edits = [
        ("iot-", format!("{name}-")),
        ("devices/{device_id}/", format!("{name}/{{device_id}}/")),
        ("group: telemill", format!("group: {name}")),
        ("topic: alerts", format!("topic: {name}-alerts")),
        (
            "        - alert: DeviceSilent",
            "        - { alert: Probe, expr: payload.probe > 0 }\n        - alert: DeviceSilent".to_owned(),
        ),
    ];
    for (from, to) in edits {
        ensure!(text.contains(from), "the shipped topology has no `{from}` any more");
        text = text.replace(from, &to);
    }
    Ok(text)
}

/// Listens to the store's notifications; what each record took.
fn notifications(site: &Site, start: Instant) -> anyhow::Result<Receiver<Duration>> {
    let mut connection = redis::Client::open(site.redis())?.get_connection()?;
    let pattern = format!("device-updates:{}-*", site.name());
    let (took, heard) = channel();
    let (subscribed, stands) = channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        let mut listening = connection.as_pubsub();
        listening.psubscribe(pattern)?;
        subscribed.send(())?;
        loop {
            let message = listening.get_message()?;
            took.send(since(message.get_payload_bytes(), b"\"sent\":", start).context("no time in a message")?)?;
        }
    });
    stands.recv_timeout(HEARD_WITHIN).context("redis grants no subscription")?;
    Ok(heard)
}

/// Listens to the stream of alerts; what each took.
fn alerts(api: &str, start: Instant) -> anyhow::Result<Receiver<Duration>> {
    let response = ureq::get(format!("{api}/api/v1/alerts/stream")).call()?;
    let mut lines = BufReader::new(response.into_body().into_reader()).lines();
    // The first line says that the subscription stands.
    lines.next().context("the stream has ended")??;
    let (took, heard) = channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        for line in lines {
            let line = line?;
            // The device's next record ends the alert: that transition has another value.
            let is_probe = line.starts_with("data: ") && line.contains("\"alertname\":\"Probe\"");
            if is_probe && line.contains("\"state\":\"firing\"") {
                took.send(since(line.as_bytes(), b"\"value\":", start).context("no value in an alert")?)?;
            }
        }
        Ok(())
    });
    Ok(heard)
}

/// How long it is since the microsecond that stands behind a key.
fn since(text: &[u8], key: &[u8], start: Instant) -> Option<Duration> {
    let now = start.elapsed();
    let at = text.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let micros = digits.fold(0, |number: u64, digit| 10 * number + u64::from(digit - b'0'));
    Some(now.saturating_sub(Duration::from_micros(micros)))
}

fn collect(heard: &Receiver<Duration>, count: usize) -> anyhow::Result<Vec<Duration>> {
    let each = (0..count).map(|_| heard.recv_timeout(HEARD_WITHIN));
    each.collect::<Result<_, _>>().context("fewer were heard of than were sent")
}

fn latency(what: &'static str, mut took: Vec<Duration>, target: Duration) -> Latency {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    Latency { what, count: took.len(), p50: at(50), p99: at(99), target }
}
