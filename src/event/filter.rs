//! Filters: which events a subscription takes by their attributes, beside their names.

use std::collections::BTreeMap;

use super::Envelope;

/// The longest name of an attribute.
const NAME_MAX: usize = 64;

/// Attributes that an event must have, each with exactly this value.
///
/// Every attribute is compared in its canonical text form, extensions by their names. An attribute that the
/// event lacks agrees with no value. What a step emits inherits the subject of its cause and no extension, so
/// a filter on `subject` holds along a flow and one on an extension holds for events from outside: an
/// extension is a promise of who published, and the step has made a new event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(BTreeMap<String, String>);

impl std::fmt::Display for Filter {
    /// As the config writes it: `channel = "web", source = "/shop"`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, (name, value)) in self.attributes().iter().enumerate() {
            write!(f, "{}{name} = {value:?}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Filter {
    /// Adds an attribute and the value that it must have.
    ///
    /// # Errors
    /// What is wrong with the name, and what to do instead.
    pub fn with(mut self, name: &str, value: &str) -> Result<Self, String> {
        check_name(name)?;
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(self)
    }

    /// Whether it takes every event.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the event has every attribute with its value.
    pub fn takes(&self, event: &Envelope) -> bool {
        self.refuses(event).is_none()
    }

    /// The first attribute that keeps the event out, with the value that it must have.
    pub fn refuses(&self, event: &Envelope) -> Option<(&str, &str)> {
        let attributes = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        attributes.into_iter().find(|(name, value)| attribute(event, name) != Some(*value))
    }

    /// The attributes, by name.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// An attribute of an event; `None` when it has none of this name.
fn attribute<'e>(event: &'e Envelope, name: &str) -> Option<&'e str> {
    match name {
        "source" => Some(&event.source),
        "subject" => event.subject.as_deref(),
        "partitionkey" => Some(event.key.as_str()).filter(|key| !key.is_empty()),
        "datacontenttype" => Some(event.content_type.as_deref().unwrap_or("application/json")),
        "dataschema" => event.schema.as_deref(),
        extension => event.extensions.get(extension).map(String::as_str),
    }
}

/// Whether events can be told apart by this attribute.
fn check_name(name: &str) -> Result<(), String> {
    match name {
        "type" => return Err("an event's name is matched by `on`".to_owned()),
        "key" => return Err("the key is the attribute `partitionkey`".to_owned()),
        "id" | "time" | "correlationid" | "causationid" | "traceparent" | "deliverat" => {
            return Err(format!("`{name}` differs from event to event"));
        }
        "specversion" => return Err("`specversion` is the same for every event".to_owned()),
        "data" | "data_base64" => return Err("the payload is not looked into".to_owned()),
        _ => {}
    }
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if name.is_empty() || name.len() > NAME_MAX || !is_plain {
        return Err(format!(
            "an attribute's name is 1 to {NAME_MAX} lower-case letters and digits, such as `channel`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventName, Label, Timestamp};

    fn event() -> Envelope {
        let label = Label {
            id: "1".to_owned(),
            source: "/shop".to_owned(),
            name: EventName::new("order.placed").unwrap(),
            time: Timestamp(1),
            key: "k".to_owned(),
            flow: "f".to_owned(),
            causation: None,
        };
        Envelope {
            subject: Some("o1".to_owned()),
            schema: Some("https://s/1".to_owned()),
            extensions: BTreeMap::from([("channel".to_owned(), "web".to_owned())]),
            ..Envelope::new(label, bytes::Bytes::from_static(b"{}"))
        }
    }

    #[test]
    fn an_event_is_taken_when_every_attribute_agrees() {
        for (name, value, other) in [
            ("source", "/shop", "/Shop"),
            ("subject", "o1", "o"),
            ("partitionkey", "k", ""),
            ("datacontenttype", "application/json", "text/plain"),
            ("dataschema", "https://s/1", "https://s"),
            ("channel", "web", "Web"),
        ] {
            assert!(Filter::default().with(name, value).unwrap().takes(&event()), "{name}");
            let strict = Filter::default().with(name, other).unwrap().with("channel", "web").unwrap();
            let is_same = name == "channel";
            assert_eq!(strict.takes(&event()), is_same, "{name}");
        }
        let lacking = Filter::default().with("channel", "web").unwrap().with("region", "").unwrap();
        assert_eq!(lacking.refuses(&event()), Some(("region", "")));
        assert!(Filter::default().takes(&event()));
        let mut keyless = event();
        keyless.key.clear();
        assert!(!Filter::default().with("partitionkey", "").unwrap().takes(&keyless));
    }

    #[test]
    fn a_name_that_no_attribute_can_have_is_refused() {
        for name in ["id", "type", "key", "time", "data", "Channel", "sales-channel", "", "a_b"] {
            assert!(Filter::default().with(name, "x").is_err(), "{name}");
        }
    }
}
