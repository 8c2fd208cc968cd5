//! An actix actor as a step: it is sent `Delivery<E>` messages, and its answer is the outcome.
//!
//! The only file of this room that knows actix.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::{Message, Recipient};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tracing::Span;

use super::typed::{emitted, lane_key, names, taken_or_decoded, told_undos, typed};
use super::{
    Decoded, Emits, ErasedStep, Event, EventType, Handled, Lane, Registry, Step, StepContext, StepEntry,
    StepError,
};
use crate::event::{Envelope, EventName};

/// One event for an actor; what the handler answers is what a step would return.
///
/// ```
/// use actix::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// use tidegate::prelude::*;
/// use tidegate::step::Delivery;
/// # #[derive(Serialize, Deserialize)] struct OrderPlaced { order: String }
/// # impl Event for OrderPlaced { const NAME: &'static str = "order.placed"; }
///
/// struct Printer;
/// impl Actor for Printer { type Context = Context<Self>; }
/// impl Handler<Delivery<OrderPlaced>> for Printer {
///     type Result = Result<(), StepError>;
///     fn handle(&mut self, delivery: Delivery<OrderPlaced>, _: &mut Context<Self>) -> Self::Result {
///         println!("{}", delivery.event.order);
///         Ok(())
///     }
/// }
///
/// # System::new().block_on(async {
/// let printer = Printer.start();
/// let steps = Registry::new().actor::<OrderPlaced, ()>("printer", printer.recipient()).check()?;
/// assert_eq!(steps.names(), ["printer"]);
/// # Ok::<(), RegistryError>(()) }).unwrap();
/// ```
pub struct Delivery<E, Em = ()> {
    /// The event.
    pub event: E,
    /// Its attempt.
    pub cx: StepContext,
    span: Span,
    emits: PhantomData<fn() -> Em>,
}

impl<E: Event, Em: Emits> Delivery<E, Em> {
    /// The span of the attempt. The actor runs elsewhere and has to enter it, so that the lines that it logs name flow, event,
    /// subscription and attempt; `span.in_scope(|| …)`, or `Instrument` for a future.
    pub fn span(&self) -> Span {
        self.span.clone()
    }
}

impl<E: Event, Em: Emits> Message for Delivery<E, Em> {
    type Result = Result<Em, StepError>;
}

impl<E: fmt::Debug, Em> fmt::Debug for Delivery<E, Em> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("event", &self.event).field("cx", &self.cx).finish_non_exhaustive()
    }
}

impl Registry {
    /// Adds a running actix actor as the step `name`. It keeps no state in the bus; what it keeps itself is
    /// lost with the process.
    ///
    /// # Guarantees
    /// At most as many deliveries wait in its mailbox as the subscription's `concurrency` says, whatever the
    /// mailbox's own capacity. An actor that is gone, or that drops a message, makes the attempt fail.
    pub fn actor<E: Event, Em: Emits>(self, name: &'static str, actor: Recipient<Delivery<E, Em>>) -> Self {
        self.erased(Arc::new(ActorStep { name, actor }))
    }
}

impl<S: Step> StepEntry<S> {
    /// Ends this step and adds an actor; see [`Registry::actor`].
    pub fn actor<E: Event, Em: Emits>(
        self,
        name: &'static str,
        actor: Recipient<Delivery<E, Em>>,
    ) -> Registry {
        Registry::from(self).actor(name, actor)
    }
}

struct ActorStep<E: Event, Em: Emits> {
    name: &'static str,
    actor: Recipient<Delivery<E, Em>>,
}

impl<E: Event, Em: Emits> ErasedStep for ActorStep<E, Em> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_stateful(&self) -> bool {
        false
    }

    fn handles(&self, name: &EventName) -> bool {
        name.as_str() == E::NAME
    }

    fn inputs(&self) -> Vec<&'static str> {
        vec![E::NAME]
    }

    fn is_any(&self) -> bool {
        false
    }

    fn emits(&self, input: &str) -> Vec<&'static str> {
        let mut emits = if input == E::NAME { names::<Em>() } else { Vec::new() };
        emits.sort_unstable();
        emits.dedup();
        emits
    }

    fn lane(&self, envelope: &Envelope) -> Result<Lane, StepError> {
        let event = typed::<E>(envelope)?;
        let key = lane_key(&event.key(), &event, envelope);
        Ok(Lane { key, decoded: Some(Box::new(event)) })
    }

    fn call(
        self: Arc<Self>,
        event: Arc<Envelope>,
        decoded: Option<Decoded>,
        _state: Option<Bytes>,
        cx: StepContext,
    ) -> BoxFuture<'static, Result<Handled, StepError>> {
        Box::pin(async move {
            let event = taken_or_decoded(decoded, &event)?;
            let delivery = Delivery { event, cx: cx.clone(), span: Span::current(), emits: PhantomData };
            // A sender of its own for each call: actix gives every sender a place in the mailbox, while a
            // request that finds a shared sender parked is never woken again.
            let actor = self.actor.clone();
            let answer = actor.send(delivery).await.map_err(|error| {
                StepError::retry(format!(
                    "actor `{}` did not answer: {error}; it has stopped or is gone",
                    self.name
                ))
            })?;
            let emits = emitted(answer?)?;
            let (result, progress) = cx.take_told();
            let (undos, pivot) = told_undos(&cx, &self.undoes())?;
            Ok(Handled { state: None, emits, result, progress, undos, pivot })
        })
    }

    fn event_types(&self) -> Vec<EventType> {
        vec![EventType::of::<E>()]
    }
}

impl<E: Event, Em: Emits> fmt::Debug for ActorStep<E, Em> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActorStep").field("name", &self.name).field("on", &E::NAME).finish_non_exhaustive()
    }
}
