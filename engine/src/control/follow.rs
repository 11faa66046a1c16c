//! Reading on in a log of alert transitions, over every break, for as long as its topology runs.

use std::time::Duration;

use futures_util::StreamExt;

use crate::ports::AlertLog;
use crate::runtime::DeploymentView;

/// How long to wait before following the log again where it is not there, or has broken off.
const AGAIN: Duration = Duration::from_secs(1);

/// Gives `take` the body of every transition that `stage` keeps behind `after` (a cursor), or from now on, until the
/// topology has come to its end.
pub async fn follow_alerts(view: DeploymentView, stage: &str, mut after: Option<String>, mut take: impl FnMut(&[u8])) {
    while !view.state().is_over() {
        if let Some(log) = view.ports.alert_log(stage) {
            read(&*log, &mut after, &mut take).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Reads until the stream breaks off; `after` is then where to go on from.
async fn read(log: &dyn AlertLog, after: &mut Option<String>, take: &mut impl FnMut(&[u8])) {
    match log.follow(after.as_deref()).await {
        Ok(mut stream) => {
            while let Some(Ok(entry)) = stream.next().await {
                take(&entry.body);
                *after = Some(entry.cursor);
            }
        }
        Err(error) => tracing::debug!(code = "alert_log", %error, "cannot follow the alert log yet"),
    }
}
