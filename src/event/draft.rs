//! Draft: what a publisher hands in, before the bus has filled what is missing.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{EventName, Timestamp};

/// An event on its way in. The bus assigns the id, the time, the key and the flow where they are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The business message id; `None` and the bus draws one.
    pub id: Option<String>,
    /// Who publishes it, a URI-reference.
    pub source: String,
    /// The event name.
    pub name: EventName,
    /// What it is about, within the source.
    pub subject: Option<String>,
    /// When it happened; `None` means when the bus took it.
    pub time: Option<Timestamp>,
    /// The key that orders it; `None` and the registered type's `key()` applies.
    pub key: Option<String>,
    /// The flow it belongs to; `None` and it is derived from source and id.
    pub flow: Option<String>,
    /// Id of the event that caused it.
    pub causation: Option<String>,
    /// Not to be delivered before.
    pub due: Option<Timestamp>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Media type of `data`; `None` means `application/json`.
    pub content_type: Option<String>,
    /// Absolute URI of the schema of `data`.
    pub schema: Option<String>,
    /// Every other extension attribute, in its canonical string form.
    pub extensions: BTreeMap<String, String>,
    /// The payload, untouched.
    pub data: Bytes,
}

impl Draft {
    /// The source of events that come in as plain JSON.
    pub const PLAIN_SOURCE: &'static str = "/http";

    /// An event with a JSON payload and nothing else; its source is `/http`.
    pub fn json(name: EventName, data: Bytes) -> Self {
        Self {
            id: None,
            source: Self::PLAIN_SOURCE.to_owned(),
            name,
            subject: None,
            time: None,
            key: None,
            flow: None,
            causation: None,
            due: None,
            traceparent: None,
            content_type: None,
            schema: None,
            extensions: BTreeMap::new(),
            data,
        }
    }
}
