//! What the bus tells people: the bodies of DESIGN section 11, read from the store and from what runs now.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Where a flow stands, seen from one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowStatus {
    /// No delivery has started.
    Accepted,
    /// At least one delivery has started, and something can still move by itself.
    Processing,
    /// A step has resolved the result, or all is at rest without a dead letter.
    Done,
    /// Nothing can move without a person, and nothing was resolved.
    Failed,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Waits for its turn.
    Ready,
    /// An attempt runs.
    Inflight,
    /// Waits for a retry, a rate, a delay.
    Waiting,
    /// Waits behind a dead letter of its key.
    Parked,
    /// Handled.
    Done,
    /// Skipped by the step or by a person.
    Skipped,
    /// Failed for good; waits for a person.
    Dead,
}

/// One delivery of an event.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// The subscription.
    pub subscription: String,
    /// Where it stands.
    pub state: DeliveryStatus,
    /// Attempts so far, the running one included.
    pub attempts: u32,
    /// The last error.
    pub error: Option<String>,
    /// When it is tried again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// What the step said of its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The last attempts; only in the flow's answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptView>,
}

/// One attempt of a delivery.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// Number of the commit that recorded it.
    pub commit: u64,
    /// When it was recorded, RFC 3339.
    pub at: String,
    /// What came of it.
    pub outcome: String,
    /// The error or the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Milliseconds it waited.
    pub waited_ms: u64,
    /// Milliseconds it ran.
    pub ran_ms: u64,
}

/// The answer to a poll: where the event's flow stands.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatusView {
    /// The event's id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its flow.
    pub flow: String,
    /// Where the flow stands.
    pub status: FlowStatus,
    /// The flow's result, once a step has resolved it.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Box<RawValue>>,
    /// Deliveries of the flow that are not at rest, dead letters included.
    pub open: u64,
    /// Dead letters of the flow.
    pub dead: u64,
    /// The deliveries of this event.
    pub deliveries: Vec<DeliveryView>,
    /// Number of the commit that changed the flow last; grows with every change.
    pub version: u64,
}

/// One event of a flow.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FlowEventView {
    /// Number of the commit that stored it.
    pub commit: u64,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Id of the event that caused it.
    pub causation: Option<String>,
    /// Its time, RFC 3339.
    pub time: String,
    /// Its deliveries.
    pub deliveries: Vec<DeliveryView>,
}

/// A flow with everything that happened in it.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FlowView {
    /// The flow id.
    pub flow: String,
    /// Where it stands.
    pub status: FlowStatus,
    /// Its result.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Box<RawValue>>,
    /// Deliveries not at rest, dead letters included.
    pub open: u64,
    /// Dead letters.
    pub dead: u64,
    /// Its events in the order of acknowledgement.
    pub events: Vec<FlowEventView>,
    /// Subscriptions that its open deliveries may still reach, by the wiring and the steps' emits.
    pub pending: Vec<String>,
    /// Number of the commit that changed it last.
    pub version: u64,
}

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
}

/// A subscription as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriptionView {
    /// Its name.
    pub name: String,
    /// The step it runs.
    pub step: String,
    /// The patterns it listens to.
    pub on: Vec<String>,
    /// `running`, `paused`, `orphaned` or `broken`.
    pub state: String,
    /// Deliveries not settled, dead letters left out.
    pub backlog: u64,
    /// Attempts running now.
    pub inflight: u64,
    /// Dead letters.
    pub dead: u64,
    /// Age of the oldest delivery of the backlog in seconds.
    pub oldest_seconds: u64,
    /// Its breaker, while that is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerView>,
}

/// A breaker that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BreakerView {
    /// `open`: nothing starts. `half_open`: one attempt decides.
    pub state: String,
    /// When one attempt tries, RFC 3339; only while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// The whole bus as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BusView {
    /// `running`, `paused` (events are taken, nothing starts), `draining` (the process ends) or `broken`.
    pub state: String,
    /// Attempts running now, of all subscriptions.
    pub inflight: u64,
    /// Deliveries not settled, dead letters left out.
    pub backlog: u64,
    /// Dead letters.
    pub dead: u64,
    /// Who has paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is paused, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// A key of a subscription that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ParkedKeyView {
    /// The subscription.
    pub subscription: String,
    /// The key; it may be empty.
    pub key: String,
    /// A person has parked it.
    pub by_hand: bool,
    /// The dead letter that it waits behind, the first of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// Who has parked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Deliveries that wait, as far as the subscription has come to them; counted up to 10,000.
    pub waiting: u64,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Pass it as `cursor` to get the page after this one; `null` at the end.
    pub next: Option<String>,
}

/// Which dead letters to list: those that agree with every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
}
