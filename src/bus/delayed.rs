//! Delayed events: what a person does about one that is not due yet.

use serde_json::json;

use super::handle::Bus;
use super::query::applied;
use super::view::StatusView;
use super::{Operator, QueryError};
use crate::event::{Identity, Timestamp};
use crate::store::{Change, Lookup, Receipt, Seq};

impl Bus {
    /// Takes a delayed event back: nobody gets it, and its flow goes on without it.
    ///
    /// # Errors
    /// [`QueryError::NotFound`], [`QueryError::Gone`]; [`QueryError::Refused`] when it is not delayed any more.
    pub async fn cancel(&self, source: &str, id: &str, operator: Operator) -> Result<StatusView, QueryError> {
        self.move_delayed(source, id, None, operator).await
    }

    /// Moves a delayed event to another time; one that has passed means at once.
    ///
    /// # Errors
    /// As [`Bus::cancel`].
    pub async fn reschedule(
        &self,
        source: &str,
        id: &str,
        due: Timestamp,
        operator: Operator,
    ) -> Result<StatusView, QueryError> {
        self.move_delayed(source, id, Some(due), operator).await
    }

    /// The time that is `by` from now, by the clock of the bus.
    pub fn after(&self, by: std::time::Duration) -> Timestamp {
        self.0.clock.now().plus(by)
    }

    async fn move_delayed(
        &self,
        source: &str,
        id: &str,
        due: Option<Timestamp>,
        operator: Operator,
    ) -> Result<StatusView, QueryError> {
        let (seq, flow) = self.delayed_event(source, id).await?;
        let name = if due.is_some() { "tidegate.event.rescheduled" } else { "tidegate.event.cancelled" };
        let data = match due {
            None => json!({ "event": id, "source": source, "flow": flow }),
            Some(due) => json!({ "event": id, "source": source, "flow": flow, "due": due.to_string() }),
        };
        let fact = operator.fact(name, id, data).map(|fact| fact.caused_by(id));
        let change = Change::Reschedule { seq, due, reason: operator.reason };
        let bell = self.0.delays.clone();
        let tell = move |receipt: &Receipt| {
            if let Some(due) = due.filter(|_| applied(receipt)) {
                bell.expect(due);
            }
        };
        let receipt = self.act_and_tell(change, fact, tell).await?;
        if !applied(&receipt) {
            let why =
                format!("event {id:?} of source {source:?} is not delayed, it was released or taken back");
            return Err(QueryError::Refused { why });
        }
        self.status(source, id).await
    }

    async fn delayed_event(&self, source: &str, id: &str) -> Result<(Seq, String), QueryError> {
        let what = format!("event {id:?} of source {source:?}");
        let identity = Identity::of(source, id);
        self.read(move |inner| {
            let seq = match inner.reader.find(identity)? {
                Lookup::Known(seq) => seq,
                Lookup::Forgotten => return Err(QueryError::Gone { what }),
                Lookup::Unknown => return Err(QueryError::NotFound { what }),
            };
            let event = inner.reader.event(seq)?;
            event.map(|event| (seq, event.flow.clone())).ok_or(QueryError::Gone { what })
        })
        .await
    }
}
