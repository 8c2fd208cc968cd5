//! The traits of a step: `Step`, `On<E>` for each event it takes, `OnAny` for one that takes them all.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Emits, Event, StepContext, StepError};
use crate::event::Envelope;

/// One business step: a struct whose fields are its dependencies.
///
/// What it takes is said by [`On`], one impl for each event type, or by [`OnAny`].
///
/// # Examples
/// ```
/// use serde::{Deserialize, Serialize};
/// use tidegate::Step;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Seen { orders: u64 }
///
/// struct CountOrders;
/// impl Step for CountOrders {
///     const NAME: &'static str = "count_orders";
///     type State = Seen;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step",
    label = "this type has no step name and no state",
    note = "write `impl Step for {Self} {{ const NAME: &'static str = \"greet\"; type State = (); }}`"
)]
pub trait Step: Send + Sync + 'static {
    /// The name that the config file's `step = "…"` says: `[a-z][a-z0-9_]*`.
    const NAME: &'static str;

    /// Whether the step blocks its thread: a synchronous driver, heavy computing. Such a step runs on a
    /// bounded pool of threads of its own instead of among the others, where it would hold them up. A thread
    /// cannot be ended: an attempt that is past its time-out may still end, and counts if it does within as
    /// long again. After that it is tried again, and what the old thread brings is thrown away.
    const BLOCKING: bool = false;

    /// What the step remembers, one value for each subscription and key; `()` when nothing.
    ///
    /// # Guarantees
    /// Begins as `Default`; stored as JSON together with what the step emitted, or not at all. A step that
    /// fails leaves it as it was. A stored value that no longer decodes is a fatal error with the code
    /// `state`, so a field added later needs `#[serde(default)]`.
    type State: Default + Serialize + DeserializeOwned + Send + 'static;
}

/// How a step handles the event `E`.
///
/// # Examples
/// See the page of the [`step`](crate::step) module. A step with state, an outside effect and two outcomes:
/// ```
/// # use serde::{Deserialize, Serialize};
/// # use tidegate::prelude::*;
/// # #[derive(Serialize, Deserialize)] struct Ordered { item: String, count: u64 }
/// # impl Event for Ordered { const NAME: &'static str = "item.ordered"; }
/// # #[derive(Serialize, Deserialize)] struct Reserved { item: String }
/// # impl Event for Reserved { const NAME: &'static str = "item.reserved"; }
/// # #[derive(Serialize, Deserialize)] struct Missing { item: String }
/// # impl Event for Missing { const NAME: &'static str = "item.missing"; }
/// #[derive(Default, Serialize, Deserialize)]
/// struct Stock { left: u64 }
///
/// struct Reserve;
/// impl Step for Reserve { const NAME: &'static str = "reserve"; type State = Stock; }
/// impl On<Ordered> for Reserve {
///     type Emits = Either<Reserved, Missing>;
///     fn key(event: &Ordered) -> std::borrow::Cow<'_, str> { (&event.item).into() }
///     async fn on(&self, event: Ordered, stock: &mut Stock, _cx: &StepContext) -> Result<Self::Emits, StepError> {
///         let Some(left) = stock.left.checked_sub(event.count) else {
///             return Ok(Either::Right(Missing { item: event.item }));
///         };
///         stock.left = left;
///         Ok(Either::Left(Reserved { item: event.item }))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "step `{Self}` does not handle the event `{E}`",
    label = "no `On<{E}>` for this step",
    note = "write `impl On<{E}> for {Self} {{ type Emits = (); async fn on(&self, event: {E}, …) … }}`"
)]
pub trait On<E: Event>: Step {
    /// What it emits: `()`, an event, `Option`, `Vec`, a tuple, [`Either`](super::Either), an enum written
    /// with [`emits_enum!`](crate::emits_enum), [`After`](super::After) for a delay. The runtime reads the
    /// names off the type before anything runs.
    type Emits: Emits;

    /// This step's own lane and state key for the event; the event's key unless overridden. To let all
    /// events of the step share one lane, return a constant such as `"all"`.
    fn key(event: &E) -> Cow<'_, str> {
        event.key()
    }

    /// Handles one event.
    ///
    /// # Guarantees
    /// One event at a time for each subscription and key. At least once: after a crash or a failure the same
    /// event comes again, with the state as it was before. What has to happen once outside goes through
    /// [`StepContext::run`] and passes on [`StepContext::effect_key`].
    ///
    /// # Errors
    /// [`StepError`] says what the runtime does next; any other error becomes a retry through `?`. A panic
    /// is a failed attempt.
    fn on(
        &self,
        event: E,
        state: &mut Self::State,
        cx: &StepContext,
    ) -> impl Future<Output = Result<Self::Emits, StepError>> + Send;
}

/// A step that takes whatever its subscription's patterns match: an audit, a forwarder.
///
/// It gets the envelope; the payload is not decoded.
///
/// # Examples
/// ```
/// use tidegate::event::Envelope;
/// use tidegate::prelude::*;
///
/// struct Trace;
/// impl Step for Trace { const NAME: &'static str = "trace"; type State = u64; }
/// impl OnAny for Trace {
///     type Emits = ();
///     async fn on_any(&self, _event: &Envelope, count: &mut u64, _: &StepContext) -> Result<(), StepError> {
///         *count += 1;
///         Ok(())
///     }
/// }
/// let steps = Registry::new().step(Trace).on_any().check()?;
/// # Ok::<(), RegistryError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "step `{Self}` does not take every event",
    label = "no `OnAny` for this step",
    note = "implement `OnAny` for `{Self}`, or name the events: `.on::<OrderPlaced>()`"
)]
pub trait OnAny: Step {
    /// What it emits; see [`On::Emits`].
    type Emits: Emits;

    /// This step's lane and state key; the envelope's key unless overridden.
    fn key(event: &Envelope) -> Cow<'_, str> {
        Cow::Borrowed(&event.key)
    }

    /// Handles one event.
    ///
    /// # Guarantees
    /// As [`On::on`].
    ///
    /// # Errors
    /// As [`On::on`].
    fn on_any(
        &self,
        event: &Envelope,
        state: &mut Self::State,
        cx: &StepContext,
    ) -> impl Future<Output = Result<Self::Emits, StepError>> + Send;
}
