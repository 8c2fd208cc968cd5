//! Queries: what is looked for among events and flows, and what is found.

use super::{EventRecord, Seq};
use crate::event::Timestamp;

/// Which events: those that agree with everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Its name.
    pub name: Option<String>,
    /// Its key; the empty one finds those without a key, by looking at all of them.
    pub key: Option<String>,
    /// Its flow.
    pub flow: Option<String>,
    /// Acknowledged at this time or later.
    pub since: Option<Timestamp>,
    /// Acknowledged before this time.
    pub until: Option<Timestamp>,
}

/// Which flows: those that agree with everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowQuery {
    /// Where it stands.
    pub standing: Option<Standing>,
    /// The name of one of its events. With a key it is one event that has both.
    pub name: Option<String>,
    /// The key of one of its events.
    pub key: Option<String>,
    /// Its first event was acknowledged at this time or later.
    pub since: Option<Timestamp>,
    /// Its first event was acknowledged before this time.
    pub until: Option<Timestamp>,
}

/// Where a flow stands, as far as its head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Something of it is open, dead letters included.
    Open,
    /// Nothing of it is open.
    Rest,
    /// It has dead letters.
    Dead,
}

/// A part of what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// What was found, the newest first.
    pub items: Vec<T>,
    /// Where to go on (`before` of the next call); `None` when there is no more.
    pub next: Option<Seq>,
}

/// An event that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEvent {
    /// Its bookkeeping.
    pub event: EventRecord,
    /// Its key, empty when it has none.
    pub key: String,
}

/// A flow that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFlow {
    /// Its id.
    pub flow: String,
    /// The event that stands for its place in the list; with it as `before` the list goes on behind the flow.
    pub place: Seq,
    /// Its first event that is still known.
    pub first: FoundEvent,
}
