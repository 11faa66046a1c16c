//! The rules, compiled.

use std::time::Duration;

use telemill_engine::topology::expr::{FieldPlan, Inputs, Program, SlotId, Template};
use xxhash_rust::xxh3::xxh3_64;

use super::evidence::Wanted;
use super::machine::{Phase, Watch};

/// The rules of one stage, proven good.
#[derive(Debug)]
pub struct Rules {
    /// What all of them read of a message.
    pub(super) plan: FieldPlan,
    pub(super) list: Vec<Rule>,
    /// The shortest `absent_for`, if there is one.
    pub(super) shortest_absence: Option<Duration>,
}

impl Rules {
    pub(super) fn new(plan: FieldPlan, list: Vec<Rule>) -> Self {
        let absence = |rule: &Rule| match rule.watch {
            Watch::Absence { after } => Some(after),
            Watch::Condition { .. } => None,
        };
        let shortest_absence = list.iter().filter_map(absence).min();
        Rules { plan, list, shortest_absence }
    }

    pub(super) fn by_key(&self, key: u64) -> Option<&Rule> {
        self.list.iter().find(|rule| rule.key == key)
    }
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    /// [`key_of`] the name: what sessions know it by.
    pub(super) key: u64,
    pub(super) watch: Watch,
    /// None for an absence.
    pub(super) condition: Option<Condition>,
    pub(super) labels: Vec<(String, Template)>,
    pub(super) annotations: Vec<(String, Template)>,
    /// What its texts print of the message.
    pub(super) wanted: Wanted,
}

/// When an alert is active.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) expr: Program,
    pub(super) clear: Option<Program>,
}

/// What sessions know a rule by.
pub(super) fn key_of(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

impl Rule {
    /// Whether the alert is to be active after a record; none: the message does not say.
    #[inline]
    pub(super) fn is_active(&self, phase: Phase, inputs: &Inputs<'_>) -> Option<bool> {
        let condition = self.condition.as_ref()?;
        match (&condition.clear, phase) {
            (Some(clear), Phase::Firing) => clear.eval_bool(inputs).map(|cleared| !cleared),
            _ => condition.expr.eval_bool(inputs),
        }
    }

    /// The field that the condition compares: the transition's `value`.
    pub(super) fn value_slot(&self) -> Option<SlotId> {
        self.condition.as_ref()?.expr.primary_slot()
    }
}
