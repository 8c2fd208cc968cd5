//! Dead letters: what waits for a person, and what came of an act.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AttemptView, DeliveryStatus};

/// A dead letter.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadLetterView {
    /// Its id, for the repair calls.
    pub id: String,
    /// The event's id.
    pub event: String,
    /// The event's source.
    pub source: String,
    /// The event's name.
    pub name: String,
    /// The flow.
    pub flow: String,
    /// The subscription it failed in.
    pub subscription: String,
    /// The lane's key.
    pub key: String,
    /// Why it is dead: `attempts`, `fatal`, `undecodable`, `expired`, `crash`.
    pub reason: String,
    /// All attempts made.
    pub attempts: u32,
    /// The last error.
    pub error: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// The last attempts, with their errors.
    pub history: Vec<AttemptView>,
    /// The group of those that have failed alike.
    #[serde(default)]
    pub group: String,
    /// Whether later events of its key wait behind it.
    #[serde(default)]
    pub parks: bool,
    /// How many deliveries were put aside behind it, counted to 100,000; only when one dead letter is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// The event's data, when it is JSON; only when one dead letter is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
}

/// Dead letters of one subscription that have failed alike.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadGroupView {
    /// The group, as the list of dead letters takes it.
    pub group: String,
    /// The subscription.
    pub subscription: String,
    /// Why they are dead.
    pub reason: String,
    /// Their error; what differs from one to the next stands as `#`.
    pub message: String,
    /// How many they are.
    pub count: u64,
    /// When the first one came, RFC 3339.
    pub first: String,
    /// When the last one came, RFC 3339.
    pub last: String,
    /// The id of one of them.
    pub sample: String,
}

/// A delivery that waits behind a dead letter.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WaitingView {
    /// The event's number.
    pub seq: u64,
    /// The event's id.
    pub event: String,
    /// The event's source.
    pub source: String,
    /// The event's name.
    pub name: String,
    /// Its flow.
    pub flow: String,
    /// When it was acknowledged, RFC 3339.
    pub since: String,
}

/// What came of an act on a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RepairView {
    /// The dead letter that was.
    pub id: String,
    /// Where its delivery stands now: `ready`, `waiting`, `skipped` or `done`.
    pub status: DeliveryStatus,
    /// When it is tried again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The events that this has brought: the one that takes its place, or those emitted by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventRef>,
    /// Done by hand without any event or result: what the step emits on such an event. Whoever waits for one of
    /// these is not reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// An event by its name and its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventRef {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
}

/// Which dead letters to list: those that agree with every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct DeadLetterFilter {
    /// The subscription it failed in.
    pub subscription: Option<String>,
    /// Its flow.
    pub flow: Option<String>,
    /// The event's name.
    pub name: Option<String>,
    /// Why it is dead.
    pub reason: Option<String>,
    /// The lane's key.
    pub key: Option<String>,
    /// The event's id.
    pub event: Option<String>,
    /// The event's source.
    pub source: Option<String>,
    /// The group of those that have failed alike.
    pub group: Option<String>,
}
