mod check;
mod crash;
mod shard;
mod steps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use telemill_engine::context::{CheckContext, Connections, FieldProblem, Topics};
use telemill_engine::stage::Component;

use super::rules::Rules;
use super::{AlertEvaluator, AlertEvaluatorSpec, RuleSpec};

fn checked(rules: Vec<RuleSpec>) -> (Option<Arc<Rules>>, Vec<FieldProblem>) {
    let (connections, topics, mut problems) = (Connections::new(), Topics::default(), Vec::new());
    let mut cx = CheckContext {
        name: "alerts",
        inputs: &[],
        connections: &connections,
        topics: &topics,
        problems: &mut problems,
    };
    let checked = AlertEvaluator::check(AlertEvaluatorSpec { rules }, &mut cx);
    (checked, problems)
}

fn stage(rules: Vec<RuleSpec>) -> AlertEvaluator {
    let (rules, problems) = checked(rules);
    AlertEvaluator { rules: rules.unwrap_or_else(|| panic!("good rules: {problems:?}")) }
}

fn condition(alert: &str, expr: &str) -> RuleSpec {
    RuleSpec { alert: alert.to_owned(), expr: Some(expr.to_owned()), ..RuleSpec::default() }
}

fn absence(alert: &str, seconds: u64) -> RuleSpec {
    let absent_for = Some(Duration::from_secs(seconds).into());
    RuleSpec { alert: alert.to_owned(), absent_for, ..RuleSpec::default() }
}

impl RuleSpec {
    fn held(self, seconds: u64) -> Self {
        RuleSpec { hold: Some(Duration::from_secs(seconds).into()), ..self }
    }

    fn clear(self, expr: &str) -> Self {
        RuleSpec { clear: Some(expr.to_owned()), ..self }
    }

    fn label(mut self, name: &str, text: &str) -> Self {
        self.labels.insert(name.to_owned(), text.to_owned());
        self
    }

    fn annotations(self, texts: &[(&str, &str)]) -> Self {
        let annotations: BTreeMap<_, _> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        RuleSpec { annotations, ..self }
    }
}
