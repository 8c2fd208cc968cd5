//! The explicit list of an application's steps.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::typed::Typed;
use super::{Catalog, ErasedStep, Event, EventType, On, OnAny, Step, StepInfo};
use crate::event::{EventName, FACTS};

/// The steps of an application, listed by hand so that they can be read and searched.
///
/// Mistakes are gathered and reported together by [`Registry::check`].
///
/// # Examples
/// See the page of the [`step`](crate::step) module.
#[derive(Debug, Clone, Default)]
#[must_use = "a registry does nothing until the runtime is given it"]
pub struct Registry {
    steps: Vec<Arc<dyn ErasedStep>>,
    events: BTreeMap<&'static str, EventType>,
}

/// A step being registered: say with [`StepEntry::on`] what it takes.
#[must_use = "end the list with `.check()`"]
pub struct StepEntry<S> {
    registry: Registry,
    typed: Typed<S>,
}

impl Registry {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step; follow it with [`StepEntry::on`] for each event it takes.
    pub fn step<S: Step>(self, step: S) -> StepEntry<S> {
        StepEntry { registry: self, typed: Typed::new(step) }
    }

    /// Adds a step that is erased already: the runtime's own kinds, such as a webhook.
    pub fn erased(mut self, step: Arc<dyn ErasedStep>) -> Self {
        self.steps.push(step);
        self
    }

    /// Checks the list.
    ///
    /// # Errors
    /// [`RegistryError`] with every mistake: a name used twice or malformed, a step that takes nothing, an
    /// event registered twice, one event name declared by two types.
    pub fn check(mut self) -> Result<Self, RegistryError> {
        let mut problems = Vec::new();
        self.events.clear();
        for (index, step) in self.steps.iter().enumerate() {
            let is_repeated = self.steps.iter().take(index).any(|earlier| earlier.name() == step.name());
            check_step(step.as_ref(), is_repeated, &mut problems);
            for event in step.event_types() {
                let known = self.events.entry(event.name).or_insert(event);
                if known.id != event.id {
                    problems.push(RegistryProblem::TwoTypes {
                        event: event.name.to_owned(),
                        types: [known.rust_name, event.rust_name],
                    });
                }
            }
        }
        if problems.is_empty() { Ok(self) } else { Err(RegistryError { problems }) }
    }

    /// The step of this name.
    pub fn get(&self, name: &str) -> Option<Arc<dyn ErasedStep>> {
        self.steps.iter().find(|step| step.name() == name).map(Arc::clone)
    }

    /// The names of all steps, in the order of their registration.
    pub fn names(&self) -> Vec<&'static str> {
        self.steps.iter().map(|step| step.name()).collect()
    }

    /// The key that the registered type of an event gives its payload; `None` when no step declares a type
    /// for the name, or the payload does not decode.
    pub fn key_of(&self, name: &EventName, data: &[u8]) -> Option<String> {
        (self.events.get(name.as_str())?.key_of)(data).ok()
    }

    /// Whether a payload decodes as the registered type of the event; a name for which no step declares a
    /// type has nothing to be checked against and passes.
    ///
    /// # Errors
    /// A message that names event, field and place.
    pub fn decodes(&self, event: &str, data: &[u8]) -> Result<(), String> {
        self.events.get(event).map_or(Ok(()), |known| (known.key_of)(data).map(drop))
    }

    /// All steps as plain data.
    pub fn catalog(&self) -> Catalog {
        Catalog { steps: self.steps.iter().map(|step| info(step.as_ref())).collect() }
    }
}

impl<S: Step> StepEntry<S> {
    /// The step takes the event `E`.
    pub fn on<E: Event>(mut self) -> Self
    where
        S: On<E>,
    {
        self.typed.on::<E>();
        self
    }

    /// The step takes any event that its subscription's patterns match. An event that is also named by
    /// [`StepEntry::on`] goes there.
    pub fn on_any(mut self) -> Self
    where
        S: OnAny,
    {
        self.typed.on_any();
        self
    }

    /// What the step does may be undone by the event `U`: it may be given to
    /// [`StepContext::undo`](super::StepContext::undo). Undos are registered as emits are typed, so that the
    /// wiring can be checked for somebody who listens.
    pub fn undoes<U: Event>(mut self) -> Self {
        self.typed.undone_by::<U>();
        self
    }

    /// Ends this step and adds the next.
    pub fn step<N: Step>(self, step: N) -> StepEntry<N> {
        Registry::from(self).step(step)
    }

    /// Ends this step and checks the whole list.
    ///
    /// # Errors
    /// As [`Registry::check`].
    pub fn check(self) -> Result<Registry, RegistryError> {
        Registry::from(self).check()
    }
}

