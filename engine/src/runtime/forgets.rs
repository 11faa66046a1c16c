//! Telling of devices that are forgotten: each reason once a minute at most, with how many they were.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::context::BuildContext;
use crate::record::Reason;

/// How often a reason is said.
const EVERY: Duration = Duration::from_secs(60);

/// What all shards of a source have to tell, together.
#[derive(Clone, Debug, Default)]
pub struct Forgets(Arc<Mutex<BTreeMap<&'static str, Untold>>>);

#[derive(Debug, Default)]
struct Untold {
    devices: u64,
    told_at: Option<Instant>,
}

impl Forgets {
    /// A device of a stage was forgotten.
    pub(super) fn forgot(&self, cx: &BuildContext, why: Reason) {
        let Some(devices) = self.count(why, Instant::now()) else { return };
        let (topology, stage) = (&cx.topology, &cx.stage);
        tracing::warn!(code = "devices_forgotten", %topology, %stage, reason = %why, devices, "devices were forgotten");
    }

    /// Counts a device; how many there were since it was last said, if it is to be said now.
    fn count(&self, why: Reason, now: Instant) -> Option<u64> {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = reasons.entry(why.0).or_default();
        untold.devices += 1;
        if untold.told_at.is_some_and(|told_at| now.duration_since(told_at) < EVERY) {
            return None;
        }
        untold.told_at = Some(now);
        Some(std::mem::take(&mut untold.devices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_a_minute_with_all_that_it_had() {
        let (forgets, start) = (Forgets::default(), Instant::now());
        let told = |why, seconds| forgets.count(Reason(why), start + Duration::from_secs(seconds));
        assert_eq!(told("max_sessions", 0), Some(1));
        assert_eq!((told("max_sessions", 1), told("max_sessions", 59)), (None, None));
        assert_eq!(told("forget_after", 59), Some(1));
        assert_eq!(told("max_sessions", 60), Some(3));
        assert_eq!(told("max_sessions", 119), None);
    }
}
