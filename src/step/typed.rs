//! From an author's `Step` to the `ErasedStep` that the runtime drives: decoding, state, encoding.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::erased::decode;
use super::{
    Decoded, Emits, ErasedStep, Event, EventType, Handled, Lane, On, OnAny, Step, StepContext, StepError,
};
use crate::event::{Envelope, EventName};

/// A step and the events it was registered for.
pub(super) struct Typed<S> {
    step: S,
    inputs: Vec<(EventType, Arc<dyn Input<S>>)>,
    any: Option<Arc<dyn Input<S>>>,
    undoes: Vec<EventType>,
}

/// How one kind of event gets into the step `S`.
trait Input<S>: Send + Sync {
    fn emits(&self) -> Vec<&'static str>;
    fn lane(&self, event: &Envelope) -> Result<Lane, StepError>;
    fn call(&self, call: Call<S>) -> BoxFuture<'static, Result<Handled, StepError>>;
}

struct Call<S> {
    typed: Arc<Typed<S>>,
    event: Arc<Envelope>,
    decoded: Option<Decoded>,
    state: Option<Bytes>,
    cx: StepContext,
}

struct One<E>(PhantomData<fn(E)>);

struct Any;

impl<S: Step> Typed<S> {
    pub(super) fn new(step: S) -> Self {
        Self { step, inputs: Vec::new(), any: None, undoes: Vec::new() }
    }

    pub(super) fn on<E: Event>(&mut self)
    where
        S: On<E>,
    {
        self.inputs.push((EventType::of::<E>(), Arc::new(One::<E>(PhantomData))));
    }

    pub(super) fn on_any(&mut self)
    where
        S: OnAny,
    {
        self.any = Some(Arc::new(Any));
    }

    pub(super) fn undone_by<E: Event>(&mut self) {
        self.undoes.push(EventType::of::<E>());
    }

    /// What an attempt that went well has brought.
    fn handled(&self, state: &S::State, emits: impl Emits, cx: &StepContext) -> Result<Handled, StepError> {
        let state = written::<S>(state)?;
        let emits = emitted(emits)?;
        let (result, progress) = cx.take_told();
        let (undos, pivot) = told_undos(cx, &self.undoes())?;
        Ok(Handled { state, emits, result, progress, undos, pivot })
    }

    fn input(&self, name: &str) -> Option<&Arc<dyn Input<S>>> {
        let named = self.inputs.iter().find(|(event, _)| event.name == name);
        named.map(|(_, input)| input).or(self.any.as_ref())
    }

    fn expect_input(&self, name: &EventName) -> Result<&Arc<dyn Input<S>>, StepError> {
        self.input(name.as_str()).ok_or_else(|| StepError::Undecodable {
            message: format!("step `{}` does not handle the event `{name}`", S::NAME),
        })
    }
}

impl<S: Step> ErasedStep for Typed<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn is_stateful(&self) -> bool {
        is_stateful::<S>()
    }

    fn is_blocking(&self) -> bool {
        S::BLOCKING
    }

    fn handles(&self, name: &EventName) -> bool {
        self.input(name.as_str()).is_some()
    }

    fn inputs(&self) -> Vec<&'static str> {
        self.inputs.iter().map(|(event, _)| event.name).collect()
    }

    fn is_any(&self) -> bool {
        self.any.is_some()
    }

    fn emits(&self, input: &str) -> Vec<&'static str> {
        let mut names = self.input(input).map(|found| found.emits()).unwrap_or_default();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn undoes(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.undoes.iter().map(|event| event.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn lane(&self, event: &Envelope) -> Result<Lane, StepError> {
        self.expect_input(&event.name)?.lane(event)
    }

    fn call(
        self: Arc<Self>,
        event: Arc<Envelope>,
        decoded: Option<Decoded>,
        state: Option<Bytes>,
        cx: StepContext,
    ) -> BoxFuture<'static, Result<Handled, StepError>> {
        match self.expect_input(&event.name) {
            Ok(input) => input.call(Call { typed: Arc::clone(&self), event, decoded, state, cx }),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn event_types(&self) -> Vec<EventType> {
        self.inputs.iter().map(|(event, _)| *event).chain(self.undoes.iter().copied()).collect()
    }
}

impl<S: Step> fmt::Debug for Typed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(S::NAME)
            .field("on", &self.inputs())
            .field("any", &self.is_any())
            .finish_non_exhaustive()
    }
}