impl<S: Step> From<StepEntry<S>> for Registry {
    /// Ends the step, unchecked: for a list that is built in pieces.
    fn from(StepEntry { registry, typed }: StepEntry<S>) -> Self {
        registry.erased(Arc::new(typed))
    }
}

impl<S: Step> fmt::Debug for StepEntry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepEntry").field("step", &self.typed).finish_non_exhaustive()
    }
}

/// Everything that is wrong with a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the list of steps has mistakes: {}", list(.problems))]
pub struct RegistryError {
    /// The mistakes, in the order of registration.
    pub problems: Vec<RegistryProblem>,
}

/// One mistake in a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryProblem {
    /// Two steps bear one name.
    #[error("step `{step}` is registered twice; give each step its own name")]
    DuplicateStep {
        /// The name.
        step: String,
    },
    /// A step's name is malformed.
    #[error("step name {step:?} is malformed; write lower case such as `send_receipt`")]
    BadStepName {
        /// The name.
        step: String,
    },
    /// A step takes nothing.
    #[error("step `{step}` takes no event; add `.on::<Event>()` or `.on_any()` after `.step(…)`")]
    NoInput {
        /// The step.
        step: String,
    },
    /// A step is registered for one event more than once.
    #[error("step `{step}` is registered for the event `{event}` twice; remove one `.on::<…>()`")]
    DuplicateInput {
        /// The step.
        step: String,
        /// The event.
        event: String,
    },
    /// An event's name is malformed.
    #[error("step `{step}`: {source}")]
    BadEventName {
        /// The step that takes or emits it.
        step: String,
        /// What is wrong.
        source: crate::event::NameError,
    },
    /// A step emits an event of the bus's own.
    #[error("step `{step}` emits `{event}`; names under `tidegate.` are the bus's own, choose another")]
    ReservedName {
        /// The step.
        step: String,
        /// The event.
        event: String,
    },
    /// A step takes an event of the bus's own that there is not.
    #[error("step `{step}` takes `{event}`, which the bus never tells; it tells {}", FACTS.join(", "))]
    UnknownFact {
        /// The step.
        step: String,
        /// The event.
        event: String,
    },
    /// Two types declare one event name.
    #[error("event `{event}` is declared by two types, `{}` and `{}`; share one type", types[0], types[1])]
    TwoTypes {
        /// The event.
        event: String,
        /// The types.
        types: [&'static str; 2],
    },
}

fn list(problems: &[RegistryProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn info(step: &dyn ErasedStep) -> StepInfo {
    StepInfo {
        name: step.name(),
        stateful: step.is_stateful(),
        blocking: step.is_blocking(),
        any: step.is_any(),
        on: step.inputs().into_iter().map(|input| (input, step.emits(input))).collect(),
        // No event is named "", so this asks for the emits of `on_any`.
        any_emits: if step.is_any() { step.emits("") } else { Vec::new() },
        undoes: step.undoes(),
    }
}

fn check_step(step: &dyn ErasedStep, is_repeated: bool, problems: &mut Vec<RegistryProblem>) {
    let name = || step.name().to_owned();
    if is_repeated {
        problems.push(RegistryProblem::DuplicateStep { step: name() });
    }
    let is_word = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if !step.name().starts_with(|first: char| first.is_ascii_lowercase()) || !step.name().bytes().all(is_word)
    {
        problems.push(RegistryProblem::BadStepName { step: name() });
    }
    let StepInfo { any, on, any_emits, undoes, .. } = info(step);
    if on.is_empty() && !any {
        problems.push(RegistryProblem::NoInput { step: name() });
    }
    for (index, (input, _)) in on.iter().enumerate() {
        if on.iter().take(index).any(|(earlier, _)| earlier == input) {
            problems.push(RegistryProblem::DuplicateInput { step: name(), event: (*input).to_owned() });
        }
        match EventName::new(input) {
            Ok(valid) if valid.is_reserved() && !FACTS.contains(input) => {
                problems.push(RegistryProblem::UnknownFact { step: name(), event: (*input).to_owned() });
            }
            Ok(_) => {}
            Err(source) => problems.push(RegistryProblem::BadEventName { step: name(), source }),
        }
    }
    let mut emits: Vec<_> =
        on.into_iter().flat_map(|(_, emits)| emits).chain(any_emits).chain(undoes).collect();
    emits.sort_unstable();
    emits.dedup();
    for emitted in emits {
        match EventName::new(emitted) {
            Ok(valid) if valid.is_reserved() => {
                problems.push(RegistryProblem::ReservedName { step: name(), event: emitted.to_owned() });
            }
            Ok(_) => {}
            Err(source) => problems.push(RegistryProblem::BadEventName { step: name(), source }),
        }
    }
}
