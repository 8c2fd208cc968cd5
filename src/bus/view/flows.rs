//! Flows: where a business run stands, with its events, deliveries and attempts.

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
    /// It is being undone.
    Compensating,
    /// It is undone: nothing of it is in force any more.
    Compensated,
    /// It is being undone, and that cannot go on without a person.
    Stuck,
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
    /// The replay that it belongs to, counted from 1; absent when it was never replayed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// The last attempts; only in the flow's answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<AttemptView>,
    /// The lane's key, once the step has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The state that the step keeps for this key now; only in the flow's answer, and only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub key_state: Option<Box<RawValue>>,
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
    /// The key's state before it and after it; only in the flow's answer, when asked for, and of a subscription
    /// with `keep_states`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<StatesView>,
}

/// The state of a key before and after an attempt; `null` when there was none.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StatesView {
    /// Before.
    #[schema(value_type = Option<Object>)]
    pub before: Option<Box<RawValue>>,
    /// After.
    #[schema(value_type = Option<Object>)]
    pub after: Option<Box<RawValue>>,
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
    /// By when the flow should be at rest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Whether it was not at rest by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
}

/// How far a flow is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CompensationView {
    /// `compensating`, `stuck`, `compensated`, or `called_off` when an attempt that ran has passed the point of
    /// no return.
    pub state: String,
    /// Undos emitted so far.
    pub undone: u32,
    /// Undos still to be emitted.
    pub left: u32,
    /// Who wanted it; empty when no person did.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when, RFC 3339.
    pub since: String,
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
    /// Subscriptions that listen to its name and whose `where` has kept it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filtered: Vec<String>,
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
    /// How far it is undone, when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<CompensationView>,
    /// Number of the commit that changed it last.
    pub version: u64,
    /// By when it should be at rest, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Whether it was not at rest by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overdue: bool,
}

/// A schedule as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// The event that it publishes.
    pub event: String,
    /// Its cron expression.
    pub cron: String,
    /// The time zone whose clocks it goes by.
    pub zone: String,
    /// What becomes of times that nobody was there for: `once` or `skip`.
    pub missed: String,
    /// The time that it was fired for last, RFC 3339.
    pub last: Option<String>,
    /// The time that it is due next, RFC 3339.
    pub next: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
