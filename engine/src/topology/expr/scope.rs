//! The names that an expression can use.
//!
//! A rule sees the message. The templates of its annotations see the rule as well: its name, its labels, and the value
//! that it compares.

use std::collections::BTreeMap;

use super::paths::Path;
use super::types::Type;

/// What the templates of one alert rule can name besides the message.
#[derive(Debug, Clone, Copy)]
pub struct TemplateScope<'a> {
    /// `{{ alertname }}`
    pub alertname: &'a str,
    /// `{{ labels.severity }}`
    pub labels: &'a BTreeMap<String, String>,
    /// `{{ value }}`: the field that the rule compares, [`Program::primary_path`](super::Program::primary_path); none
    /// if it compares none, and then `{{ value }}` is an error.
    pub value: Option<&'a Path>,
}

/// The names of one place where expressions are written.
pub(super) struct Scope<'a> {
    template: Option<TemplateScope<'a>>,
}

/// What a name means.
pub(super) enum Name<'a> {
    Field(Path),
    Input(Input),
    Text(&'a str),
    Labels(&'a BTreeMap<String, String>),
    /// `value` in the template of a rule that compares no field.
    NoValue,
}

/// What comes with every record, beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    DeviceId,
    Kind,
    Timestamp,
}

impl Input {
    pub(super) fn kind(self) -> Type {
        match self {
            Self::DeviceId | Self::Kind => Type::String,
            Self::Timestamp => Type::Int,
        }
    }
}

const RULE_NAMES: [&str; 4] = ["payload", "device_id", "kind", "timestamp"];
const TEMPLATE_NAMES: [&str; 3] = ["value", "labels", "alertname"];

impl<'a> Scope<'a> {
    pub(super) fn rule() -> Self {
        Self { template: None }
    }

    pub(super) fn template(template: TemplateScope<'a>) -> Self {
        Self {
            template: Some(template),
        }
    }

    pub(super) fn resolve(&self, name: &str) -> Option<Name<'a>> {
        match name {
            "payload" => return Some(Name::Field(Path::default())),
            "device_id" => return Some(Name::Input(Input::DeviceId)),
            "kind" => return Some(Name::Input(Input::Kind)),
            "timestamp" => return Some(Name::Input(Input::Timestamp)),
            _ => {}
        }
        let template = self.template.as_ref()?;
        match name {
            "value" => Some(
                template
                    .value
                    .map_or(Name::NoValue, |path| Name::Field(path.clone())),
            ),
            "labels" => Some(Name::Labels(template.labels)),
            "alertname" => Some(Name::Text(template.alertname)),
            _ => None,
        }
    }

    /// All names, for hints.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        let more: &[&str] = match self.template {
            Some(_) => &TEMPLATE_NAMES,
            None => &[],
        };
        RULE_NAMES.iter().chain(more).copied()
    }
}
