//! What a step is told about its attempt, and the few things it may ask of the runtime.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cancellation, Emits as _, Emitted, Event, StepError};
use crate::clock::Clock;
use crate::event::{Envelope, Timestamp, effect_key};

/// One attempt of one delivery, as the step sees it. Cheap to clone; clones are the same attempt.
#[derive(Clone)]
pub struct StepContext(Arc<Attempt>);

struct Attempt {
    parts: ContextParts,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    result: Option<Bytes>,
    progress: Option<String>,
    undos: Vec<Emitted>,
    is_pivot: bool,
}

/// What the runtime gives a [`StepContext`].
pub struct ContextParts {
    /// The event.
    pub event: Arc<Envelope>,
    /// The subscription.
    pub subscription: Arc<str>,
    /// The lane's key.
    pub key: Arc<str>,
    /// This attempt's number, from 1.
    pub attempt: u32,
    /// The bus clock.
    pub clock: Clock,
    /// When the attempt times out.
    pub deadline: Option<Timestamp>,
    /// Cancelled when the attempt has timed out or the runtime shuts down.
    pub cancelled: Cancellation,
    /// The journal of outside results.
    pub effects: Arc<dyn Effects>,
}

/// The journal of one delivery's outside results, kept by the runtime.
pub trait Effects: Send + Sync {
    /// What an earlier attempt, or this one, has recorded under `name`.
    ///
    /// # Errors
    /// [`StepError`] when the journal cannot be read; the effect has not been started then.
    fn recorded(&self, name: String) -> BoxFuture<'static, Result<Option<Bytes>, StepError>>;

    /// Records a result.
    ///
    /// # Guarantees
    /// Durable when the future returns `Ok`.
    ///
    /// # Errors
    /// [`StepError`] when it could not be recorded; the outside effect has happened all the same.
    fn record(&self, name: String, value: Bytes) -> BoxFuture<'static, Result<(), StepError>>;

    /// Shows `text` as the delivery's progress from now on. Not durable by itself.
    fn progress(&self, text: String);
}

impl StepContext {
    /// A context for one attempt.
    pub fn new(parts: ContextParts) -> Self {
        Self(Arc::new(Attempt { parts, told: Mutex::default() }))
    }

    /// The event as it travels.
    pub fn event(&self) -> &Envelope {
        &self.0.parts.event
    }

    /// The event's id: the business message id, the same on every attempt.
    pub fn event_id(&self) -> &str {
        &self.event().id
    }

    /// Who published the event.
    pub fn source(&self) -> &str {
        &self.event().source
    }

    /// The flow the event belongs to.
    pub fn flow(&self) -> &str {
        &self.event().flow
    }

    /// Id of the event whose handling emitted this one.
    pub fn causation(&self) -> Option<&str> {
        self.event().causation.as_deref()
    }

    /// W3C trace context to pass on to outside calls.
    pub fn traceparent(&self) -> Option<&str> {
        self.event().traceparent.as_deref()
    }

    /// The subscription that runs the step.
    pub fn subscription(&self) -> &str {
        &self.0.parts.subscription
    }

    /// The lane's key, which is also the key of the state.
    pub fn key(&self) -> &str {
        &self.0.parts.key
    }

