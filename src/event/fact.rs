//! Facts of the bus's own: what an operator did, what the system found, as events under `tidegate.`.
//!
//! A step subscribes to them by name. Nobody can publish one from outside, and no wildcard matches one. Each
//! is a flow of its own, so that a business flow reads the same whether somebody listens or not; what it is
//! about stands in its data and, where an event was the cause, in its causation id.

use bytes::Bytes;
use serde::Serialize;

use super::{Envelope, EventName, Label, Timestamp, flow_of, identity};

/// The source of every fact.
pub const FACT_SOURCE: &str = "/tidegate";

/// Every name there is. Data always holds `by` and `reason` where a person acted.
pub const FACTS: &[&str] = &[
    "tidegate.delivery.dead",
    "tidegate.dead_letter.retried",
    "tidegate.dead_letter.skipped",
    "tidegate.dead_letter.edited",
    "tidegate.dead_letter.done",
    "tidegate.key.parked",
    "tidegate.key.resumed",
    "tidegate.subscription.paused",
    "tidegate.subscription.resumed",
    "tidegate.subscription.replayed",
    "tidegate.bus.paused",
    "tidegate.bus.resumed",
    "tidegate.breaker.opened",
    "tidegate.breaker.closed",
    "tidegate.wiring.reloaded",
    "tidegate.wiring.refused",
    "tidegate.event.cancelled",
    "tidegate.event.rescheduled",
    "tidegate.schedule.missed",
    "tidegate.flow.overdue",
    "tidegate.flow.cancelled",
    "tidegate.flow.compensated",
    "tidegate.flow.stuck",
    "tidegate.job.started",
    "tidegate.job.stopped",
    "tidegate.job.resumed",
    "tidegate.job.finished",
];

/// A fact before it has its time and its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// One of [`FACTS`].
    pub name: &'static str,
    /// What tells it from every other fact of this name: the same parts give the same id, so that a fact that
    /// is found twice is stored once.
    pub identity: Vec<String>,
    /// What orders it among its kind: mostly the subscription.
    pub key: String,
    /// What it is about: a dead letter, a subscription, a flow.
    pub subject: Option<String>,
    /// Id of the event that it came of.
    pub causation: Option<String>,
    /// JSON.
    pub data: Bytes,
}

impl Fact {
    /// A fact with its data as JSON; `None` when the name is none of [`FACTS`] or the data is no JSON.
    pub fn new(name: &'static str, identity: &[&str], data: &impl Serialize) -> Option<Self> {
        let data = serde_json::to_vec(data).ok().filter(|_| FACTS.contains(&name))?;
        Some(Self {
            name,
            identity: identity.iter().map(|part| (*part).to_owned()).collect(),
            key: String::new(),
            subject: None,
            causation: None,
            data: Bytes::from(data),
        })
    }

    /// The same fact, ordered by `key` and about `subject`.
    #[must_use]
    pub fn about(mut self, key: &str, subject: &str) -> Self {
        key.clone_into(&mut self.key);
        self.subject = Some(subject.to_owned());
        self
    }

    /// The same fact, with one more text in its data.
    #[must_use]
    pub fn with(mut self, name: &str, text: &str) -> Self {
        let read = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&self.data);
        if let Ok(mut data) = read {
            data.insert(name.to_owned(), text.into());
            self.data = serde_json::to_vec(&data).map_or(self.data, Bytes::from);
        }
        self
    }

    /// The same fact, that came of an event.
    #[must_use]
    pub fn caused_by(mut self, event: &str) -> Self {
        self.causation = Some(event.to_owned());
        self
    }

    /// The event.
    pub fn event(self, at: Timestamp) -> Option<Envelope> {
        let parts: Vec<&[u8]> = [self.name]
            .into_iter()
            .chain(self.identity.iter().map(String::as_str))
            .map(str::as_bytes)
            .collect();
        let id = identity::fact_id(&parts);
        let label = Label {
            flow: flow_of(FACT_SOURCE, &id),
            id,
            source: FACT_SOURCE.to_owned(),
            name: EventName::new(self.name).ok()?,
            time: at,
            key: self.key,
            causation: self.causation,
        };
        Some(Envelope { subject: self.subject, ..Envelope::new(label, self.data) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_a_name_of_the_bus_and_the_same_fact_the_same_id() {
        for name in FACTS {
            let made = || Fact::new(name, &["pay", "7"], &serde_json::json!({ "by": "ann" })).unwrap();
            let event = made().about("pay", "pay-7").event(Timestamp(1)).unwrap();

            assert!(event.name.is_reserved());
            assert_eq!(event.id, made().event(Timestamp(2)).unwrap().id);
            assert_ne!(event.id, Fact::new(name, &["pay7"], &()).unwrap().event(Timestamp(1)).unwrap().id);
        }
        assert_eq!(Fact::new("tidegate.unknown", &[], &()), None);
    }
}
