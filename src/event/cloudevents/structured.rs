//! Structured mode and batches: the JSON event format.
//!
//! The members of the event are cut apart but not decoded; only attribute values are. `data` stays the
//! bytes it came as, a part of the body without a copy.

use std::borrow::Cow;

use base64::Engine as _;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::attributes::{Attributes, Place, TWICE};
use super::json::{check_depth, not_json};
use super::values::is_json;
use super::{Class, Problem, Refusal};
use crate::event::Draft;

/// The most members an event may have: every attribute, every extension, and some that are wrong.
const MEMBERS_MAX: usize = 256;

/// Reads a body that is one event.
pub(super) fn one(body: &Bytes) -> Result<Draft, Refusal> {
    let text = body_text(body)?;
    let event: &RawValue = serde_json::from_str(text).map_err(|e| malformed_body(&e))?;
    event_of(event, body, String::new()).map_err(Refusal::malformed)
}

/// Reads a body that is an array of events.
pub(super) fn batch(body: &Bytes, batch_max: usize) -> Result<Vec<Draft>, Refusal> {
    let text = body_text(body)?;
    let events: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| malformed_body(&e))?;
    if events.len() > batch_max {
        let detail =
            format!("the batch holds {} events; at most {batch_max} are taken at once", events.len());
        return Err(Refusal::new(Class::TooMany, "", detail));
    }
    let mut drafts = Vec::with_capacity(events.len());
    let mut problems = Vec::new();
    for (index, event) in events.into_iter().enumerate() {
        match event_of(event, body, format!("/{index}")) {
            Ok(draft) => drafts.push(draft),
            Err(found) => problems.extend(found),
        }
        if problems.len() >= super::PROBLEMS_MAX {
            break;
        }
    }
    if problems.is_empty() { Ok(drafts) } else { Err(Refusal::malformed(problems)) }
}

fn body_text(body: &Bytes) -> Result<&str, Refusal> {
    std::str::from_utf8(body).map_err(|e| {
        Refusal::new(Class::Malformed, "", format!("the body is not UTF-8 at byte {}", e.valid_up_to()))
    })
}

fn malformed_body(error: &serde_json::Error) -> Refusal {
    Refusal::new(Class::Malformed, "", format!("the body {}", not_json(error)))
}

fn event_of(event: &RawValue, body: &Bytes, pointer: String) -> Result<Draft, Vec<Problem>> {
    let members: Members<'_> = match serde_json::from_str(event.get()) {
        Ok(members) => members,
        Err(error) => return Err(vec![Problem { pointer, detail: format!("is no event: {error}") }]),
    };
    let mut attributes = Attributes::new(Place::Members(pointer));
    let (mut data, mut encoded) = (None, None);
    for (name, value) in members.0 {
        match &*name {
            "data" if data.replace(value).is_some() => attributes.refuse("data", TWICE),
            "data_base64" if encoded.replace(value).is_some() => {
                attributes.refuse("data_base64", TWICE);
            }
            "data" | "data_base64" => {}
            name => set(&mut attributes, name, value),
        }
    }
    let encoded = encoded.filter(|value| value.get() != "null");
    let data = match (data.filter(|value| encoded.is_none() || value.get() != "null"), encoded) {
        (None, None) => Ok(Bytes::new()),
        (Some(data), None) => plain_data(data, body, attributes.content_type()).map_err(|e| ("data", e)),
        (None, Some(encoded)) => decode(encoded).map_err(|e| ("data_base64", e)),
        (Some(_), Some(_)) => {
            Err(("data", "stands beside `data_base64`; an event has one of them".to_owned()))
        }
    };
    match data {
        Ok(data) => attributes.finish(data),
        Err((name, detail)) => {
            attributes.refuse(name, detail);
            attributes.finish(Bytes::new())
        }
    }
}

/// Takes an attribute: a string, or for an extension also an integer or a boolean; `null` means unset.
fn set(attributes: &mut Attributes, name: &str, value: &RawValue) {
    const CORE: [&str; 8] =
        ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];
    let text = value.get();
    let is_core = CORE.contains(&name);
    match text.as_bytes().first() {
        Some(b'n') => {}
        Some(b'"') => match serde_json::from_str(text) {
            Ok(value) => attributes.set(name, value),
            Err(error) => attributes.refuse(name, not_json(&error)),
        },
        _ if is_core => attributes.refuse(name, "is not a string"),
        Some(b't' | b'f') => attributes.set(name, text.to_owned()),
        Some(b'{' | b'[') => attributes.refuse(name, "is neither a string nor an integer nor a boolean"),
        _ => match text.parse::<i32>() {
            Ok(number) => attributes.set(name, number.to_string()),
            Err(_) => attributes.refuse(name, "is no integer of 32 bits; write it as a string"),
        },
    }
}

/// `data`: JSON as it stands, or the text of a string when its media type is not JSON.
fn plain_data(value: &RawValue, body: &Bytes, content_type: Option<&str>) -> Result<Bytes, String> {
    let text = value.get();
    if is_json(content_type) {
        check_depth(text.as_bytes())?;
        return Ok(body.slice_ref(text.as_bytes()));
    }
    match text.as_bytes().first() {
        Some(b'n') => Ok(Bytes::new()),
        Some(b'"') => serde_json::from_str::<String>(text).map(Bytes::from).map_err(|e| not_json(&e)),
        _ => {
            Err("is no string, though `datacontenttype` is not JSON; use a string or `data_base64`"
                .to_owned())
        }
    }
}

fn decode(value: &RawValue) -> Result<Bytes, String> {
    let text: Cow<'_, str> = serde_json::from_str(value.get()).map_err(|_| "is not a string".to_owned())?;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text.as_bytes());
    decoded.map(Bytes::from).map_err(|error| format!("is no base64: {error}"))
}

/// The members of an object in their order, values not decoded.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize, PartialEq, Eq)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with the attributes of an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(12);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                    if members.len() > MEMBERS_MAX {
                        return Err(serde::de::Error::custom(format_args!("over {MEMBERS_MAX} members")));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
