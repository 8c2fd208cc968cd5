//! Audit: what a person does is stored with the fact that says who did it and why.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::QueryError;
use super::handle::{Bus, Inner};
use crate::event::Fact;
use crate::store::{Change, DeadLetter, Receipt, Routed, StoreError};

/// Who acts, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Operator {
    /// As they say themselves; empty when they do not.
    pub by: String,
    /// In their words; may be empty.
    pub reason: String,
}

impl Operator {
    /// The fact that tells of an act. `data` is a JSON object, to which `by` and `reason` are added.
    pub(super) fn fact(&self, name: &'static str, about: &str, data: Value) -> Option<Fact> {
        let mut all = match data {
            Value::Object(map) => map,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        };
        all.insert("by".to_owned(), Value::String(self.by.clone()));
        all.insert("reason".to_owned(), Value::String(self.reason.clone()));
        // Each act is one of its own, whatever was done before.
        let act = Uuid::now_v7().to_string();
        Fact::new(name, &[&act], &all).map(|fact| fact.about(about, about))
    }
}

impl Inner {
    /// Facts on their way to those who hear them.
    pub(super) fn routed(&self, facts: impl IntoIterator<Item = Fact>) -> Vec<Routed> {
        let now = self.clock.now();
        facts.into_iter().filter_map(|fact| self.routing.fact(fact, now)).collect()
    }

    /// The fact that the key of a dead letter goes on when the letter is repaired; `None` when something else
    /// holds it up.
    pub(super) fn resumed(
        &self,
        letter: &DeadLetter,
        id: &str,
        operator: &Operator,
    ) -> Result<Option<Fact>, StoreError> {
        // Two are enough to know that it is not alone.
        let holders = self.reader.holders(letter.subscription, &letter.key, 2)?;
        if !letter.parks || !matches!(holders.as_slice(), [only] if only.ordinal == letter.ordinal) {
            return Ok(None);
        }
        let subscription = self.name_of(letter.subscription);
        let data = serde_json::json!({
            "subscription": subscription,
            "key": letter.key,
            "dead_letter": id,
            "event": letter.event.id,
            "source": letter.event.source,
            "flow": letter.event.flow,
            "before": "parked",
            "after": "running",
        });
        let fact = operator.fact("tidegate.key.resumed", id, data);
        Ok(fact.map(|fact| fact.about(&subscription, id).caused_by(&letter.event.id)))
    }
}

impl Bus {
    /// Makes a change durable together with the facts that tell of it. `then` as for [`Bus::act`].
    pub(super) async fn act_and_tell(
        &self,
        change: Change,
        facts: impl IntoIterator<Item = Fact>,
        then: impl FnOnce(&Receipt) + Send + 'static,
    ) -> Result<Receipt, QueryError> {
        let facts = self.0.routed(facts);
        self.act(Change::With { change: Box::new(change), facts }, then).await
    }
}
