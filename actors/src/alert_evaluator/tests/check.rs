//! Every problem of the rules, and where it is said to be.

use std::time::Duration;

use telemill_engine::stage::{Component, Outlet};

use super::super::check::codes;
use super::super::{AlertEvaluator, EXPLANATIONS, RuleSpec};
use super::{absence, checked, condition};

fn hot() -> RuleSpec {
    condition("Hot", "payload.t > 80")
}

fn problems(rules: Vec<RuleSpec>) -> Vec<(String, &'static str)> {
    let (rules, problems) = checked(rules);
    assert_eq!(rules.is_none(), !problems.is_empty());
    problems.into_iter().map(|problem| (problem.at, problem.code)).collect()
}

#[test]
fn good_rules_are_taken() {
    let texts = [("summary", "{{ device_id }} at {{ value }}: {{ labels.severity }} {{ alertname }}")];
    let rules = vec![
        hot().clear("payload.t < 75.0").held(30).label("severity", "critical").annotations(&texts),
        absence("Silent", 600).annotations(&[("summary", "{{ device_id }} since {{ timestamp }}")]),
        hot().named("Same condition"),
    ];
    let (rules, problems) = checked(rules);
    assert_eq!(problems, []);
    let rules = rules.unwrap();
    assert_eq!(rules.plan.len(), 1, "one field is read for all rules");
    assert_eq!(AlertEvaluator::describe(&rules).journal, Some(Outlet::MAIN));
}

#[test]
fn each_mistake_is_found_where_it_stands() {
    let check = |rule: RuleSpec, expect: &[(&str, &str)]| {
        let expect: Vec<_> = expect.iter().map(|(at, code)| (format!("rules[1]{at}"), *code)).collect();
        let found = problems(vec![condition("First", "payload.x > 1"), rule]);
        assert_eq!(found.iter().map(|(at, code)| (at.clone(), *code)).collect::<Vec<_>>(), expect);
    };
    check(hot().named("First"), &[(".alert", codes::DUPLICATE_NAME)]);
    check(hot().named(""), &[(".alert", codes::BAD_NAME)]);
    check(hot().named("a\nb"), &[(".alert", codes::BAD_NAME)]);
    check(hot().named(&"x".repeat(129)), &[(".alert", codes::BAD_NAME)]);
    check(RuleSpec { expr: None, ..hot() }, &[("", codes::CONDITION)]);
    let second = Some(Duration::from_secs(1).into());
    check(RuleSpec { absent_for: second, ..hot() }, &[(".absent_for", codes::CONDITION)]);
    check(absence("Silent", 0), &[(".absent_for", codes::INVALID_VALUE)]);
    check(
        absence("Silent", 1).clear("payload.t < 1").held(1),
        &[(".clear", codes::ONLY_WITH_EXPR), (".for", codes::ONLY_WITH_EXPR)],
    );
    check(hot().label("sev-erity", "x"), &[(".labels[\"sev-erity\"]", codes::BAD_LABEL)]);
    check(hot().label("1st", "x"), &[(".labels[\"1st\"]", codes::BAD_LABEL)]);
    check(hot().label("__name__", "x"), &[(".labels.__name__", codes::BAD_LABEL)]);
    check(hot().annotations(&[("", "x")]), &[(".annotations[\"\"]", codes::BAD_LABEL)]);
    check(hot().label("alertname", "x"), &[(".labels.alertname", codes::BAD_LABEL)]);
    check(absence("Silent", 1).label("a", "{{ payload.site }}"), &[(".labels.a", codes::NO_MESSAGE)]);
    check(absence("Silent", 1).label("a", "{{ value }}"), &[(".labels.a", "expr::unknown_field")]);
    check(condition("Hot", "temperature > 80"), &[(".expr", "expr::unknown_field")]);
    check(condition("Hot", "payload.t + 1"), &[(".expr", "expr::type_mismatch")]);
    check(condition("Hot", "payload.t"), &[(".expr", "expr::type_mismatch")]);
    check(hot().clear("payload.cool"), &[(".clear", "expr::type_mismatch")]);
    check(hot().clear("payload.t <").label("a", "{{ value }}"), &[(".clear", "expr::syntax")]);
    check(hot().annotations(&[("a", "{{ labels.nope }}")]), &[(".annotations.a", "expr::unknown_field")]);
    let templated = hot().label("site", "{{ payload.site }}").annotations(&[("a", "{{ labels.site }}")]);
    check(templated, &[(".annotations.a", "expr::unknown_field")]);
}

#[test]
fn all_problems_of_all_rules_are_found_at_once() {
    let rules = vec![
        condition("One", "avg(payload.t, 5m) > 70.0").clear("payload.t <").label("a b", "{{ }}"),
        RuleSpec::default(),
        hot().annotations(&[("a", "{{ nope }} {{ payload.t }} {{ nope }}")]),
    ];
    let places: Vec<String> = problems(rules).into_iter().map(|(at, _)| at).collect();
    let expect = [
        "rules[0].expr",
        "rules[0].clear",
        "rules[0].labels[\"a b\"]",
        "rules[1].alert",
        "rules[1]",
        "rules[2].annotations.a",
    ];
    let mut distinct = places.clone();
    distinct.dedup();
    assert_eq!(distinct, expect);
    assert_eq!(places.iter().filter(|at| at.ends_with("annotations.a")).count(), 2);
    assert_eq!(problems(vec![]), [("rules".to_owned(), codes::NO_RULES)]);
}

#[test]
fn a_problem_of_an_expression_says_which_bytes() {
    let rule = condition("Hot", "payload.t > 80 && tempo > 3").annotations(&[("a", "x {{ y }}")]);
    let (_, problems) = checked(vec![rule]);
    let ranges: Vec<_> = problems.iter().map(|problem| problem.range.clone()).collect();
    assert_eq!(ranges, [Some(18..23), Some(5..6)]);
    assert!(problems[0].hint.is_some());
}

#[test]
fn every_code_of_its_own_is_explained() {
    for (code, text) in EXPLANATIONS {
        assert!(code.starts_with("alert::") && text.ends_with('.'), "{code}");
    }
}

impl RuleSpec {
    fn named(self, alert: &str) -> Self {
        RuleSpec { alert: alert.to_owned(), ..self }
    }
}
