//! `[test.<name>]`: what is sent into the wiring and what has to come of it, run by `tidegate test`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::problem::Problem;
use super::read::{Reader, Section};
use super::units::parse_duration;
use crate::event::EventName;

/// A test of the wiring.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestSettings {
    /// Its name, the table's.
    #[serde(skip)]
    pub name: String,
    /// What is done, in order.
    pub send: Vec<TestAct>,
    /// What has to be so afterwards.
    pub expect: TestExpectation,
}

/// One thing that a test does: publish an event, or let time pass.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, expecting = "write { name = \"…\", data = {…} } or { advance = \"10m\" }")]
pub enum TestAct {
    /// An event from outside.
    Publish(TestEvent),
    /// Time, by the bus clock.
    Advance(TestPause),
}

/// An event from outside.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestEvent {
    /// Its name.
    #[serde(deserialize_with = "event_name")]
    pub name: EventName,
    /// Its id, to expect something of its flow; made up when left out.
    pub id: Option<String>,
    /// Its key; the event type's own when left out.
    pub key: Option<String>,
    /// Its data; an empty object when left out.
    pub data: Option<Value>,
}

/// Time that passes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestPause {
    /// How much.
    #[serde(deserialize_with = "duration")]
    pub advance: Duration,
}

/// What has to be so when nothing moves any more. What is left out may be anything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestExpectation {
    /// How many events of a name there are in all.
    pub events: BTreeMap<String, usize>,
    /// Data that some event of a name has; fields that are not named may be anything.
    pub data: BTreeMap<String, Value>,
    /// The status of the flow of an event that was sent, by the event's id.
    pub status: BTreeMap<String, String>,
    /// The result of the flow of an event that was sent, by the event's id; fields as for `data`.
    pub result: BTreeMap<String, Value>,
    /// The state of a key, by subscription and key; fields as for `data`.
    pub state: BTreeMap<String, BTreeMap<String, Value>>,
    /// How many dead letters there are.
    pub dead: Option<usize>,
}

fn event_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventName, D::Error> {
    let text = String::deserialize(deserializer)?;
    EventName::new(&text).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// Reads every test.
pub(super) fn tests(reader: &Reader<'_>, all: &Section<'_>) -> BTreeMap<String, TestSettings> {
    let mut tests = BTreeMap::new();
    for name in all.names() {
        if let Some(test) = test(reader, all, name) {
            tests.insert(name.to_owned(), test);
        }
    }
    tests
}

fn test(reader: &Reader<'_>, all: &Section<'_>, name: &str) -> Option<TestSettings> {
    let value = all.values()?.get(name)?.clone();
    match value.try_into::<TestSettings>() {
        Ok(test) => Some(TestSettings { name: name.to_owned(), ..test }),
        Err(error) => {
            let text = error.to_string().trim_end().replace('\n', " ");
            let problem = Problem::error(all.place(name), format!("[test.{name}]: {text}"));
            let help = "a test has `send`, a list of events and pauses, and `expect` with `events`, `data`, \
                        `status`, `result`, `state` or `dead`";
            reader.note(problem.with_help(help));
            None
        }
    }
}
