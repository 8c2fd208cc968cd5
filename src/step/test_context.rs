//! A context for the unit tests of steps: effects in memory, a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Cancellation, ContextParts, Effects, StepContext, StepError};
use crate::clock::Clock;
use crate::event::{Envelope, EventName, Label, Timestamp};

/// Builds a [`StepContext`] for a step's own tests; `StepContext::for_test()` is the short way.
///
/// The fields are what the step will read; set those that the test is about.
///
/// ```
/// use tidegate::step::TestContext;
///
/// let mut test = TestContext::new();
/// test.event.id = "order-1".to_owned();
/// test.attempt = 3;
/// let cx = test.build();
/// assert_eq!((cx.event_id(), cx.attempt()), ("order-1", 3));
/// ```
#[derive(Debug, Clone)]
pub struct TestContext {
    /// The event; `event-1` of `/test`, named `test.event`, in the flow `flow-1`.
    pub event: Envelope,
    /// The subscription, `test`.
    pub subscription: String,
    /// The lane's key, empty.
    pub key: String,
    /// The attempt, 1.
    pub attempt: u32,
    /// Stands at 2026-01-01T00:00:00Z until it is moved.
    pub clock: Clock,
    /// When the attempt times out; never.
    pub deadline: Option<Timestamp>,
    /// Cancel it to see how the step ends.
    pub cancelled: Cancellation,
    effects: Arc<MemoryEffects>,
}

#[derive(Debug, Default)]
struct MemoryEffects {
    recorded: Mutex<BTreeMap<String, Bytes>>,
    failing: Mutex<BTreeSet<String>>,
    told: Mutex<Vec<String>>,
}

impl TestContext {
    /// The defaults.
    pub fn new() -> Self {
        let start = Timestamp(1_767_225_600_000);
        let label = Label {
            id: "event-1".to_owned(),
            source: "/test".to_owned(),
            name: test_name(),
            time: start,
            key: String::new(),
            flow: "flow-1".to_owned(),
            causation: None,
        };
        Self {
            event: Envelope::new(label, Bytes::from_static(b"{}")),
            subscription: "test".to_owned(),
            key: String::new(),
            attempt: 1,
            clock: Clock::manual(start),
            deadline: None,
            cancelled: Cancellation::default(),
            effects: Arc::default(),
        }
    }

    /// The context. Built twice it gives two attempts of one delivery: they share what `run` records.
    pub fn build(&self) -> StepContext {
        let effects: Arc<dyn Effects> = Arc::<MemoryEffects>::clone(&self.effects);
        StepContext::new(ContextParts {
            event: Arc::new(self.event.clone()),
            subscription: self.subscription.as_str().into(),
            key: self.key.as_str().into(),
            attempt: self.attempt,
            clock: self.clock.clone(),
            deadline: self.deadline,
            cancelled: self.cancelled.clone(),
            effects,
        })
    }

    /// Makes recording under `name` fail once: what a crash after the effect looks like to the next attempt.
    pub fn fail_next_record(&self, name: &str) {
        lock(&self.effects.failing).insert(name.to_owned());
    }

    /// Names of the effects recorded so far, sorted.
    pub fn recorded(&self) -> Vec<String> {
        lock(&self.effects.recorded).keys().cloned().collect()
    }

    /// Every progress told so far.
    pub fn progress(&self) -> Vec<String> {
        lock(&self.effects.told).clone()
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }
}

impl Default for TestContext {
    fn default() -> Self {
        Self::new()
    }
}

impl StepContext {
    /// A context for a step's own test, with the defaults of [`TestContext`].
    pub fn for_test() -> Self {
        TestContext::new().build()
    }

    /// The next attempt of the same delivery: it knows what this one recorded, and nothing that it told.
    #[must_use]
    pub fn next_attempt(&self) -> Self {
        let parts = self.parts();
        Self::new(ContextParts {
            event: Arc::clone(&parts.event),
            subscription: Arc::clone(&parts.subscription),
            key: Arc::clone(&parts.key),
            attempt: parts.attempt.saturating_add(1),
            clock: parts.clock.clone(),
            deadline: parts.deadline,
            cancelled: parts.cancelled.clone(),
            effects: Arc::clone(&parts.effects),
        })
    }

    /// The result that the step has resolved.
    pub fn resolved(&self) -> Option<Value> {
        serde_json::from_slice(&self.peek_told().0?).ok()
    }

    /// The undos that the step has recorded, in order: name and data.
    pub fn undos(&self) -> Vec<(&'static str, Value)> {
        let undos = self.peek_undos().0.into_iter();
        undos.map(|undo| (undo.name, serde_json::from_slice(&undo.data).unwrap_or(Value::Null))).collect()
    }

    /// Whether the step has passed the flow's point of no return.
    pub fn is_pivot(&self) -> bool {
        self.peek_undos().1
    }

    /// The progress that the step told last.
    pub fn last_progress(&self) -> Option<String> {
        self.peek_told().1
    }
}

impl Effects for MemoryEffects {
    fn recorded(&self, name: String) -> BoxFuture<'static, Result<Option<Bytes>, StepError>> {
        Box::pin(std::future::ready(Ok(lock(&self.recorded).get(&name).cloned())))
    }

    fn record(&self, name: String, value: Bytes) -> BoxFuture<'static, Result<(), StepError>> {
        let outcome = if lock(&self.failing).remove(&name) {
            Err(StepError::retry(format!("recording the effect `{name}` was made to fail")))
        } else {
            lock(&self.recorded).insert(name, value);
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }

    fn progress(&self, text: String) {
        lock(&self.told).push(text);
    }
}

#[expect(clippy::expect_used, reason = "the name is a valid constant")]
fn test_name() -> EventName {
    EventName::new("test.event").expect("a valid name")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
