//! The desk: subscriptions, keys, the whole bus, replays, and what nobody heard.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_none(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
