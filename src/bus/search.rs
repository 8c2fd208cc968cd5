//! Search: finding flows and events by what a person knows of them.
//!
//! The store finds candidates; what only the bus knows (the status, which counts what runs at this moment)
//! is compared here, by the same function that answers for one flow. One call does a bounded amount of
//! work: a page may hold fewer items than were asked for, none even, and go on at its `next`.

use serde::{Deserialize, Serialize};

use super::QueryError;
use super::handle::{Bus, Inner};
use super::render::{delivery_view, flow_status, timestamp};
use super::view::{DeliveryView, FlowStatus, Page};
use crate::event::Timestamp;
use crate::store::{EventQuery, EventRecord, FlowQuery, FlowRecord, FoundEvent, FoundFlow, Seq, Standing};

/// Events of flows read for their status in one call.
const EVENTS_READ: usize = 4_000;
/// Flows looked at in one call.
const FLOWS_READ: usize = 1_000;
/// Flows asked of the store at once.
const FLOWS_AT_ONCE: usize = 64;

/// Which flows to list by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowSelection {
    /// Those of this status.
    Status(FlowStatus),
    /// Those that are not at rest, dead letters included.
    Open,
    /// Those at rest.
    Rest,
    /// Those with dead letters.
    Dead,
}

impl FlowSelection {
    /// The words for it, as they are asked for.
    pub const WORDS: [&str; 10] = [
        "accepted",
        "processing",
        "done",
        "failed",
        "compensating",
        "compensated",
        "stuck",
        "open",
        "rest",
        "dead",
    ];

    /// What a word means.
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "accepted" => Self::Status(FlowStatus::Accepted),
            "processing" => Self::Status(FlowStatus::Processing),
            "done" => Self::Status(FlowStatus::Done),
            "failed" => Self::Status(FlowStatus::Failed),
            "compensating" => Self::Status(FlowStatus::Compensating),
            "compensated" => Self::Status(FlowStatus::Compensated),
            "stuck" => Self::Status(FlowStatus::Stuck),
            "open" => Self::Open,
            "rest" => Self::Rest,
            "dead" => Self::Dead,
            _ => return None,
        })
    }

    /// The narrowest that the store can look for.
    const fn standing(self) -> Option<Standing> {
        match self {
            Self::Open | Self::Status(FlowStatus::Accepted | FlowStatus::Processing | FlowStatus::Failed) => {
                Some(Standing::Open)
            }
            Self::Rest => Some(Standing::Rest),
            Self::Dead => Some(Standing::Dead),
            // It may have a result and go on all the same.
            Self::Status(
                FlowStatus::Done | FlowStatus::Compensating | FlowStatus::Compensated | FlowStatus::Stuck,
            ) => None,
        }
    }
}

/// Which flows to list: those that agree with every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Where it stands.
    pub status: Option<FlowSelection>,
    /// The key of one of its events.
    pub key: Option<String>,
    /// The name of one of its events; with a key it is one event that has both.
    pub name: Option<String>,
    /// Its first event was acknowledged at this time or later.
    pub since: Option<Timestamp>,
    /// Its first event was acknowledged before this time.
    pub until: Option<Timestamp>,
}

/// Which events to list: those that agree with every field that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Its key.
    pub key: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its flow.
    pub flow: Option<String>,
    /// Acknowledged at this time or later.
    pub since: Option<Timestamp>,
    /// Acknowledged before this time.
    pub until: Option<Timestamp>,
}

/// An event in a list.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventSummary {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its key, empty when it has none.
    pub key: String,
    /// Its flow.
    pub flow: String,
    /// Id of the event that caused it.
    pub causation: Option<String>,
    /// Its time as its publisher says, RFC 3339.
    pub time: String,
    /// When the bus acknowledged it, RFC 3339; what `since` and `until` look at.
    pub acknowledged: String,
    /// Its deliveries, without their attempts.
    pub deliveries: Vec<DeliveryView>,
}

/// The event that began a flow.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FirstEvent {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its key, empty when it has none.
    pub key: String,
    /// When the bus acknowledged it, RFC 3339; what `since` and `until` look at.
    pub acknowledged: String,
}

/// A flow in a list.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FlowSummary {
    /// The flow id.
    pub flow: String,
    /// Where it stands.
    pub status: FlowStatus,
    /// Deliveries not at rest, dead letters included.
    pub open: u64,
    /// Dead letters.
    pub dead: u64,
    /// How many events it has.
    pub events: u64,
    /// Its first event.
    pub first: FirstEvent,
    /// When something was recorded of it last, RFC 3339.
    pub changed: String,
    /// Number of the commit that changed it last.
    pub version: u64,
}

