//! From rules as written to rules proven good: every problem of every rule, each where it stands.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use telemill_engine::context::{CheckContext, FieldProblem};
use telemill_engine::topology::expr::{ExprError, Fields, Path, Program, Template, TemplateScope, Want};
use xxhash_rust::xxh3::xxh3_64;

use super::RuleSpec;
use super::evidence::Wanted;
use super::machine::Watch;
use super::rules::{Condition, Rule, Rules, key_of};

/// The stable codes of this component's problems. Those of expressions are in
/// [`telemill_engine::topology::expr::codes`].
pub mod codes {
    /// There is no rule.
    pub const NO_RULES: &str = "alert::no_rules";
    /// A name that no alert can have.
    pub const BAD_NAME: &str = "alert::bad_name";
    /// A name that another rule has.
    pub const DUPLICATE_NAME: &str = "alert::duplicate_name";
    /// Not exactly one of `expr` and `absent_for`.
    pub const CONDITION: &str = "alert::condition";
    /// A field that makes sense only beside `expr`.
    pub const ONLY_WITH_EXPR: &str = "alert::only_with_expr";
    /// A label or annotation whose name Prometheus does not take.
    pub const BAD_LABEL: &str = "alert::bad_label";
    /// The text of an absence reads a message.
    pub const NO_MESSAGE: &str = "alert::no_message";
    /// A duration that makes no sense.
    pub use telemill_engine::topology::document::codes::INVALID_VALUE;
}

/// Every code of this component with a sentence on its cause, for `telemill explain`.
pub const EXPLANATIONS: [(&str, &str); 7] = [
    (codes::NO_RULES, "An `alert_evaluator` without rules takes records and never says anything."),
    (codes::BAD_NAME, "An alert needs a name of 1 to 128 bytes without control characters."),
    (
        codes::DUPLICATE_NAME,
        "Two rules of a stage have the same name. An alert is known by its name: each device's state and the identity of \
         what is sent out go by it.",
    ),
    (
        codes::CONDITION,
        "A rule has exactly one of `expr`, a condition on a record, and `absent_for`, how long a device may be silent.",
    ),
    (
        codes::ONLY_WITH_EXPR,
        "`clear` and `for` say when a condition ends and how long it must hold. A rule with `absent_for` has no condition: \
         it ends with the next record.",
    ),
    (
        codes::BAD_LABEL,
        "Names of labels and annotations are letters, digits and `_`, and do not begin with a digit or with `__`. \
         `alertname` is set from the rule's name.",
    ),
    (
        codes::NO_MESSAGE,
        "An absence fires when there is no message, so its labels and annotations cannot print fields of one. They can \
         print `device_id`, `timestamp`, `alertname` and `labels`.",
    ),
];

/// The longest name of an alert, in bytes.
const MAX_NAME: usize = 128;

/// Checks all rules; none when there was a problem.
pub(super) fn rules(specs: &[RuleSpec], cx: &mut CheckContext<'_>) -> Option<Rules> {
    let before = cx.problems.len();
    if specs.is_empty() {
        cx.problem(
            "rules",
            codes::NO_RULES,
            "there is no rule",
            "add one, such as `{ alert: Silent, absent_for: 10m }`",
        );
    }
    let mut fields = Fields::new();
    let mut names = HashMap::new();
    let mut list = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("rules[{index}]");
        name(&at, &spec.alert, &mut names, cx);
        list.extend(Checker { at, spec, fields: &mut fields, cx }.rule());
    }
    (cx.problems.len() == before).then(|| Rules::new(fields.freeze(), list))
}

fn name<'s>(at: &str, name: &'s str, names: &mut HashMap<&'s str, String>, cx: &mut CheckContext<'_>) {
    let place = format!("{at}.alert");
    if name.trim().is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        let message = "an alert needs a name of 1 to 128 bytes without control characters";
        cx.problem(&place, codes::BAD_NAME, message, "such as `DeviceOverheating`");
    } else if let Some(first) = names.get(name) {
        let message = format!("`{first}` is named `{name}`, too");
        cx.problem(&place, codes::DUPLICATE_NAME, message, "give each rule a name of its own");
    } else {
        names.insert(name, place);
    }
}

struct Checker<'c, 'x> {
    at: String,
    spec: &'c RuleSpec,
    fields: &'c mut Fields,
    cx: &'c mut CheckContext<'x>,
}

impl Checker<'_, '_> {
    /// The rule, if it has a condition that can be compiled. What else is wrong is reported, and then nothing is made of
    /// any rule.
    fn rule(mut self) -> Option<Rule> {
        let watched = self.watched();
        let value = match &watched {
            Some((_, condition)) => condition.as_ref().and_then(|condition| condition.expr.primary_path()).cloned(),
            // A condition that is at fault may have compared something.
            None => Some(Path::default()),
        };
        let mut printed = Fields::new();
        if let Some(value) = &value {
            printed.add(value);
        }
        let none = BTreeMap::new();
        let labels = self.texts("labels", &self.spec.labels, &none, value.as_ref(), &mut printed);
        // A label that is itself made of a message has no text that could stand in another.
        let plain = |(_, text): &(&String, &String)| !text.contains("{{");
        let plain = self.spec.labels.iter().filter(plain).map(|(name, text)| (name.clone(), text.clone())).collect();
        let annotations = self.texts("annotations", &self.spec.annotations, &plain, value.as_ref(), &mut printed);
        let (watch, condition) = watched?;
        let name = self.spec.alert.clone();
        let wanted = self.wanted(printed);
        Some(Rule { key: key_of(&name), name, watch, condition, labels, annotations, wanted })
    }

