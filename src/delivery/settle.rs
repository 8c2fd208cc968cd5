//! From an attempt's end to the one change that records it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::attempt::{End, Finished};
use super::routing::Routing;
use crate::event::{COMPENSATION, Envelope, EventName, Label, Timestamp, emitted_id};
use crate::step::{Emitted, Handled, Registry, StepError};
use crate::store::{DeadReason, Emit, Outcome, Settle, StateWrite, SubscriptionId};

/// What the attempt's end means for the delivery, before the retry policy has its say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Done,
    Skipped,
    /// No attempt was made: its flow is being undone.
    Held,
    Failed {
        after: Option<Duration>,
    },
    Fatal,
    /// Fatal, and the flow is to be undone.
    Aborted,
    Undecodable,
    Snoozed(Duration),
    Interrupted,
}

/// What is recorded of an attempt beside its outcome.
#[derive(Debug, Default)]
pub(crate) struct Yield {
    pub(crate) state: Option<Bytes>,
    pub(crate) emits: Vec<Emitted>,
    pub(crate) result: Option<Bytes>,
    pub(crate) undos: Vec<Emitted>,
    pub(crate) is_pivot: bool,
    /// The error, or the reason of a skip.
    pub(crate) text: String,
}

/// Reads an attempt's end.
pub(crate) fn meaning(end: End) -> (Meaning, Yield) {
    let said = |meaning, text: String| (meaning, Yield { text, ..Yield::default() });
    match end {
        End::Returned(Ok(Handled { state, emits, result, progress: _, undos, pivot })) => {
            (Meaning::Done, Yield { state, emits, result, undos, is_pivot: pivot, text: String::new() })
        }
        End::Returned(Err(error)) => {
            let text = error.to_string();
            match error {
                StepError::Retry { after, .. } => said(Meaning::Failed { after }, text),
                StepError::Fatal { .. } => said(Meaning::Fatal, text),
                StepError::Abort { .. } => said(Meaning::Aborted, text),
                StepError::Snooze { after } => said(Meaning::Snoozed(after), text),
                StepError::Skip { reason } => said(Meaning::Skipped, reason),
                StepError::Undecodable { .. } => said(Meaning::Undecodable, text),
                StepError::Shutdown => said(Meaning::Interrupted, text),
            }
        }
        End::Panicked(text) => said(Meaning::Failed { after: None }, format!("the step panicked: {text}")),
        End::TimedOut(limit) => said(Meaning::Failed { after: None }, format!("timed out after {limit:?}")),
        End::Held => said(Meaning::Held, "the flow is being undone".to_owned()),
        End::Interrupted => said(Meaning::Interrupted, String::new()),
        End::Unreadable(text) => {
            said(Meaning::Failed { after: None }, format!("cannot read the key's state: {text}"))
        }
    }
}

/// Where emitted events get what they inherit.
#[derive(Debug)]
pub(crate) struct Emitting<'a> {
    pub(crate) cause: &'a Envelope,
    pub(crate) subscription: &'a str,
    /// The source of what the subscription emits.
    pub(crate) source: &'a str,
    pub(crate) routing: &'a Routing,
    pub(crate) now: Timestamp,
    /// The replay that the delivery belongs to: what it emits are events of their own.
    pub(crate) generation: u32,
}

/// The source of what the steps of a subscription emit.
pub(crate) fn source_of(subscription: &str) -> String {
    format!("/tidegate/{subscription}")
}

