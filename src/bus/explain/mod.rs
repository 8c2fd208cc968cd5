//! Explain: why an event does not move, in one sentence, with the facts it stands on.
//!
//! Each delivery has one cause: the first thing in its way, looked for in the order in which a person would
//! have to remove it. What is open of the flow's other events is explained as well. The sentence is that of the
//! delivery which needs a person most.

mod cause;
mod delivery;

use serde_json::json;

use super::handle::{Bus, Inner};
use super::render::flow_status;
use super::view::FlowStatus;
use super::{PublishError, QueryError, Readiness};
use crate::event::Identity;
use crate::store::{DeliveryRecord, DeliveryState, EventRecord, Lookup};

pub use cause::{Cause, CauseView, EventOf};

use cause::reason;

/// Open deliveries of the flow's other events that are explained as well.
const DOWNSTREAM_MAX: usize = 20;

/// Why an event stands where it stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ExplainView {
    /// The event's id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name; empty when the bus does not have it.
    pub name: String,
    /// Its flow; empty when the bus does not have it.
    pub flow: String,
    /// Where the flow stands; `null` when the bus does not have it.
    pub status: Option<FlowStatus>,
    /// The cause that needs a person most, in one sentence.
    pub sentence: String,
    /// One cause for each delivery of the event, and for what is open of the events that it led to; the one that
    /// needs a person most first.
    pub causes: Vec<CauseView>,
}

impl Bus {
    /// Why an event does not move, or that it has.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] when the bus does not have it and would take it now; when it would not, that is
    /// the answer. [`QueryError::Gone`] when its status has outlived its time to live.
    pub async fn explain(&self, source: &str, id: &str) -> Result<ExplainView, QueryError> {
        let (source, id) = (source.to_owned(), id.to_owned());
        self.read(move |inner| inner.explain(&source, &id)).await
    }
}

impl Inner {
    fn explain(&self, source: &str, id: &str) -> Result<ExplainView, QueryError> {
        let what = || format!("event {id:?} of source {source:?}");
        let seq = match self.reader.find(Identity::of(source, id))? {
            Lookup::Known(seq) => seq,
            Lookup::Forgotten => return Err(QueryError::Gone { what: what() }),
            Lookup::Unknown => {
                let refusal = self.refusal().ok_or_else(|| QueryError::NotFound { what: what() })?;
                return Ok(not_here(source, id, refusal));
            }
        };
        let event = self.reader.event(seq)?.ok_or_else(|| QueryError::Gone { what: what() })?;
        let flow = self.reader.flow_of(event.seq)?.ok_or_else(|| QueryError::Gone { what: what() })?;
        let events: Vec<EventRecord> =
            flow.events.iter().filter_map(|seq| self.reader.event(*seq).ok().flatten()).collect();
        let mut causes = Vec::with_capacity(event.deliveries.len());
        for delivery in &event.deliveries {
            causes.push(self.explain_delivery(&event, delivery)?);
        }
        causes.extend(self.explain_filtered(&event));
        if causes.is_empty() {
            causes.push(reason(
                Cause::Unrouted,
                None,
                format!("nobody listened to `{}` when it was acknowledged", event.name),
                json!({ "name": event.name.as_str() }),
            ));
        }
        causes.extend(self.explain_downstream(&event, &events)?);
        causes.sort_by_key(|cause| cause.cause);
        Ok(ExplainView {
            status: Some(flow_status(self, &flow, &events)),
            sentence: causes.first().map(|cause| cause.sentence.clone()).unwrap_or_default(),
            causes,
            id: event.id.clone(),
            source: event.source.clone(),
            name: event.name.to_string(),
            flow: event.flow.clone(),
        })
    }

    /// What is open of the flow beside the event: who asks about the order that was published wants to know of the
    /// payment that it led to.
    fn explain_downstream(
        &self,
        event: &EventRecord,
        events: &[EventRecord],
    ) -> Result<Vec<CauseView>, QueryError> {
        let mut causes = Vec::new();
        for other in events.iter().filter(|other| other.seq != event.seq) {
            let is_open =
                |d: &&DeliveryRecord| !matches!(d.state, DeliveryState::Done | DeliveryState::Skipped);
            for delivery in other.deliveries.iter().filter(is_open) {
                if causes.len() == DOWNSTREAM_MAX {
                    return Ok(causes);
                }
                let mut cause = self.explain_delivery(other, delivery)?;
                cause.event = Some(EventOf {
                    id: other.id.clone(),
                    source: other.source.clone(),
                    name: other.name.to_string(),
                });
                cause.sentence = format!("{}: {}", other.name, cause.sentence);
                causes.push(cause);
            }
        }
        Ok(causes)
    }

    /// Why nothing would be taken at this moment.
    fn refusal(&self) -> Option<PublishError> {
        match self.health.readiness() {
            Readiness::Draining => Some(PublishError::Draining),
            Readiness::Unhealthy { cause } => Some(PublishError::Stopped { cause }),
            Readiness::Ready | Readiness::Starting => self.admission.refusal(),
        }
    }
}

fn not_here(source: &str, id: &str, refusal: PublishError) -> ExplainView {
    let sentence = format!("the bus does not have it, and takes nothing at this moment: {refusal}");
    let (cause, facts) = match refusal {
        PublishError::DiskFull { free, reserve } => {
            (Cause::DiskFull, json!({ "free_bytes": free, "reserve_bytes": reserve }))
        }
        PublishError::Stopped { cause } => (Cause::StoreFailed, json!({ "cause": cause })),
        PublishError::Saturated { retry_after } => {
            (Cause::QueueFull, json!({ "retry_after_seconds": retry_after.as_secs() }))
        }
        PublishError::Starting
        | PublishError::Draining
        | PublishError::Conflict { .. }
        | PublishError::Reserved { .. }
        | PublishError::ReservedSource { .. }
        | PublishError::BadExpiry { .. }
        | PublishError::Unheard { .. }
        | PublishError::TooMany { .. } => (Cause::Draining, json!({})),
    };
    ExplainView {
        id: id.to_owned(),
        source: source.to_owned(),
        name: String::new(),
        flow: String::new(),
        status: None,
        causes: vec![reason(cause, None, sentence.clone(), facts)],
        sentence,
    }
}
