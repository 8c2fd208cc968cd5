//! Audit: what a person does is stored with the fact that says who did it and why.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::QueryError;
use super::handle::{Bus, Inner};
use super::render::dead_letter_id;
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

/// A dead letter that a person acts on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter<'a> {
    pub(super) letter: &'a DeadLetter,
    /// The name of its subscription.
    pub(super) subscription: &'a str,
    /// The job that acts for the person.
    pub(super) job: Option<&'a str>,
}

impl Inner {
    /// The facts that tell of a retry or a skip: the act, and the key that goes on when nothing else holds it.
    pub(super) fn letter_facts(
        &self,
        about: &Letter<'_>,
        is_retry: bool,
        operator: &Operator,
    ) -> Result<Vec<Routed>, StoreError> {
        let letter = about.letter;
        let name = if is_retry { "tidegate.dead_letter.retried" } else { "tidegate.dead_letter.skipped" };
        let after = if is_retry { "ready" } else { "skipped" };
        let id = dead_letter_id(about.subscription, letter.seq);
        let data = serde_json::json!({
            "dead_letter": id,
            "subscription": about.subscription,
            "event": letter.event.id,
            "source": letter.event.source,
            "name": letter.event.name,
            "flow": letter.event.flow,
            "key": letter.key,
            "error": letter.error,
            "job": about.job,
            "before": "dead",
            "after": after,
        });
        let now = self.clock.now();
        let fact = |name| {
            let fact = operator.fact(name, &id, data.clone())?;
            self.routing.fact(fact.caused_by(&letter.event.id), now)
        };
        // Two are enough to know that it is not alone.
        let blockers = self.reader.blockers(letter.subscription, &letter.key, 2)?;
        let resumes = letter.parks && blockers == [letter.ordinal];
        let resumed = if resumes { fact("tidegate.key.resumed") } else { None };
        Ok(fact(name).into_iter().chain(resumed).collect())
    }
}

impl Bus {
    /// Makes a change durable together with the fact that tells of it. `then` as for [`Bus::act`].
    pub(super) async fn act_and_tell(
        &self,
        change: Change,
        fact: Option<Fact>,
        then: impl FnOnce(&Receipt) + Send + 'static,
    ) -> Result<Receipt, QueryError> {
        let facts = fact.and_then(|fact| self.0.routing.fact(fact, self.0.clock.now())).into_iter().collect();
        self.act(Change::With { change: Box::new(change), facts }, then).await
    }
}
