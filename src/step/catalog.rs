//! All steps as plain data: what the wiring check, the console and the drawings need to know.

use serde::Serialize;

/// The registered steps, in the order of their registration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Catalog {
    /// The steps.
    pub steps: Vec<StepInfo>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepInfo {
    /// Its name.
    pub name: &'static str,
    /// Whether it keeps state.
    pub stateful: bool,
    /// Whether it blocks its thread.
    pub blocking: bool,
    /// Whether it takes any event.
    pub any: bool,
    /// The events it takes by name, each with the names of those it may emit on it.
    pub on: Vec<(&'static str, Vec<&'static str>)>,
    /// What it may emit on any other event, when it takes any.
    pub any_emits: Vec<&'static str>,
    /// The events that undo what it does.
    pub undoes: Vec<&'static str>,
}

impl Catalog {
    /// The step of this name.
    pub fn step(&self, name: &str) -> Option<&StepInfo> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Every event name that a step takes or emits, sorted, each once.
    pub fn event_names(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for step in &self.steps {
            names.extend(&step.any_emits);
            names.extend(&step.undoes);
            for (input, emits) in &step.on {
                names.push(*input);
                names.extend(emits);
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl StepInfo {
    /// What the step may emit on `input`; `None` when it does not take it.
    pub fn emits_on(&self, input: &str) -> Option<&[&'static str]> {
        let named = self.on.iter().find(|(name, _)| *name == input).map(|(_, emits)| emits.as_slice());
        named.or(self.any.then_some(self.any_emits.as_slice()))
    }
}
