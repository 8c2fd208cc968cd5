//! Trial: a test of the wiring, on the in-memory engine, by a clock that is moved by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::{Running, StartError, start};
use crate::bus::view::{DeadLetterFilter, FlowView};
use crate::bus::{Accepted, Bus};
use crate::clock::Clock;
use crate::config::{Engine, Settings, TestAct, TestEvent, TestExpectation, TestSettings};
use crate::event::{Draft, Timestamp};
use crate::step::Registry;

/// Where the clock of a trial starts.
const START: Timestamp = Timestamp(1_774_944_000_000);
/// How long a trial waits for its shutdown.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of a test.
#[derive(Debug)]
pub struct Trial {
    /// What was not as expected; empty when everything was.
    pub failures: Vec<String>,
    /// The flows of what was sent, as they stand at the end.
    pub flows: Vec<FlowView>,
}

/// Runs a test of the wiring. Steps run for real: give them a world of their own.
///
/// # Errors
/// [`StartError`] when the wiring does not start, [`StartError::Threads`] when the system gives none.
pub fn trial(settings: &Settings, registry: Registry, test: &TestSettings) -> Result<Trial, StartError> {
    let mut settings = settings.clone();
    settings.store.engine = Engine::Memory;
    let clock = Clock::manual(START);
    let running = start(&settings, registry, &clock)?;
    let waiter = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let trial = waiter.block_on(run(&running, test));
    drop(running.shut_down(PATIENCE));
    Ok(trial)
}

async fn run(running: &Running, test: &TestSettings) -> Trial {
    let mut sent: BTreeMap<String, Accepted> = BTreeMap::new();
    let mut failures = Vec::new();
    for (index, act) in test.send.iter().enumerate() {
        match act {
            TestAct::Advance(pause) => running.let_pass(pause.advance).await,
            TestAct::Publish(event) => match running.bus().publish(vec![draft(event, index)]).await {
                Ok(accepted) => sent.extend(accepted.into_iter().map(|event| (event.id.clone(), event))),
                Err(error) => failures.push(format!("`{}` was refused: {error}", event.name)),
            },
        }
        running.idle().await;
    }
    let mut flows: BTreeMap<String, FlowView> = BTreeMap::new();
    for event in sent.values() {
        if let Ok(view) = running.bus().flow(&event.flow).await {
            flows.insert(event.flow.clone(), view);
        }
    }
    let found = Found { bus: running.bus(), sent: &sent, flows: &flows };
    failures.extend(found.failures(&test.expect).await);
    Trial { failures, flows: flows.into_values().collect() }
}

fn draft(event: &TestEvent, index: usize) -> Draft {
    let data = event.data.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
    Draft {
        id: Some(event.id.clone().unwrap_or_else(|| format!("sent-{}", index + 1))),
        key: event.key.clone(),
        ..Draft::json(event.name.clone(), Bytes::from(data))
    }
}

/// What there is at the end.
struct Found<'a> {
    bus: &'a Bus,
    sent: &'a BTreeMap<String, Accepted>,
    flows: &'a BTreeMap<String, FlowView>,
}

impl Found<'_> {
    async fn failures(&self, expect: &TestExpectation) -> Vec<String> {
        let mut failures = self.of_flows(expect);
        let events = self.events().await;
        for (name, wanted) in &expect.events {
            let count = events.iter().filter(|(found, _)| found == name).count();
            if count != *wanted {
                failures.push(format!("expected {wanted} events `{name}`, there are {count}"));
            }
        }
        for (name, wanted) in &expect.data {
            let of_name: Vec<&Value> =
                events.iter().filter(|(found, _)| found == name).map(|(_, data)| data).collect();
            if !of_name.iter().any(|data| holds(data, wanted)) {
                let found = of_name.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                failures.push(format!("no event `{name}` has {wanted}; there are: {found}"));
            }
        }
        for (subscription, keys) in &expect.state {
            for (key, wanted) in keys {
                let state = self.bus.state(subscription, key).await.ok();
                let state =
                    state.and_then(|state| serde_json::from_str(state.get()).ok()).unwrap_or(Value::Null);
                if !holds(&state, wanted) {
                    failures.push(format!(
                        "state of `{subscription}`, key {key:?}: expected {wanted}, is {state}"
                    ));
                }
            }
        }
        if let Some(wanted) = expect.dead {
            let letters = self.bus.dead_letters(DeadLetterFilter::default(), None, usize::MAX).await;
            let dead = letters.map_or(0, |page| page.items.len());
            if dead != wanted {
                failures.push(format!("expected {wanted} dead letters, there are {dead}"));
            }
        }
        failures
    }

    fn of_flows(&self, expect: &TestExpectation) -> Vec<String> {
        let mut failures = Vec::new();
        let flow = |id: &str| self.sent.get(id).and_then(|event| self.flows.get(&event.flow));
        for (id, wanted) in &expect.status {
            let status = flow(id).and_then(|flow| serde_json::to_value(flow.status).ok());
            let status = status.as_ref().and_then(Value::as_str).unwrap_or("unknown");
            if status != wanted {
                failures.push(format!("status of `{id}`: expected {wanted}, is {status}"));
            }
        }
        for (id, wanted) in &expect.result {
            let result = flow(id).and_then(|flow| flow.result.as_ref());
            let result =
                result.and_then(|result| serde_json::from_str(result.get()).ok()).unwrap_or(Value::Null);
            if !holds(&result, wanted) {
                failures.push(format!("result of `{id}`: expected {wanted}, is {result}"));
            }
        }
        failures
    }

    /// Name and data of every event of the flows.
    async fn events(&self) -> Vec<(String, Value)> {
        let mut events = Vec::new();
        for event in self.flows.values().flat_map(|flow| &flow.events) {
            let envelope = self.bus.envelope(&event.source, &event.id).await.ok();
            let data = envelope.and_then(|envelope| serde_json::from_slice(&envelope.data).ok());
            events.push((event.name.clone(), data.unwrap_or(Value::Null)));
        }
        events
    }
}

/// Whether `found` has what is wanted of it: of objects the named fields, of anything else the same.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| holds(found, wanted)))
        }
        _ => found == wanted,
    }
}
