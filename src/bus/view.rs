//! What the bus tells people: the bodies of DESIGN section 11, read from the store and from what runs now.

use std::collections::BTreeMap;

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

/// A subscription as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SubscriptionView {
    /// Its name.
    pub name: String,
    /// The step it runs.
    pub step: String,
    /// The patterns it listens to.
    pub on: Vec<String>,
    /// What its events' attributes must be (`where`).
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, String>,
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
    /// Events that its `where` has kept out, since the beginning; absent when there are none.
    #[serde(default, skip_serializing_if = "is_none")]
    pub filtered: u64,
    /// Replays begun so far; absent when there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replays: u32,
    /// Its breaker, while that is not closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerView>,
}

/// An event that nobody listened to, or that a filter has kept out.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnheardView {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its key; empty when it has none.
    pub key: String,
    /// Its flow.
    pub flow: String,
    /// When it was acknowledged, RFC 3339.
    pub acknowledged: String,
}

/// How many events of one name there are.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NameCount {
    /// The name.
    pub name: String,
    /// How many of the newest 1,000 bear it.
    pub events: u64,
}

/// Events that nobody listened to.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UnroutedView {
    /// The items, the newest first.
    pub items: Vec<UnheardView>,
    /// Pass it as `cursor` to get the page after this one; `null` at the end.
    pub next: Option<String>,
    /// All there were since the beginning, those included whose status has expired.
    pub total: u64,
    /// The names of the newest 1,000, the most frequent first; only with the first page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NameCount>,
}

/// What a replay does, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReplayCounts {
    /// Events looked at.
    pub looked: u64,
    /// Events that the subscription had never had: it gets them.
    pub new: u64,
    /// Events whose delivery was at rest: it is opened again.
    pub again: u64,
    /// Events whose delivery is still open: left alone.
    pub open: u64,
    /// Events whose delivery is a dead letter: left alone.
    pub dead: u64,
    /// Events whose payload is past retention: left alone.
    pub gone: u64,
}

/// A replay as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReplayView {
    /// Its id.
    pub id: String,
    /// The subscription.
    pub subscription: String,
    /// Which replay of the subscription it is, from 1.
    pub generation: u32,
    /// `running`, `done`, `stopped` or `failed`.
    pub state: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Only events acknowledged at this time or later, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only events acknowledged at this time or earlier, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Only events with such a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only events with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Number of the event that is looked at next.
    pub next: u64,
    /// Number of the last event: the newest one when the replay began.
    pub end: u64,
    /// What it came to so far.
    pub counts: ReplayCounts,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended, RFC 3339.
    pub ended: Option<String>,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_none(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
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
