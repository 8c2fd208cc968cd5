//! Event: the envelope that travels through the bus.
//!
//! An event is an immutable fact with a name, an id that is unique with its source, an optional key
//! that orders it, the flow it belongs to and the event that caused it. The words and the attribute
//! names are those of CloudEvents 1.0. The payload is kept as the bytes that came in; no room below
//! the steps parses it.
//!
//! This room knows no store, no step and no HTTP.

pub mod cloudevents;
mod draft;
mod drawn;
mod expiry;
mod fact;
mod filter;
mod identity;
mod label;
mod name;
mod pattern;
mod span;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use draft::Draft;
pub use drawn::{draw_after, drawn_id, drawn_token};
pub use expiry::{EXPIRY, parse_expiry};
pub use fact::{FACT_SOURCE, FACTS, Fact};
pub use filter::Filter;
pub(crate) use identity::hex;
pub use identity::{
    Digests, Fingerprint, Identity, edited_id, effect_key, emitted_id, emitted_id_of, flow_of,
};
pub use label::Label;
pub use name::{EventName, NAME_MAX, NameError};
pub use pattern::{Pattern, PatternError, PatternSet};
pub use span::parse_span;

/// Milliseconds since the Unix epoch, UTC, as the bus clock tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time `millis` milliseconds later; saturates at the end of time.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The time `by` later, to the millisecond, rounded down.
    #[must_use]
    pub fn plus(self, by: std::time::Duration) -> Self {
        self.plus_millis(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds from `earlier` to this time, zero when `earlier` is later.
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, as CloudEvents `time` wants it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

/// The extension that marks what belongs to the undoing of a flow: an undo, and whatever is emitted on it.
/// Nobody can publish it from outside.
pub const COMPENSATION: &str = "tidegatecompensation";

/// One event with everything that travels with it. The fields of its label read as its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What it is known by; shared with its bookkeeping.
    pub label: Arc<Label>,
    /// What it is about, within the source.
    pub subject: Option<String>,
    /// W3C trace context of the publisher.
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

impl Envelope {
    /// An event of which nothing is said but this: a payload of JSON without any optional attribute.
    pub fn new(label: Label, data: Bytes) -> Self {
        Self {
            label: Arc::new(label),
            subject: None,
            traceparent: None,
            content_type: None,
            schema: None,
            extensions: BTreeMap::new(),
            data,
        }
    }

    /// Source and id together: what makes the event unique.
    pub fn identity(&self) -> Identity {
        Identity::of(&self.source, &self.id)
    }

    /// Whether its flow is named after it: it was published without a `correlationid`. Mostly it has begun that flow.
    pub fn names_its_flow(&self) -> bool {
        self.flow == flow_of(&self.source, &self.id)
    }

    /// Whether it belongs to the undoing of its flow: it bears [`COMPENSATION`].
    pub fn is_undo(&self) -> bool {
        self.extensions.contains_key(COMPENSATION)
    }

    /// Digest of what makes two publications of one id the same: name, key, subject, media type and
    /// data bytes. Time and trace do not count (DESIGN 11).
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self)
    }
}
