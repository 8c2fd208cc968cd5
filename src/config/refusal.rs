//! Why a value is refused.

use toml::Value;

/// Why a value is refused: what it must be, and how to write it.
pub(super) struct Refusal {
    /// What the key must be, and what stands there instead.
    pub(super) must: String,
    /// How to write it.
    pub(super) help: Option<String>,
}

impl Refusal {
    /// `key` must be `must`.
    pub(super) fn must(must: impl Into<String>) -> Self {
        Self { must: must.into(), help: None }
    }

    /// Adds how to write it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// `not …`: what stands there instead.
pub(super) fn but(value: &Value) -> String {
    match value {
        Value::String(text) => format!("not \"{text}\""),
        Value::Integer(number) => format!("not the number {number}"),
        Value::Float(number) => format!("not the number {number}"),
        Value::Boolean(truth) => format!("not {truth}"),
        Value::Datetime(time) => format!("not the time {time}"),
        Value::Array(_) => "not a list".to_owned(),
        Value::Table(_) => "not a table".to_owned(),
    }
}
