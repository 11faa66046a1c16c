//! The line that says how much goes through a topology, what it takes on the disk, and which of its stages wait.

use std::fmt::Write as _;
use std::sync::Arc;

use indicatif::HumanBytes;
use telemill_actors::embedded::EmbeddedConnection;
use telemill_engine::runtime::{DeploymentView, StageState};
use tokio::time::Instant;

/// What the lines of one topology are made from.
pub(super) struct Rates {
    view: DeploymentView,
    /// Those that keep something on a disk here.
    local: Vec<Arc<EmbeddedConnection>>,
    before: u64,
    since: Instant,
}

impl Rates {
    /// Counts from now on.
    pub(super) fn new(view: DeploymentView, local: Vec<Arc<EmbeddedConnection>>) -> Self {
        let before = received(&view);
        Rates { view, local, before, since: Instant::now() }
    }

    /// The line of now; its rate is that since the last one. `style` is what switches the terminal's style.
    pub(super) fn line(&mut self, style: impl Fn(&str) -> String) -> String {
        let (received, elapsed) = (received(&self.view), self.since.elapsed());
        self.since = Instant::now();
        let rate = (received - self.before) as f64 / elapsed.as_secs_f64();
        self.before = received;
        // Measured by the log every few seconds: a look at every file is too much for every line.
        let usages = self.local.iter().filter_map(|local| local.usage()).map(|usage| usage.used);
        let waits = |state: &StageState| {
            matches!(state, StageState::Waiting(_) | StageState::Restarting(_) | StageState::Starting(_))
        };
        let stages = self.view.report().into_iter().filter(|stage| waits(&stage.state));
        let now = Now {
            received,
            rate,
            online: self.view.directory.online_count(),
            disk: usages.reduce(|one, other| one + other),
            waiting: stages.map(|stage| stage.name).collect(),
        };
        format!("{}: {}", self.view.name, now.shown(style))
    }
}

/// What devices have sent: the records of the ingresses.
fn received(view: &DeploymentView) -> u64 {
    let ingresses = view.members.iter().filter(|member| member.is_ingress);
    ingresses.map(|member| member.metrics.ledger().received).sum()
}

/// What one line says.
struct Now {
    received: u64,
    rate: f64,
    online: usize,
    /// Bytes, where something is kept on a disk here.
    disk: Option<u64>,
    /// The stages that wait for what they need; `/readyz` says why.
    waiting: Vec<Arc<str>>,
}

impl Now {
    fn shown(&self, style: impl Fn(&str) -> String) -> String {
        let Now { received, rate, online, .. } = self;
        let mut text = format!("{received} records in, {rate:.0}/s, {online} devices online");
        if let Some(bytes) = self.disk {
            let _ = write!(text, ", {} on disk", HumanBytes(bytes));
        }
        if !self.waiting.is_empty() {
            let _ = write!(text, ", {}waiting: {}{}", style("33;1"), self.waiting.join(", "), style("0"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_there_is_to_say() {
        let check = |disk: Option<u64>, waiting: &[&str], expect: &str| {
            let waiting = waiting.iter().map(|name| Arc::from(*name)).collect();
            let now = Now { received: 1200, rate: 99.6, online: 7, disk, waiting };
            assert_eq!(now.shown(|code| format!("<{code}>")), expect);
        };
        check(None, &[], "1200 records in, 100/s, 7 devices online");
        check(Some(0), &[], "1200 records in, 100/s, 7 devices online, 0 B on disk");
        check(Some(3 << 19), &[], "1200 records in, 100/s, 7 devices online, 1.50 MiB on disk");
        let waiting = "1200 records in, 100/s, 7 devices online, <33;1>waiting: router, writer<0>";
        check(None, &["router", "writer"], waiting);
    }
}