    fn watched(&mut self) -> Option<(Watch, Option<Condition>)> {
        let hold = self.spec.hold.map(Duration::from).unwrap_or_default();
        match (&self.spec.expr, self.spec.absent_for.map(Duration::from)) {
            (Some(expr), None) => Some((Watch::Condition { hold }, Some(self.condition(expr)?))),
            (None, Some(after)) => {
                self.absence(after);
                Some((Watch::Absence { after }, None))
            }
            (None, None) => {
                let hint = "add `expr: payload.temperature > 80.0`, or `absent_for: 10m`";
                self.problem("", codes::CONDITION, "the rule says nothing of when the alert is active", hint);
                None
            }
            (Some(_), Some(_)) => {
                let hint = "make two rules of it";
                self.problem("absent_for", codes::CONDITION, "the rule has both `expr` and `absent_for`", hint);
                None
            }
        }
    }

    fn condition(&mut self, expr: &str) -> Option<Condition> {
        let expr = self.program("expr", expr);
        let clear = match &self.spec.clear {
            Some(clear) => self.program("clear", clear).map(Some),
            None => Some(None),
        };
        Some(Condition { expr: expr?, clear: clear? })
    }

    fn program(&mut self, field: &str, text: &str) -> Option<Program> {
        match Program::compile(text, Want::Bool, self.fields) {
            Ok(program) => Some(program),
            Err(errors) => {
                self.expression(field, errors);
                None
            }
        }
    }

    fn absence(&mut self, after: Duration) {
        if after.is_zero() {
            let message = "a device would be called silent between any two records";
            self.problem("absent_for", codes::INVALID_VALUE, message, "such as `10m`");
        }
        let hint = "leave it out: an absence ends with the next record";
        for (field, given) in [("clear", self.spec.clear.is_some()), ("for", self.spec.hold.is_some())] {
            if given {
                let message = format!("`{field}` goes with `expr`, and this rule has `absent_for`");
                self.problem(field, codes::ONLY_WITH_EXPR, &message, hint);
            }
        }
    }

    fn texts(
        &mut self,
        field: &str,
        texts: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
        value: Option<&Path>,
        printed: &mut Fields,
    ) -> Vec<(String, Template)> {
        let scope = TemplateScope { alertname: &self.spec.alert, labels, value };
        let mut compiled = Vec::new();
        for (name, text) in texts {
            let place = match is_label(name) {
                true => format!("{field}.{name}"),
                false => format!("{field}[{name:?}]"),
            };
            if !is_label(name) || name.starts_with("__") || name == "alertname" {
                let message = format!("`{name}` cannot name a label or an annotation");
                let hint = "letters, digits and `_`; not a digit or `__` first; `alertname` is set already";
                self.problem(&place, codes::BAD_LABEL, &message, hint);
            }
            let mut read = Fields::new();
            match Template::compile(text, &scope, &mut read).and_then(|_| Template::compile(text, &scope, self.fields))
            {
                Ok(template) => compiled.push((name.clone(), template)),
                Err(errors) => self.expression(&place, errors),
            }
            if !read.is_empty() && self.spec.expr.is_none() && self.spec.absent_for.is_some() {
                let message = "an absence has no message, so no field of one can be printed";
                self.problem(&place, codes::NO_MESSAGE, message, "print `device_id` or `alertname`");
            }
            for path in read.freeze().paths() {
                printed.add(path);
            }
        }
        compiled
    }

    /// What a pending alert keeps of the message that its condition held for.
    fn wanted(&mut self, printed: Fields) -> Wanted {
        let plan = printed.freeze();
        let names: Vec<String> = plan.paths().iter().map(Path::to_string).collect();
        let slots = plan.paths().iter().map(|path| self.fields.add(path)).collect();
        Wanted { shape: xxh3_64(names.join("\n").as_bytes()), slots }
    }

    fn place(&self, field: &str) -> String {
        if field.is_empty() { self.at.clone() } else { format!("{}.{field}", self.at) }
    }

    fn problem(&mut self, field: &str, code: &'static str, message: &str, hint: &str) {
        let place = self.place(field);
        self.cx.problem(place, code, message, hint);
    }

    fn expression(&mut self, field: &str, errors: Vec<ExprError>) {
        for ExprError { code, span, message, hint } in errors {
            let at = self.place(field);
            self.cx.problems.push(FieldProblem { at, range: Some(span), code, message, hint });
        }
    }
}

/// What Prometheus takes as the name of a label.
fn is_label(name: &str) -> bool {
    let word = |found: char| found.is_ascii_alphanumeric() || found == '_';
    !name.is_empty() && name.chars().all(word) && !name.starts_with(|first: char| first.is_ascii_digit())
}
