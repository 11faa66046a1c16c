//! `alert_evaluator`: rules over the records of each device, and over their absence.
//!
//! A rule is a condition on a record (`expr`, with `for` and `clear`), or silence (`absent_for`). What comes out, on
//! the main outlet, is each change of an alert's state, once: pending, firing, resolved. The records themselves end
//! here.
//!
//! All durations are measured on the shard's own time, so an outage makes nothing fire. A message that does not say
//! what a rule asks changes nothing: an alert neither starts nor ends for want of a field.
//!
//! The outlet is the stage's journal. After a crash the transitions behind the checkpoint are read back and *applied*;
//! the rule looks at no record of the device before the point where the last one was made. So a crash between writing
//! a transition and the checkpoint that knows of it neither loses one nor makes one twice.
//!
//! When a device is forgotten, its alerts that are pending or firing are resolved, and the transition says why: else they
//! would stand as firing for ever, with nobody left to end them.
//!
//! What a rule keeps of a device goes by the alert's name. A rule that is gone takes its alerts with it, without a
//! word in the log; one of a new `absent_for` counts for a device from the next record on.

mod check;
mod evidence;
mod machine;
mod rules;
mod session;
mod step;
#[cfg(test)]
mod tests;
mod transition;

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use telemill_engine::context::{BuildContext, CheckContext};
use telemill_engine::registry::Description;
use telemill_engine::stage::{BuildError, Component, Outlet};
use telemill_engine::topology::HumanDuration;

pub use check::{EXPLANATIONS, codes};
pub use rules::Rules;
pub use session::Session;

/// The component.
#[derive(Debug)]
pub struct AlertEvaluator {
    rules: Arc<Rules>,
}

/// As written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertEvaluatorSpec {
    /// The rules. A record is read once for all of them.
    pub rules: Vec<RuleSpec>,
}

/// One rule as written: a condition, or silence.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleSpec {
    /// The alert's name, unique in the stage.
    pub alert: String,
    /// The condition under which it is active: `payload.temperature > 80.0`.
    #[serde(default)]
    pub expr: Option<String>,
    /// The condition that ends it once it fires. Not given: when `expr` is false.
    #[serde(default)]
    pub clear: Option<String>,
    /// How long the condition must hold, without a record of which it is false, before it fires. Not given: not at all.
    #[serde(default, rename = "for")]
    pub hold: Option<HumanDuration>,
    /// It fires when nothing was heard of the device for so long.
    #[serde(default)]
    pub absent_for: Option<HumanDuration>,
    /// For whoever routes alerts. A text may contain `{{ expressions }}`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For whoever reads them. A text may contain `{{ expressions }}`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Component for AlertEvaluator {
    const KIND: &'static str = "alert_evaluator";
    type Spec = AlertEvaluatorSpec;
    type Checked = Arc<Rules>;

    fn check(spec: AlertEvaluatorSpec, cx: &mut CheckContext<'_>) -> Option<Arc<Rules>> {
        check::rules(&spec.rules, cx).map(Arc::new)
    }

    fn describe(_: &Arc<Rules>) -> Description {
        Description { journal: Some(Outlet::MAIN), ..Description::default() }
    }

    async fn build(checked: &Arc<Rules>, _: &BuildContext) -> Result<Self, BuildError> {
        Ok(AlertEvaluator { rules: checked.clone() })
    }
}
