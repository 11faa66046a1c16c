//! What a topology may say of a writer to a store of devices, wherever it is.

use std::ops::RangeInclusive;
use std::time::Duration;

use telemill_engine::context::CheckContext;
use telemill_engine::topology::HumanDuration;

const WINDOW: RangeInclusive<usize> = 1..=32;

/// How far back a history reaches where the topology does not say.
pub(crate) fn default_history() -> HumanDuration {
    Duration::from_secs(5 * 3600).into()
}

/// How many batches may be on their way where the topology does not say.
pub(crate) fn default_window() -> usize {
    4
}

/// Proves `history` and `window`; `hint` says what the usual window is good for. The history as checked: whole seconds.
pub(crate) fn check(history: HumanDuration, window: usize, hint: &str, cx: &mut CheckContext<'_>) -> Option<Duration> {
    let history = Duration::from(history);
    let whole = history.subsec_nanos() == 0 && !history.is_zero();
    if !whole {
        let hint = "timestamps in the history are whole seconds; write a duration such as 5h";
        cx.problem("history", "redis_writer::bad_history", "history is to be one or more whole seconds", hint);
    }
    let fits = WINDOW.contains(&window);
    if !fits {
        let message = format!("window is {window}, and is to be from 1 to 32");
        cx.problem("window", "redis_writer::bad_window", message, hint);
    }
    (whole && fits).then_some(history)
}