impl Emitting<'_> {
    /// The events a step returned, with derived ids, routed.
    pub(crate) fn events(&self, emits: Vec<Emitted>) -> Vec<Emit> {
        let numbered = emits.into_iter().zip(0_u32..);
        numbered
            .filter_map(|(emitted, ordinal)| {
                // Names of event types were checked when the steps were registered.
                let name = EventName::new(emitted.name).ok()?;
                let due = emitted.delay.map(|delay| self.now.plus(delay));
                Some(self.event(name, emitted.key, emitted.data, due, ordinal))
            })
            .collect()
    }

    /// One event that comes of the cause, under the id of the `ordinal`-th that is returned. It inherits subject,
    /// flow and trace; extensions and the schema are the publisher's word about his event and not passed on
    /// (see [`Filter`](crate::event::Filter)).
    pub(crate) fn event(
        &self,
        name: EventName,
        key: String,
        data: Bytes,
        due: Option<Timestamp>,
        ordinal: u32,
    ) -> Emit {
        let label = Label {
            id: emitted_id(self.cause, self.subscription, self.generation, ordinal),
            source: self.source.to_owned(),
            name,
            time: self.now,
            key,
            flow: self.cause.flow.clone(),
            causation: Some(self.cause.id.clone()),
        };
        let event = Envelope {
            subject: self.cause.subject.clone(),
            traceparent: self.cause.traceparent.clone(),
            extensions: inherited(self.cause),
            ..Envelope::new(label, data)
        };
        Emit { due, ..self.routing.routed(Arc::new(event)) }
    }

    /// The events that undo what a step has done, with derived ids; they are routed when they are emitted.
    pub(crate) fn undos(&self, undos: Vec<Emitted>) -> Vec<Arc<Envelope>> {
        let numbered = undos.into_iter().zip(FIRST_UNDO_ORDINAL..);
        let events = numbered.filter_map(|(undo, ordinal)| {
            let name = EventName::new(undo.name).ok()?;
            let mut event = Arc::unwrap_or_clone(self.event(name, undo.key, undo.data, None, ordinal).event);
            event.extensions.insert(COMPENSATION.to_owned(), "1".to_owned());
            Some(Arc::new(event))
        });
        events.collect()
    }

    /// The `on_dead` event: the dead event's data plus `reason`.
    ///
    /// # Errors
    /// Why there is none: the data is no JSON object, or is not what the event's type says.
    pub(crate) fn on_dead(&self, name: &EventName, error: &str, registry: &Registry) -> Result<Emit, String> {
        let mut data: Map<String, Value> = serde_json::from_slice(&self.cause.data)
            .map_err(|problem| format!("the dead event's data is no JSON object: {problem}"))?;
        data.insert("reason".to_owned(), Value::String(error.to_owned()));
        let data = Bytes::from(serde_json::to_vec(&data).map_err(|problem| problem.to_string())?);
        registry.decodes(name.as_str(), &data)?;
        let key = registry.key_of(name, &data).unwrap_or_else(|| self.cause.key.clone());
        Ok(self.event(name.clone(), key, data, None, ON_DEAD_ORDINAL))
    }
}

/// What an emitted event takes over from its cause beside its flow.
fn inherited(cause: &Envelope) -> BTreeMap<String, String> {
    cause
        .extensions
        .get_key_value(COMPENSATION)
        .map(|(key, value)| (key.clone(), value.clone()))
        .into_iter()
        .collect()
}

/// The first ordinal under which the id of an undo is derived: behind all that a step may return.
const FIRST_UNDO_ORDINAL: u32 = 1 << 31;

/// The ordinal under which the id of an `on_dead` event is derived: far from those a step returns.
pub(crate) const ON_DEAD_ORDINAL: u32 = u32::MAX;

/// What a delivery's record is made of.
pub(crate) struct Record<'a> {
    pub(crate) subscription: SubscriptionId,
    pub(crate) finished: &'a Finished,
    pub(crate) outcome: Outcome,
    pub(crate) counted: bool,
    pub(crate) emits: Vec<Emit>,
    pub(crate) state: Option<Bytes>,
    pub(crate) result: Option<Bytes>,
    pub(crate) undos: Vec<Arc<Envelope>>,
    pub(crate) is_pivot: bool,
    pub(crate) keep_states: bool,
}

impl Record<'_> {
    /// The change.
    pub(crate) fn settle(self) -> Settle {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Settle {
            subscription: self.subscription,
            ordinal: self.finished.ordinal,
            seq: self.finished.seq,
            key: Arc::clone(&self.finished.key),
            outcome: self.outcome,
            state: self.state.map(|value| StateWrite { value }),
            emits: self.emits,
            result: self.result,
            undos: self.undos,
            pivot: self.is_pivot,
            keep_states: self.keep_states,
            waited_ms: millis(self.finished.waited),
            ran_ms: millis(self.finished.ran),
            counted: self.counted,
        }
    }
}

/// The word for an outcome in metrics.
pub(crate) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Retry { .. } => "retry",
        Outcome::Snooze { .. } => "snooze",
        Outcome::Dead { reason: DeadReason::Expired, .. } => "expired",
        Outcome::Dead { .. } => "dead",
    }
}
