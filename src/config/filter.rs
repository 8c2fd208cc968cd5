//! Reading `where`: the attributes that a subscription's events must have.

use toml::Value;

use super::read::Section;
use super::refusal::{Refusal, but};
use crate::event::Filter;

/// Reads `where`; what is wrong with an attribute is told at its own place.
pub(super) fn filter(section: &mut Section<'_>) -> Filter {
    let table = section.table("where");
    let mut filter = Filter::default();
    for (name, value) in table.values().into_iter().flatten() {
        let read = text(value).and_then(|value| {
            filter.clone().with(name, &value).map_err(|why| Refusal::must("left out").help(why))
        });
        match read {
            Ok(more) => filter = more,
            Err(refusal) => {
                let message = format!("`{}` must be {}", table.dotted(name), refusal.must);
                table.refuse(name, message, refusal.help.unwrap_or_default());
            }
        }
    }
    filter
}

/// A value as attributes are compared: CloudEvents' canonical text form.
fn text(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
            Err(Refusal::must(format!("a text, a whole number, true or false, {}", but(value)))
                .help("put the text that the event must have in quotes"))
        }
    }
}
