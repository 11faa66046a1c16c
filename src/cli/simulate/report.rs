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
    form: Form,
    end: End,
}

/// In what form.
enum Form {
    /// A line that stays, on a terminal.
    Bar(ProgressBar),
    /// A line every few seconds.
    Lines,
    /// Not at all: who runs the fleet shows what matters.
    Nothing,
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
        let form = if std::io::stderr().is_terminal() { Form::Bar(bar(end)) } else { Form::Lines };
        Report { form, end }
    }

    /// Shows nothing.
    pub(super) fn silent() -> Self {
        Report { form: Form::Nothing, end: End::Open }
    }

    /// How often [`progress`](Self::progress) wants to be called.
    pub(super) fn every(&self) -> Duration {
        if matches!(self.form, Form::Bar(_)) { REDRAW_EVERY } else { LINE_EVERY }
    }

    /// Shows how far it is.
    pub(super) fn progress(&self, now: &Summary) {
        let bar = match &self.form {
            Form::Bar(bar) => bar,
            Form::Lines => return out::note(line(now)),
            Form::Nothing => return,
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
        match &self.form {
            Form::Bar(bar) => bar.suspend(|| out::note(text)),
            Form::Lines => out::note(text),
            Form::Nothing => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        if let Form::Bar(bar) = &self.form {
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
