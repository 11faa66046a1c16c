//! What `telemill run` shows beside its log: where to look, how much is going on, and alerts as they happen.
//!
//! On a terminal the rates are one line that stays, in colour, and all else scrolls above it. Elsewhere they are plain
//! lines on standard output, one a minute, so that what a service writes stays readable.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use telemill_actors::embedded::EmbeddedConnection;
use telemill_engine::control::follow_alerts;
use telemill_engine::runtime::DeploymentView;

use super::rates::Rates;
use crate::cli::out;

/// How often the rates are looked at on a terminal.
const REDRAW_EVERY: Duration = Duration::from_secs(1);
/// How often they are printed elsewhere.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// What is shown. Cheap to clone.
#[derive(Clone)]
pub struct View {
    api: SocketAddr,
    /// The line that stays; none where nobody watches a terminal.
    bar: Option<ProgressBar>,
}

impl View {
    /// Shows nothing yet. `api` is where the HTTP API listens.
    pub fn new(api: SocketAddr, bar: Option<ProgressBar>) -> Self {
        View { api, bar }
    }

    /// A topology runs: says where to look, and follows it for as long as it does. `local` are those of its connections
    /// that keep something on a disk here.
    pub fn follow(&self, view: &DeploymentView, simulated: Option<u32>, local: Vec<Arc<EmbeddedConnection>>) {
        self.print(&self.welcome(&view.name, simulated));
        actix::spawn(rates(self.clone(), view.clone(), local));
        for stage in view.alert_stages() {
            actix::spawn(alerts(self.clone(), view.clone(), stage.clone()));
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn welcome(&self, topology: &str, simulated: Option<u32>) -> String {
        let (api, bold, plain) = (self.api, self.style("1"), self.style("0"));
        let mut text = format!("{bold}{topology} runs{plain}");
        if let Some(devices) = simulated {
            let _ = write!(text, ", and {devices} simulated devices publish to it");
        }
        let _ = write!(
            text,
            "\n  devices online   http://{api}/devices\n  one device       http://{api}/api/v1/devices/{{id}}\n  \
             alerts, live     http://{api}/api/v1/alerts/stream\n  metrics          http://{api}/metrics\n  \
             Ctrl-C drains and stops"
        );
        text
    }

    /// Prints lines above the one that stays. That nobody reads them is no reason to stop.
    fn print(&self, text: &str) {
        let print = || drop(out::line(text));
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Switches the terminal's style; nothing elsewhere, and nothing where no styles are wanted.
    fn style(&self, code: &str) -> String {
        let styled = self.bar.as_ref().filter(|_| out::has_styles());
        styled.map_or_else(String::new, |_| format!("\u{1b}[{code}m"))
    }
}

/// The line that stays, where standard error is a terminal.
pub fn bar() -> Option<ProgressBar> {
    (std::io::stderr().is_terminal() && std::io::stdout().is_terminal()).then(|| {
        let style = ProgressStyle::with_template("{spinner:.cyan} {msg}").expect("the template is one of ours");
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style)
    })
}

/// Shows how much goes through the topology.
async fn rates(shown: View, view: DeploymentView, local: Vec<Arc<EmbeddedConnection>>) {
    let every = if shown.bar.is_some() { REDRAW_EVERY } else { LINE_EVERY };
    let mut rates = Rates::new(view.clone(), local);
    loop {
        tokio::time::sleep(every).await;
        if view.state().is_over() {
            return;
        }
        let line = rates.line(|code| shown.style(code));
        match &shown.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            None => shown.print(&line),
        }
    }
}

/// The fields of a transition that are shown.
#[derive(Deserialize)]
struct Transition<'a> {
    #[serde(borrow)]
    alertname: std::borrow::Cow<'a, str>,
    state: &'a str,
    device_id: &'a str,
    #[serde(default)]
    value: serde_json::Value,
}

/// Prints the transitions of one stage's alerts as they happen.
async fn alerts(shown: View, view: DeploymentView, stage: Arc<str>) {
    let print = |body: &[u8]| {
        if let Ok(transition) = serde_json::from_slice(body) {
            shown.print(&line_of(&shown, &transition));
        }
    };
    follow_alerts(view, &stage, None, print).await;
}

fn line_of(shown: &View, transition: &Transition<'_>) -> String {
    let Transition { alertname, state, device_id, value } = transition;
    let colour = match *state {
        "firing" => "31;1",
        "pending" => "33",
        _ => "32",
    };
    let value = if value.is_null() { String::new() } else { format!(" at {value}") };
    format!("{}{state:<8}{} {alertname} {device_id}{value}", shown.style(colour), shown.style("0"))
}
