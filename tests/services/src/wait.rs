//! Waiting for a condition instead of sleeping for a guess.

use std::time::Duration;

/// How long to wait between two looks: short beside what is waited for, long beside what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value, and returns it. Blocks the thread; in async code use [`eventually`].
///
/// # Panics
/// When `deadline` has passed, with `what` was waited for: "a leader for topic orders".
#[track_caller]
pub fn wait_until<T>(deadline: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        pause();
    }
}

/// Between two looks.
pub(crate) fn pause() {
    #[expect(clippy::disallowed_methods, reason = "the one sleep that stands behind all waiting")]
    std::thread::sleep(LOOK_EVERY);
}

/// [`wait_until`] for async code: waits in tokio's time, so that under a paused clock it advances that clock.
///
/// # Panics
/// When `deadline` has passed, with `what` was waited for.
pub async fn eventually<T>(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_until_there_is_a_value() {
        let mut looks = 0;
        let value = wait_until(Duration::from_secs(10), "the third look", || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(value, 3);
    }

    #[test]
    #[should_panic(expected = "waited 1ms in vain for a miracle")]
    fn says_what_it_waited_for() {
        wait_until(Duration::from_millis(1), "a miracle", || None::<()>);
    }

    #[tokio::test(start_paused = true)]
    async fn advances_a_paused_clock() {
        let start = tokio::time::Instant::now();
        eventually(Duration::from_secs(10), "five seconds", async || {
            (start.elapsed() >= Duration::from_secs(5)).then_some(())
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 3600s in vain for a miracle")]
    async fn gives_up_at_the_deadline() {
        eventually(Duration::from_secs(3600), "a miracle", async || None::<()>).await;
    }
}
