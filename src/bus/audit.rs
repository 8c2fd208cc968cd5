//! Audit: what a person does is stored with the fact that says who did it and why.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::QueryError;
use super::handle::Bus;
use crate::event::Fact;
use crate::store::{Change, Receipt};

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
