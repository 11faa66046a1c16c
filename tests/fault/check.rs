//! The one judge: what was sent, delivered and acknowledged against what is in the log, in the store and among the alerts.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::load::Sent;
use crate::support::{LogRecord, Store};
use crate::tap::uuid_of;

/// What was found to be wrong, by kind.
#[derive(Debug, Default)]
pub struct Findings {
    /// Acknowledged, or in the log, and its effect is nowhere.
    pub lost: Vec<String>,
    /// One that came out behind a later one.
    pub reordered: Vec<String>,
    /// One effect that took place twice, or that nobody caused.
    pub doubled: Vec<String>,
    /// Committed before it was safe, memory beyond its bound, not drained in time, and the like.
    pub other: Vec<String>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.reordered, &self.doubled, &self.other].iter().all(|found| found.is_empty())
    }

    /// All of them, a few of each kind.
    pub fn text(&self) -> String {
        let kinds =
            [("lost", &self.lost), ("reordered", &self.reordered), ("doubled", &self.doubled), ("other", &self.other)];
        let text = kinds.iter().filter(|(_, found)| !found.is_empty()).map(|(kind, found)| {
            let shown: Vec<_> = found.iter().take(5).cloned().collect();
            format!("{} {kind}:\n    {}", found.len(), shown.join("\n    "))
        });
        text.collect::<Vec<_>>().join("\n  ")
    }
}

/// Everything that a round has left.
pub struct Evidence {
    pub sent: Sent,
    /// The uuids of records that no attempt can write: what the fault of the round spoilt.
    pub spoilt: HashSet<String>,
    /// Uuids whose PUBACK the engine has written.
    pub acknowledged: HashSet<String>,
    /// The records of the data topic, of the dead letters, and of the alerts, since the round began.
    pub data: Vec<LogRecord>,
    pub dead: Vec<LogRecord>,
    pub alerts: Vec<LogRecord>,
    /// What subscribers of the store heard, by device.
    pub updates: BTreeMap<String, Vec<String>>,
    /// The subscription stood all the time.
    pub updates_are_whole: bool,
    /// The broker was killed: what it had not delivered may be gone.
    pub broker_may_lose: bool,
    /// Later records may have earlier times: the history, which is in the order of time, is then not in that of the log.
    pub clock_went_back: bool,
}

/// Judges a round.
pub fn judge(evidence: &Evidence, store: &mut Store, findings: &mut Findings) {
    let by_device = log(evidence, findings);
    dead_letters(evidence, findings);
    for (device, records) in &by_device {
        effects(evidence, device, records, store, findings);
        alerts(evidence, device, records, findings);
    }
}

/// A record of the log as its device sent it.
struct Logged<'e> {
    record: &'e LogRecord,
    seq: u64,
    is_hot: bool,
}

/// Everything acknowledged is in the log once, each device's in order, and nothing else is.
fn log<'e>(evidence: &'e Evidence, findings: &mut Findings) -> BTreeMap<&'e str, Vec<Logged<'e>>> {
    let mut known: HashMap<&str, (&str, u64, bool)> = HashMap::new();
    for (device, messages) in &evidence.sent.fit {
        known.extend(messages.iter().map(|message| (&*message.uuid, (&**device, message.seq, message.is_hot))));
    }
    let mut seen: HashSet<String> = HashSet::new();
    let mut by_device: BTreeMap<&str, Vec<Logged<'_>>> = BTreeMap::new();
    for record in &evidence.data {
        let place = format!("partition {} at {}", record.partition, record.offset);
        let uuid = uuid_of(&record.value).unwrap_or_default();
        let Some((device, seq, is_hot)) = known.get(&*uuid).copied() else {
            // A record of a device of another round's fault.
            if evidence.sent.fit.contains_key(record.key.as_deref().unwrap_or_default()) {
                findings.doubled.push(format!("{place}: never sent"));
            }
            continue;
        };
        if !seen.insert(uuid) {
            findings.doubled.push(format!("{place}: {seq} of {device} is there again"));
            continue;
        }
        let records = by_device.entry(device).or_default();
        if records.last().is_some_and(|last| last.seq > seq) {
            findings.reordered.push(format!("{place}: {seq} of {device} behind {:?}", records.last().map(|r| r.seq)));
        }
        records.push(Logged { record, seq, is_hot });
    }
    for (uuid, (device, seq, _)) in &known {
        let is_acknowledged = evidence.acknowledged.contains(*uuid);
        if !seen.contains(*uuid) && (is_acknowledged || !evidence.broker_may_lose) {
            let how = if is_acknowledged { "acknowledged" } else { "published" };
            findings.lost.push(format!("{seq} of {device}: {how}, and not in the log"));
        }
    }
    by_device
}