impl<E: Event, S: On<E>> Input<S> for One<E> {
    fn emits(&self) -> Vec<&'static str> {
        names::<S::Emits>()
    }

    fn lane(&self, envelope: &Envelope) -> Result<Lane, StepError> {
        let event = typed::<E>(envelope)?;
        let key = lane_key(&S::key(&event), &event, envelope);
        Ok(Lane { key, decoded: Some(Box::new(event)) })
    }

    fn call(
        &self,
        Call { typed: step, event, decoded, state, cx }: Call<S>,
    ) -> BoxFuture<'static, Result<Handled, StepError>> {
        Box::pin(async move {
            let event = taken_or_decoded::<E>(decoded, &event)?;
            let mut state = load::<S>(state.as_ref())?;
            let emits = step.step.on(event, &mut state, &cx).await?;
            step.handled(&state, emits, &cx)
        })
    }
}

impl<S: OnAny> Input<S> for Any {
    fn emits(&self) -> Vec<&'static str> {
        names::<S::Emits>()
    }

    fn lane(&self, event: &Envelope) -> Result<Lane, StepError> {
        Ok(Lane { key: S::key(event).into_owned(), decoded: None })
    }

    fn call(
        &self,
        Call { typed: step, event, decoded: _, state, cx }: Call<S>,
    ) -> BoxFuture<'static, Result<Handled, StepError>> {
        Box::pin(async move {
            let mut state = load::<S>(state.as_ref())?;
            let emits = step.step.on_any(&event, &mut state, &cx).await?;
            step.handled(&state, emits, &cx)
        })
    }
}

/// The step's key; a type without a key of its own takes the one that the publisher has given.
pub(super) fn lane_key<E: Event>(key: &str, event: &E, envelope: &Envelope) -> String {
    if key.is_empty() && event.key().is_empty() { envelope.key.clone() } else { key.to_owned() }
}

pub(super) fn typed<E: Event>(envelope: &Envelope) -> Result<E, StepError> {
    decode(&envelope.data).map_err(|message| StepError::Undecodable { message })
}

/// The event as it was decoded before, or decoded now.
pub(super) fn taken_or_decoded<E: Event>(
    decoded: Option<Decoded>,
    envelope: &Envelope,
) -> Result<E, StepError> {
    match decoded.map(Decoded::downcast::<E>) {
        Some(Ok(event)) => Ok(*event),
        Some(Err(_)) | None => typed(envelope),
    }
}

pub(super) fn names<T: Emits>() -> Vec<&'static str> {
    let mut names = Vec::new();
    T::names(&mut names);
    names
}

/// Encodes what the step returned.
pub(super) fn emitted(emits: impl Emits) -> Result<Vec<super::Emitted>, StepError> {
    let mut list = Vec::new();
    emits.collect(&mut list).map_err(|error| {
        StepError::fatal("emit", format!("an emitted event cannot be written as JSON: {error}"))
    })?;
    Ok(list)
}

fn is_stateful<S: Step>() -> bool {
    TypeId::of::<S::State>() != TypeId::of::<()>()
}

fn load<S: Step>(stored: Option<&Bytes>) -> Result<S::State, StepError> {
    let Some(json) = stored.filter(|_| is_stateful::<S>()) else { return Ok(S::State::default()) };
    serde_json::from_slice(json).map_err(|error| {
        StepError::fatal(
            "state",
            format!("the stored state of step `{}` does not read as its type: {error}; give a field added since `#[serde(default)]`", S::NAME),
        )
    })
}

fn written<S: Step>(state: &S::State) -> Result<Option<Bytes>, StepError> {
    if !is_stateful::<S>() {
        return Ok(None);
    }
    let json = serde_json::to_vec(state).map_err(|error| {
        StepError::fatal(
            "state",
            format!("the state of step `{}` cannot be written as JSON: {error}", S::NAME),
        )
    })?;
    Ok(Some(Bytes::from(json)))
}

/// What the step has said of undoing; only what it was registered with.
pub(super) fn told_undos(
    cx: &StepContext,
    registered: &[&'static str],
) -> Result<(Vec<super::Emitted>, bool), StepError> {
    let (undos, is_pivot) = cx.take_undos();
    match undos.iter().find(|undo| !registered.contains(&undo.name)) {
        None => Ok((undos, is_pivot)),
        Some(undo) => Err(StepError::fatal(
            "undo",
            format!(
                "the step is not registered with the undo `{}`; add `.undoes::<…>()` after its `.on::<…>()`",
                undo.name
            ),
        )),
    }
}