impl Bus {
    /// A page of flows, the one that began last first.
    ///
    /// # Guarantees
    /// The status of a flow is the one that [`Bus::flow`] tells. No flow is in two pages that follow each
    /// other. The work of one call is bounded, so a page with a `next` may be short, and even empty.
    ///
    /// # Errors
    /// [`QueryError::BadCursor`].
    pub async fn search_flows(
        &self,
        filter: FlowFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<FlowSummary>, QueryError> {
        self.read(move |inner| inner.search_flows(filter, cursor.as_deref(), limit)).await
    }

    /// A page of events, the newest first.
    ///
    /// # Guarantees
    /// The work of one call is bounded, so a page with a `next` may be short, and even empty.
    ///
    /// # Errors
    /// [`QueryError::BadCursor`].
    pub async fn search_events(
        &self,
        filter: EventFilter,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<EventSummary>, QueryError> {
        self.read(move |inner| inner.search_events(filter, cursor.as_deref(), limit)).await
    }
}

impl Inner {
    fn search_events(
        &self,
        filter: EventFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<EventSummary>, QueryError> {
        let EventFilter { key, name, flow, since, until } = filter;
        let query = EventQuery { name, key, flow, since, until };
        let found = self.reader.find_events(&query, cursor.map(parse_cursor).transpose()?, limit)?;
        let items = found.items.into_iter().map(|found| self.event_summary(found)).collect();
        Ok(Page { items, next: found.next.map(cursor_text) })
    }

    fn event_summary(&self, found: FoundEvent) -> EventSummary {
        let FoundEvent { event, key } = found;
        EventSummary {
            deliveries: event.deliveries.iter().map(|d| delivery_view(self, event.seq, d, false)).collect(),
            id: event.id.clone(),
            source: event.source.clone(),
            name: event.name.to_string(),
            key,
            flow: event.flow.clone(),
            causation: event.causation.clone(),
            time: timestamp(event.time),
            acknowledged: timestamp(event.acknowledged),
        }
    }

    fn search_flows(
        &self,
        filter: FlowFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<FlowSummary>, QueryError> {
        let FlowFilter { status, key, name, since, until } = filter;
        let standing = status.and_then(FlowSelection::standing);
        // Facts are flows of their own, and the audit lists them; here only who asks for one by name.
        let wants_facts = name.as_deref().is_some_and(|name| name.starts_with("tidegate."));
        let query = FlowQuery { standing, name, key, since, until };
        let mut before = cursor.map(parse_cursor).transpose()?;
        let (mut items, mut flows, mut events) = (Vec::new(), 0, 0);
        loop {
            let asked = FLOWS_AT_ONCE.min(limit.max(1));
            let found = self.reader.find_flows(&query, before, asked)?;
            let is_short = found.items.len() < asked;
            for found in found.items {
                let place = found.place;
                let is_fact = found.first.event.name.is_reserved();
                if wants_facts || !is_fact {
                    items.extend(self.flow_summary(status, found, &mut events)?);
                }
                flows += 1;
                if items.len() >= limit || flows >= FLOWS_READ || events >= EVENTS_READ {
                    return Ok(Page { items, next: Some(cursor_text(place)) });
                }
            }
            // What the store has looked through in vain is as much as one call should do.
            if is_short || found.next.is_none() {
                return Ok(Page { items, next: found.next.map(cursor_text) });
            }
            before = found.next;
        }
    }

    /// The flow as lists show it, when it stands as is asked for; counts the events that were read.
    fn flow_summary(
        &self,
        wanted: Option<FlowSelection>,
        found: FoundFlow,
        read: &mut usize,
    ) -> Result<Option<FlowSummary>, QueryError> {
        // Of a flow that has moved on meanwhile the head is enough to pass it over.
        let seq = found.first.event.seq;
        match self.reader.flow_of(seq)? {
            Some(record) if may_be(wanted, &record) => {}
            Some(_) | None => return Ok(None),
        }
        let Some((record, events)) = self.at_one_moment(|| self.reader.flow_of(seq))? else {
            return Ok(None);
        };
        *read += events.len();
        let status = flow_status(self, &record, &events);
        let is_wanted = may_be(wanted, &record)
            && match wanted {
                Some(FlowSelection::Status(wanted)) => wanted == status,
                Some(FlowSelection::Open | FlowSelection::Rest | FlowSelection::Dead) | None => true,
            };
        let first = found.first;
        Ok(is_wanted.then(|| FlowSummary {
            status,
            open: record.open,
            dead: record.dead,
            events: record.events.len() as u64,
            changed: timestamp(changed(&record, &events).max(first.event.acknowledged)),
            version: record.commit.0,
            flow: found.flow,
            first: FirstEvent {
                id: first.event.id.clone(),
                source: first.event.source.clone(),
                name: first.event.name.to_string(),
                key: first.key,
                acknowledged: timestamp(first.event.acknowledged),
            },
        }))
    }
}

/// Whether a flow may stand as is asked for, by its head alone.
fn may_be(wanted: Option<FlowSelection>, flow: &FlowRecord) -> bool {
    let is_done = flow.result.is_some() || flow.open == 0;
    match wanted {
        None => true,
        Some(FlowSelection::Open) => flow.open > 0,
        Some(FlowSelection::Rest) => flow.open == 0,
        Some(FlowSelection::Dead) => flow.dead > 0,
        Some(FlowSelection::Status(FlowStatus::Done)) => is_done,
        Some(FlowSelection::Status(
            FlowStatus::Compensating | FlowStatus::Compensated | FlowStatus::Stuck,
        )) => flow.compensation.is_some(),
        Some(FlowSelection::Status(FlowStatus::Accepted | FlowStatus::Processing | FlowStatus::Failed)) => {
            !is_done
        }
    }
}

/// When something was recorded last: an event, or what came of an attempt.
fn changed(flow: &FlowRecord, events: &[EventRecord]) -> Timestamp {
    let stored = events.iter().map(|event| event.acknowledged);
    let deliveries = events.iter().flat_map(|event| &event.deliveries);
    let attempts = deliveries.filter_map(|delivery| delivery.history.last()).map(|attempt| attempt.at);
    stored.chain(attempts).chain(flow.rest_since).max().unwrap_or_default()
}

fn cursor_text(at: Seq) -> String {
    at.0.to_string()
}

fn parse_cursor(cursor: &str) -> Result<Seq, QueryError> {
    cursor.parse().map(Seq).map_err(|_| QueryError::BadCursor { cursor: cursor.to_owned() })
}
