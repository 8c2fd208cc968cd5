//! Label: what an event is known by. Its bookkeeping needs the same texts as the event itself, so both hold one label.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Envelope, EventName, Timestamp};

/// What an event is known by, without its payload and what else its publisher says of it.
///
/// `key`, `flow` and `causation` are the CloudEvents extensions `partitionkey`, `correlationid` and
/// `causationid`. An empty `key` means the event has none; such events share the lane of the empty key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The business message id, unique together with `source`; never changed by retry, delay or repair.
    pub id: String,
    /// Who published it, a URI-reference.
    pub source: String,
    /// The event name, for instance `payment.completed`.
    pub name: EventName,
    /// When it happened: as the publisher says, else when the bus took it.
    pub time: Timestamp,
    /// The key that orders it; empty when it has none.
    pub key: String,
    /// The flow: the same for every event of one business run.
    pub flow: String,
    /// Id of the event whose handling emitted this one.
    pub causation: Option<String>,
}

/// An envelope's label reads as its own fields.
impl Deref for Envelope {
    type Target = Label;

    fn deref(&self) -> &Label {
        &self.label
    }
}

/// Whoever shares the label keeps it as it was.
impl DerefMut for Envelope {
    fn deref_mut(&mut self) -> &mut Label {
        Arc::make_mut(&mut self.label)
    }
}

// By hand: the journal has the fields in the order in which CloudEvents names them, not parted by who needs them.
impl Serialize for Envelope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Envelope", 13)?;
        fields.serialize_field("id", &self.id)?;
        fields.serialize_field("source", &self.source)?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("subject", &self.subject)?;
        fields.serialize_field("time", &self.time)?;
        fields.serialize_field("key", &self.key)?;
        fields.serialize_field("flow", &self.flow)?;
        fields.serialize_field("causation", &self.causation)?;
        fields.serialize_field("traceparent", &self.traceparent)?;
        fields.serialize_field("content_type", &self.content_type)?;
        fields.serialize_field("schema", &self.schema)?;
        fields.serialize_field("extensions", &self.extensions)?;
        fields.serialize_field("data", &self.data)?;
        fields.end()
    }
}

impl<'de> Deserialize<'de> for Envelope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Written::deserialize(deserializer).map(Self::from)
    }
}

/// An envelope in the order in which it is written.
#[derive(Deserialize)]
#[serde(rename = "Envelope")]
struct Written {
    id: String,
    source: String,
    name: EventName,
    subject: Option<String>,
    time: Timestamp,
    key: String,
    flow: String,
    causation: Option<String>,
    traceparent: Option<String>,
    content_type: Option<String>,
    schema: Option<String>,
    extensions: std::collections::BTreeMap<String, String>,
    data: bytes::Bytes,
}

impl From<Written> for Envelope {
    fn from(written: Written) -> Self {
        let Written { id, source, name, subject, time, key, flow, causation, .. } = written;
        let Written { traceparent, content_type, schema, extensions, data, .. } = written;
        let label = Arc::new(Label { id, source, name, time, key, flow, causation });
        Self { label, subject, traceparent, content_type, schema, extensions, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Envelope {
        let label = Label {
            id: "1".to_owned(),
            source: "/s".to_owned(),
            name: EventName::new("a.b").unwrap(),
            time: Timestamp(5),
            key: "k".to_owned(),
            flow: "f".to_owned(),
            causation: Some("c".to_owned()),
        };
        Envelope::new(label, bytes::Bytes::from_static(b"{}"))
    }

    #[test]
    fn the_journals_order_of_the_fields_never_changes() {
        let mut event = event();
        event.subject = Some("s".to_owned());
        event.content_type = Some("t".to_owned());
        event.extensions.insert("x".to_owned(), "y".to_owned());

        let written = postcard::to_stdvec(&event).unwrap();

        let expected = [
            &b"\x011\x02/s\x03a.b\x01\x01s\x05\x01k\x01f\x01\x01c"[..],
            &b"\x00\x01\x01t\x00\x01\x01x\x01y\x02{}"[..],
        ];
        assert_eq!(written, expected.concat());
        assert_eq!(postcard::from_bytes::<Envelope>(&written).unwrap(), event);
    }

    #[test]
    fn a_label_that_is_shared_is_not_changed_under_others() {
        let mut event = event();
        let shared = Arc::clone(&event.label);

        event.key = "other".to_owned();

        assert_eq!((&*shared.key, &*event.key), ("k", "other"));
    }
}
