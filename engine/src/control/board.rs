//! The alerts that are pending or firing now, followed from the alert log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use crate::ports::FROM_THE_BEGINNING;
use crate::runtime::DeploymentView;

use super::follow_alerts;

/// The last transition of every alert that is not resolved.
#[derive(Clone, Default)]
pub struct AlertBoard(Arc<Mutex<Board>>);

#[derive(Default)]
struct Board {
    /// By fingerprint.
    alerts: HashMap<String, Value>,
    /// Every name and state that was ever counted: their gauges go back to 0 rather than stay as they were.
    counted: BTreeSet<(String, String)>,
}

#[derive(Deserialize)]
struct Transition<'a> {
    fingerprint: &'a str,
    sequence: u64,
    state: &'a str,
}

impl AlertBoard {
    /// A board that follows the alert logs of a topology for as long as the topology runs.
    pub fn of(view: &DeploymentView) -> Self {
        let board = AlertBoard::default();
        for stage in view.alert_stages() {
            let (board, view, stage) = (board.clone(), view.clone(), stage.clone());
            actix::spawn(async move {
                let from = Some(FROM_THE_BEGINNING.to_owned());
                follow_alerts(view, &stage, from, |body| board.apply(body)).await;
            });
        }
        board
    }

    /// The alerts, the oldest first.
    pub fn list(&self) -> Vec<Value> {
        let mut alerts: Vec<Value> = self.lock().alerts.values().cloned().collect();
        let at = |alert: &Value| alert.get("active_at").and_then(Value::as_u64).unwrap_or_default();
        alerts.sort_by_key(at);
        alerts
    }

    /// How many there are of each name and state; 0 for those that there were before.
    pub fn counts(&self) -> BTreeMap<(String, String), usize> {
        let mut board = self.lock();
        let mut counts: BTreeMap<_, usize> = board.counted.iter().map(|counted| (counted.clone(), 0)).collect();
        for alert in board.alerts.values() {
            let text = |key: &str| alert.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            *counts.entry((text("alertname"), text("state"))).or_default() += 1;
        }
        board.counted.extend(counts.keys().cloned());
        counts
    }

    fn apply(&self, body: &[u8]) {
        let (Ok(transition), Ok(alert)) =
            (serde_json::from_slice::<Transition<'_>>(body), serde_json::from_slice(body))
        else {
            return;
        };
        let alerts = &mut self.lock().alerts;
        let known = alerts.get(transition.fingerprint).and_then(|a: &Value| a.get("sequence")).and_then(Value::as_u64);
        if known.is_some_and(|known| known >= transition.sequence) {
            return;
        }
        match transition.state {
            "resolved" => alerts.remove(transition.fingerprint),
            _ => alerts.insert(transition.fingerprint.to_owned(), alert),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_what_is_not_resolved_and_ignores_repetitions() {
        let board = AlertBoard::default();
        let apply = |sequence: u64, state: &str| {
            let body = format!(r#"{{"fingerprint":"f","alertname":"Hot","sequence":{sequence},"state":"{state}"}}"#);
            board.apply(body.as_bytes());
        };
        apply(1, "pending");
        apply(2, "firing");
        apply(1, "pending");
        assert_eq!(board.counts().into_iter().collect::<Vec<_>>(), [(("Hot".into(), "firing".into()), 1)]);
        apply(3, "resolved");
        assert!(board.list().is_empty());
        assert_eq!(board.counts().into_values().collect::<Vec<_>>(), [0], "the gauge goes back");
    }
}