/// What was unfit is in the dead letters, once, with a reason; and nothing else of the round is but what its fault spoilt,
/// at most once. That a store was away, or an actor panicked, is no record's fault.
fn dead_letters(evidence: &Evidence, findings: &mut Findings) {
    let mut left: HashSet<&str> = evidence.sent.unfit.iter().map(|uuid| &**uuid).collect();
    let all: HashSet<&str> = left.clone();
    let sent = evidence.sent.fit.iter();
    let fit: HashMap<&str, &str> =
        sent.flat_map(|(device, messages)| messages.iter().map(|message| (&*message.uuid, &**device))).collect();
    let mut given_up = HashSet::new();
    for letter in &evidence.dead {
        let uuid = uuid_of(&letter.value).unwrap_or_default();
        let is_ours = all.contains(&*uuid);
        if !letter.headers.contains_key("dead-reason") && is_ours {
            findings.other.push(format!("a dead letter at {} gives no reason: {:?}", letter.offset, letter.headers));
        }
        if let Some(device) = fit.get(&*uuid).filter(|_| !(is_writers(letter) && evidence.spoilt.contains(&uuid))) {
            findings.other.push(format!("a record of {device} was fit, and is dead: {:?}", letter.headers));
        }
        let is_again = evidence.spoilt.contains(&uuid) && !given_up.insert(uuid.clone());
        if (is_ours && !left.remove(&*uuid)) || is_again {
            findings.doubled.push(format!("the dead letter at {} is there again", letter.offset));
        }
    }
    left.retain(|uuid| evidence.acknowledged.contains(*uuid) || !evidence.broker_may_lose);
    findings.lost.extend(left.iter().map(|uuid| format!("{uuid} was unfit, and is not in the dead letters")));
}

/// Whether it was the writer that gave a record up.
fn is_writers(letter: &LogRecord) -> bool {
    letter.headers.get("dead-stage").is_some_and(|stage| stage == "writer")
}

/// Every record of the log has one effect in the store, in order, or the writer has given it up.
fn effects(evidence: &Evidence, device: &str, records: &[Logged<'_>], store: &mut Store, findings: &mut Findings) {
    let given_up = evidence.dead.iter().filter(|letter| is_writers(letter));
    let given_up: HashSet<String> = given_up.filter_map(|letter| uuid_of(&letter.value)).collect();
    let is_due = |logged: &&Logged<'_>| uuid_of(&logged.record.value).is_some_and(|uuid| !given_up.contains(&uuid));
    let records: Vec<&Logged<'_>> = records.iter().filter(is_due).collect();
    let wanted: Vec<&str> = records.iter().map(|logged| logged.record.text()).collect();
    let mut in_history = wanted.clone();
    if evidence.clock_went_back {
        let order = |logged: &&&Logged<'_>| {
            (
                logged.record.header("received-at-ms").parse::<u64>().unwrap_or(0) / 1000,
                logged.record.header("event-id").to_owned(),
            )
        };
        let mut by_time: Vec<&&Logged<'_>> = records.iter().collect();
        by_time.sort_by_cached_key(order);
        in_history = by_time.iter().map(|logged| logged.record.text()).collect();
    }
    let history: Vec<String> = store.history(device).into_iter().map(|(_, message)| message).collect();
    if history != in_history {
        let there: HashSet<&str> = history.iter().map(|message| &**message).collect();
        let should: HashSet<&str> = wanted.iter().copied().collect();
        let missing = wanted.iter().filter(|message| !there.contains(**message)).count();
        let foreign = history.iter().filter(|message| !should.contains(&***message)).count();
        match (missing, foreign) {
            (0, 0) => findings.reordered.push(format!("the history of {device} is in another order than the log")),
            (missing, 0) => findings.lost.push(format!("{missing} of the log are not in the history of {device}")),
            (_, foreign) => findings.doubled.push(format!("{foreign} in the history of {device} are not in the log")),
        }
    }
    let state = store.last_state(device);
    let newest = records.last().map(|logged| payload_of(logged.record));
    if state.get("payload").map(String::as_str) != newest.as_deref() {
        findings.lost.push(format!("the state of {device} is {state:?}, the newest is {newest:?}"));
    }
    let heard = evidence.updates.get(device).map(Vec::as_slice).unwrap_or_default();
    let mut first: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    first.extend(heard.iter().map(|message| &**message).filter(|message| seen.insert(*message)));
    if evidence.updates_are_whole && first != wanted {
        let (heard, wanted) = (first.len(), wanted.len());
        findings.lost.push(format!("{device}: {heard} notifications of {wanted}, or in another order"));
    }
}

/// The payload as the device sent it.
fn payload_of(record: &LogRecord) -> String {
    let text = record.text();
    let from = text.find(r#""payload":"#).map_or(0, |at| at + 10);
    let to = text.rfind(r#","timestamp""#).unwrap_or(text.len());
    text.get(from..to).unwrap_or_default().to_owned()
}

/// The transitions of a device are those that its records make, each once.
fn alerts(evidence: &Evidence, device: &str, records: &[Logged<'_>], findings: &mut Findings) {
    let mut wanted = Vec::new();
    let mut firing = false;
    for logged in records {
        if logged.is_hot != firing {
            firing = logged.is_hot;
            wanted.push(if firing { "firing" } else { "resolved" });
        }
    }
    let mut found = Vec::new();
    for record in evidence.alerts.iter().filter(|record| record.key.as_deref() == Some(device)) {
        let transition: Value = serde_json::from_slice(&record.value).unwrap_or_default();
        let state = transition["state"].as_str().unwrap_or_default().to_owned();
        let is_next = transition["sequence"].as_u64() == Some(found.len() as u64 + 1);
        if !is_next || transition["alertname"] != "DeviceOverheating" {
            findings.doubled.push(format!("{device}: {transition} is no transition of its records"));
        }
        found.push(state);
    }
    if found != wanted {
        let at = found.iter().zip(&wanted).take_while(|(found, wanted)| found == wanted).count();
        let (found, wanted) = (found.len(), wanted.len());
        let kind = if found < wanted { &mut findings.lost } else { &mut findings.doubled };
        kind.push(format!("{device}: {found} transitions, {wanted} follow from the log; they part at {at}"));
    }
}
