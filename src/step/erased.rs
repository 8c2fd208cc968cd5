//! A step with its types taken away: what the runtime drives.

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Emitted, Event, StepContext, StepError};
use crate::event::{Envelope, EventName};

/// What an attempt that went well has brought: to be made durable as one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handled {
    /// The new state, JSON; `None` when the step keeps none.
    pub state: Option<Bytes>,
    /// The events to emit, in order.
    pub emits: Vec<Emitted>,
    /// The flow's result, JSON, when the step has resolved it.
    pub result: Option<Bytes>,
    /// The last progress told.
    pub progress: Option<String>,
    /// Events that undo what was done, in order.
    pub undos: Vec<Emitted>,
    /// Whether the flow is past its point of no return.
    pub pivot: bool,
}

/// An event that was decoded to tell its lane: the attempt takes it and need not decode it again.
pub type Decoded = Box<dyn Any + Send + Sync>;

/// Where an event belongs in a step's subscription.
#[derive(Debug, Default)]
pub struct Lane {
    /// The key of the lane and of the state.
    pub key: String,
    /// The event, where it took decoding to tell the key.
    pub decoded: Option<Decoded>,
}

/// One step as the runtime sees it.
pub trait ErasedStep: Send + Sync + Debug {
    /// The step's name, as the config says it.
    fn name(&self) -> &'static str;

    /// Whether it keeps state; such a step needs the order of its keys.
    fn is_stateful(&self) -> bool;

    /// Whether its calls block their thread and must run on the pool for such.
    fn is_blocking(&self) -> bool {
        false
    }

    /// Whether it can handle an event of this name.
    fn handles(&self, name: &EventName) -> bool;

    /// Names of the events it handles; empty for a step that takes any.
    fn inputs(&self) -> Vec<&'static str>;

    /// Whether it takes any event.
    fn is_any(&self) -> bool;

    /// Names of the events it may emit on `input`, each once.
    fn emits(&self, input: &str) -> Vec<&'static str>;

    /// Names of the events that undo what it does, each once.
    fn undoes(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The lane of an event for this step.
    ///
    /// # Errors
    /// [`StepError::Undecodable`] when the payload is not what the event's type says.
    fn lane(&self, event: &Envelope) -> Result<Lane, StepError>;

    /// The key of its lane.
    ///
    /// # Errors
    /// As [`ErasedStep::lane`].
    fn lane_key(&self, event: &Envelope) -> Result<String, StepError> {
        self.lane(event).map(|lane| lane.key)
    }

    /// One attempt.
    ///
    /// `decoded` is what [`ErasedStep::lane`] has told of this event, or `None`, and it is decoded here. `state` is the
    /// stored state of the key, `None` when there is none yet.
    ///
    /// # Guarantees
    /// Changes nothing by itself: all of its outcome is in the answer. A panic of the step passes through;
    /// the caller catches it.
    ///
    /// # Errors
    /// The step's error; [`StepError::Undecodable`] for the payload; fatal `state` or `emit` when the stored
    /// state does not decode or what the step returned cannot be written as JSON.
    fn call(
        self: Arc<Self>,
        event: Arc<Envelope>,
        decoded: Option<Decoded>,
        state: Option<Bytes>,
        cx: StepContext,
    ) -> BoxFuture<'static, Result<Handled, StepError>>;

    /// The event types it knows, for keys and checks of published payloads.
    fn event_types(&self) -> Vec<EventType> {
        Vec::new()
    }
}

/// What is known of an event type at run time.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    /// The event's name.
    pub name: &'static str,
    /// The Rust type's path, for messages.
    pub rust_name: &'static str,
    /// The Rust type.
    pub(super) id: TypeId,
    /// Decodes a payload and gives its key.
    pub(super) key_of: fn(&[u8]) -> Result<String, String>,
}

impl EventType {
    /// What is known of `E`.
    pub fn of<E: Event>() -> Self {
        Self {
            name: E::NAME,
            rust_name: std::any::type_name::<E>(),
            id: TypeId::of::<E>(),
            key_of: |data| {
                // An author's code (a `Deserialize`, a `key()`) that runs outside of an attempt: its panic
                // must not take a publisher's task or an actor's thread with it.
                std::panic::catch_unwind(|| decode::<E>(data).map(|event| event.key().into_owned()))
                    .unwrap_or_else(|_| Err(format!("reading an event {} panicked", E::NAME)))
            },
        }
    }
}

/// Decodes a payload.
///
/// # Errors
/// A message that names event, field and place.
pub(super) fn decode<E: Event>(data: &[u8]) -> Result<E, String> {
    serde_json::from_slice(data).map_err(|error| {
        // Only the error pays for finding the field: decode again, with the path noted.
        let mut again = serde_json::Deserializer::from_slice(data);
        let path = serde_path_to_error::deserialize::<_, E>(&mut again)
            .err()
            .map(|error| error.path().to_string())
            .filter(|path| path != ".");
        let field = path.map_or(String::new(), |path| format!(" field `{path}`:"));
        format!("event `{}`:{field} {error}", E::NAME)
    })
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Paid {
        order: Order,
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Order {
        amount: u64,
    }

    impl Event for Paid {
        const NAME: &'static str = "order.paid";
    }

    #[test]
    fn an_undecodable_payload_names_event_field_and_place() {
        let cases = [
            (
                r#"{"order":{"amount":"x"}}"#,
                "event `order.paid`: field `order.amount`: invalid type: string \"x\", expected u64 at line 1 column 22",
            ),
            (
                r#"{"order":{}}"#,
                "event `order.paid`: field `order`: missing field `amount` at line 1 column 11",
            ),
            ("{}", "event `order.paid`: missing field `order` at line 1 column 2"),
            ("", "event `order.paid`: EOF while parsing a value at line 1 column 0"),
        ];
        for (data, message) in cases {
            assert_eq!(decode::<Paid>(data.as_bytes()).unwrap_err(), message, "{data}");
        }
    }
}
