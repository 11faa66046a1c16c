//! What is seen while it runs: a progress bar on a terminal, a plain line every few seconds otherwise. On standard
//! error, so that standard output has the summary alone.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tally::Summary;
use crate::cli::out;

/// How often a bar is brought up to date.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Where progress goes.
pub(super) struct Report {
    /// None where nobody watches a terminal.
    bar: Option<ProgressBar>,
    end: End,
    silent: bool,
}

/// What progress is measured against.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// So many records.
    Count(u64),
    /// So long.
    Time(Duration),
    /// Until interrupted.
    Open,
}

impl Report {
    pub(super) fn new(end: End) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| bar(end));
        Report { bar, end, silent: false }
    }

    /// Shows nothing.
    pub(super) fn silent() -> Self {
        Report { bar: None, end: End::Open, silent: true }
    }

    /// How often [`progress`](Self::progress) wants to be called.
    pub(super) fn every(&self) -> Duration {
        if self.bar.is_some() { REDRAW_EVERY } else { LINE_EVERY }
    }

    /// Shows how far it is.
    pub(super) fn progress(&self, now: &Summary) {
        if self.silent {
            return;
        }
        let Some(bar) = &self.bar else {
            out::note(line(now));
            return;
        };
        match self.end {
            End::Count(_) => bar.set_position(now.records),
            End::Time(_) => bar.set_position((now.seconds * 1000.0) as u64),
            End::Open => bar.tick(),
        }
        bar.set_message(line(now));
    }

    /// Says something that matters, beside the bar.
    pub(super) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| out::note(text)),
            None => out::note(text),
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(end: End) -> ProgressBar {
    let (length, template) = match end {
        End::Count(count) => (Some(count), "{wide_bar} {percent:>3} %  {msg}"),
        End::Time(lasts) => (u64::try_from(lasts.as_millis()).ok(), "{wide_bar} {percent:>3} %  {msg}"),
        End::Open => (None, "{spinner} {elapsed}  {msg}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is one of ours");
    ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style)
}

fn line(now: &Summary) -> String {
    format!("{} published, {} acknowledged, {:.0}/s", now.published, now.acknowledged, now.rate)
}