    /// This attempt's number, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.parts.attempt
    }

    /// The time by the bus clock. Use it in place of the machine's: a test moves it by hand.
    pub fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }

    /// When the attempt times out; `None` when it never does.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.parts.deadline
    }

    /// Whether the attempt should end: timed out, or the runtime shuts down.
    pub fn is_cancelled(&self) -> bool {
        self.0.parts.cancelled.is_cancelled()
    }

    /// Resolves when the attempt should end.
    ///
    /// # Guarantees
    /// Cancel-safe; resolves at once when it already should.
    pub async fn cancelled(&self) {
        self.0.parts.cancelled.cancelled().await;
    }

    /// A key to pass to an outside system as its idempotency key.
    ///
    /// # Guarantees
    /// The same on every attempt of this delivery and after every restart and upgrade; different for another
    /// event, subscription or name.
    pub fn effect_key(&self, name: &str) -> String {
        effect_key(self.event(), self.subscription(), name)
    }

    /// Runs an outside effect and records what it answered, so that a later attempt of this delivery takes
    /// the recorded answer and does not run it again.
    ///
    /// `name` tells the effects of one step apart; in a loop give each its own. The same name twice gives
    /// the first answer twice.
    ///
    /// # Guarantees
    /// The answer is durable when this returns `Ok`. A crash between the effect and its record runs the
    /// effect again: at least once, never silently not at all. Pass [`StepContext::effect_key`] along so that
    /// the other side can tell a repeat. An effect that fails is not recorded.
    ///
    /// # Errors
    /// The effect's own error; a fatal `effect` when the answer cannot be written as JSON or a recorded one
    /// no longer reads as `T`; what the journal says when it cannot record.
    ///
    /// # Examples
    /// ```
    /// # use tidegate::prelude::*;
    /// # async fn charge(_key: String) -> Result<String, std::io::Error> { Ok("receipt-1".to_owned()) }
    /// # async fn step(cx: &StepContext) -> Result<(), StepError> {
    /// let receipt = cx.run("charge", charge(cx.effect_key("charge"))).await?;
    /// # Ok(()) }
    /// ```
    pub async fn run<T, E, F>(&self, name: &str, effect: F) -> Result<T, StepError>
    where
        T: Serialize + DeserializeOwned,
        E: Into<StepError>,
        F: Future<Output = Result<T, E>>,
    {
        let effects = &self.0.parts.effects;
        if let Some(recorded) = effects.recorded(name.to_owned()).await? {
            return serde_json::from_slice(&recorded)
                .map_err(|error| unreadable(name, "the recorded answer does not read", &error));
        }
        let answer = effect.await.map_err(Into::into)?;
        let value = serde_json::to_vec(&answer)
            .map_err(|error| unreadable(name, "the answer cannot be written as JSON", &error))?;
        effects.record(name.to_owned(), Bytes::from(value)).await?;
        Ok(answer)
    }

    /// Sets the flow's result: what a poller of the flow is given, with the status `done`.
    ///
    /// # Guarantees
    /// Takes effect with the step's settling, or not at all when the step fails. The last call counts.
    ///
    /// # Errors
    /// A fatal `result` when the value cannot be written as JSON.
    pub fn resolve<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), StepError> {
        let json = serde_json::to_vec(value).map_err(|error| {
            StepError::fatal("result", format!("the result cannot be written as JSON: {error}"))
        })?;
        self.told(|told| told.result = Some(Bytes::from(json)));
        Ok(())
    }

    /// Says how what the step does is undone: by this event, should the flow be undone later. It is kept, not
    /// emitted; of several in a flow the last one is emitted first. Register the type with
    /// [`StepEntry::undoes`](super::StepEntry::undoes).
    ///
    /// # Guarantees
    /// Recorded with the step's settling, or not at all when the step fails. Dropped when the event handled
    /// belongs to an undoing itself, and after the flow's point of no return.
    ///
    /// # Errors
    /// A fatal `undo` when the event cannot be written as JSON.
    ///
    /// # Examples
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tidegate::prelude::*;
    /// #[derive(Serialize, Deserialize)]
    /// struct CancelFlight { booking: String }
    /// impl Event for CancelFlight { const NAME: &'static str = "flight.cancellation_due"; }
    ///
    /// # fn step(cx: &StepContext) -> Result<(), StepError> {
    /// cx.undo(CancelFlight { booking: "LH 4711".to_owned() })?;
    /// # Ok(()) }
    /// ```
    pub fn undo<E: Event>(&self, event: E) -> Result<(), StepError> {
        let mut encoded = Vec::new();
        event.collect(&mut encoded).map_err(|error| {
            StepError::fatal("undo", format!("the undo `{}` cannot be written as JSON: {error}", E::NAME))
        })?;
        self.told(|told| told.undos.append(&mut encoded));
        Ok(())
    }

    /// Passes the flow's point of no return: what was recorded to undo it is dropped, what is recorded later
    /// too, and nobody can have it undone any more.
    ///
    /// # Guarantees
    /// Takes effect with the step's settling, or not at all when the step fails.
    pub fn pivot(&self) {
        self.told(|told| told.is_pivot = true);
    }

    /// Says how far the step is, for whoever watches the flow. Shown at once; the last text is kept when
    /// the step settles.
    pub fn progress(&self, text: impl Into<String>) {
        let text = text.into();
        self.told(|told| told.progress = Some(text.clone()));
        self.0.parts.effects.progress(text);
    }

    /// Takes the result and the progress told so far.
    pub(crate) fn take_told(&self) -> (Option<Bytes>, Option<String>) {
        self.told(|told| (told.result.take(), told.progress.take()))
    }

    /// Takes the undos told so far, and whether this is the point of no return.
    pub(crate) fn take_undos(&self) -> (Vec<Emitted>, bool) {
        self.told(|told| (std::mem::take(&mut told.undos), std::mem::take(&mut told.is_pivot)))
    }

    /// The undos told so far, left in place, and whether this is the point of no return.
    #[cfg(feature = "testing")]
    pub(super) fn peek_undos(&self) -> (Vec<Emitted>, bool) {
        self.told(|told| (told.undos.clone(), told.is_pivot))
    }

    /// What the step has told, left in place.
    #[cfg(feature = "testing")]
    pub(super) fn peek_told(&self) -> (Option<Bytes>, Option<String>) {
        self.told(|told| (told.result.clone(), told.progress.clone()))
    }

    #[cfg(feature = "testing")]
    pub(super) fn parts(&self) -> &ContextParts {
        &self.0.parts
    }

    fn told<R>(&self, with: impl FnOnce(&mut Told) -> R) -> R {
        // A panic cannot leave it half written: each access is one assignment.
        with(&mut self.0.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn unreadable(name: &str, problem: &str, error: &serde_json::Error) -> StepError {
    StepError::fatal("effect", format!("effect {name:?}: {problem}: {error}"))
}

impl fmt::Debug for StepContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.fmt(f)
    }
}

impl fmt::Debug for ContextParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext")
            .field("event", &self.event.id)
            .field("flow", &self.event.flow)
            .field("subscription", &self.subscription)
            .field("key", &self.key)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
