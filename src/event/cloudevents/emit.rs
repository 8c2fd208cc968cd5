//! CloudEvents out: the structured JSON format.

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::value::RawValue;

use base64::Engine as _;

use super::json::check_json;
use super::values::is_json;
use crate::event::Envelope;

/// The event in the structured JSON format.
///
/// # Guarantees
/// [`receive`](super::receive) reads back the same event; JSON data loses the white space around it, and
/// data that is neither JSON nor text travels as `data_base64`.
pub fn to_structured(event: &Envelope) -> Vec<u8> {
    // Strings, and JSON that was checked: writing them to a vector cannot fail.
    serde_json::to_vec(&Structured(event)).unwrap_or_default()
}

struct Structured<'a>(&'a Envelope);

impl Serialize for Structured<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", &event.id)?;
        map.serialize_entry("source", &event.source)?;
        map.serialize_entry("type", event.name.as_str())?;
        map.serialize_entry("time", &event.time.to_string())?;
        let optional = [
            ("subject", event.subject.as_deref()),
            ("partitionkey", Some(event.key.as_str()).filter(|key| !key.is_empty())),
            ("correlationid", Some(event.flow.as_str()).filter(|flow| !flow.is_empty())),
            ("causationid", event.causation.as_deref()),
            ("traceparent", event.traceparent.as_deref()),
            ("dataschema", event.schema.as_deref()),
            ("datacontenttype", event.content_type.as_deref()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                map.serialize_entry(name, value)?;
            }
        }
        for (name, value) in &event.extensions {
            map.serialize_entry(name, value)?;
        }
        data(event, &mut map)?;
        map.end()
    }
}

fn data<M: SerializeMap>(event: &Envelope, map: &mut M) -> Result<(), M::Error> {
    if event.data.is_empty() {
        return Ok(());
    }
    let text = std::str::from_utf8(&event.data).ok();
    if !is_json(event.content_type.as_deref()) {
        if let Some(text) = text {
            return map.serialize_entry("data", text);
        }
    } else if let Some(json) = text.and_then(raw_json) {
        return map.serialize_entry("data", json);
    }
    map.serialize_entry("data_base64", &base64::engine::general_purpose::STANDARD.encode(&event.data))
}

/// The text without the white space around it, when it is JSON that [`receive`](super::receive) takes.
fn raw_json(text: &str) -> Option<&RawValue> {
    check_json(text.as_bytes()).ok()?;
    serde_json::from_str(text.trim_ascii()).ok()
}
