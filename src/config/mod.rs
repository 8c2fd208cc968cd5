//! Config: typed settings and the wiring of subscriptions; loading, validating, explaining.
//!
//! ```text
//! default.toml < topology.toml < local.toml < TIDEGATE__… < flags
//!      │ spans: every key's file, line and column
//!      ▼
//!   load (layers) ─> shape (checks, types) ─> Settings ─> check (against the steps)
//! ```
//!
//! Every problem is collected and told with its file, line, column and what to write instead; nothing
//! is ignored: a key nobody knows is an error, in a file as well as in the environment. No other room
//! reads configuration files or the environment.
//!
//! This room starts nothing and converts nothing: `runtime` makes subscriptions out of the settings.

mod app;
mod breaker;
mod check;
mod filter;
mod keys;
mod load;
mod problem;
mod read;
mod refusal;
mod settings;
mod shape;
mod spans;
mod subscription;
mod timed;
mod trial;
mod units;

#[cfg(test)]
mod slip_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use crate::event::EventName;
pub use breaker::BreakerSettings;

pub use check::check;
pub use keys::Keys;
pub use load::{Loaded, load, load_text, load_with_environment};
pub use problem::{Place, Problem, Problems, Severity};
pub use settings::{
    BackoffSettings, BusSettings, DefaultSettings, Engine, EventSettings, Exhausted, HttpSettings, LogFormat,
    LogSettings, Missed, OnFailure, Order, ReloadSettings, RetrySettings, ScheduleSettings, ShutdownSettings,
    StartFrom, StepSettings, StoreSettings, SubscriptionSettings,
};
pub use spans::Places;
pub use trial::{TestAct, TestEvent, TestExpectation, TestPause, TestSettings};
pub use units::{Rate, UnitError, deserialize_duration, parse_duration, parse_rate, parse_size};

/// Everything that the files, the environment and the flags say, checked.
///
/// `Settings::default()` is what `config/default.toml` holds, without any subscription.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The HTTP door and what pollers may ask for.
    pub http: HttpSettings,
    /// Where events are kept, and for how long.
    pub store: StoreSettings,
    /// Limits of admission.
    pub bus: BusSettings,
    /// Threads that steps run on.
    pub steps: StepSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// How a shutdown ends.
    pub shutdown: ShutdownSettings,
    /// What makes it read the config again.
    pub reload: ReloadSettings,
    /// What a subscription gets that does not say otherwise.
    pub defaults: DefaultSettings,
    /// The subscriptions by name; the defaults are filled in.
    pub subscriptions: BTreeMap<String, SubscriptionSettings>,
    /// The tests of the wiring, by name.
    pub tests: BTreeMap<String, TestSettings>,
    /// Events that the bus publishes itself, by the schedule's name.
    pub schedules: BTreeMap<String, ScheduleSettings>,
    /// What holds for the flows that an event begins, by its name.
    pub events: BTreeMap<EventName, EventSettings>,
    /// The application's own tables, below `app`.
    pub app: toml::Table,
    /// Where each key stands, for reports; empty when the settings were not loaded.
    pub places: Places,
}

impl Settings {
    /// Reads the application's table `[app.<section>]` into a type of its own.
    ///
    /// A section that no file has reads like an empty table, so that a type with `#[serde(default)]`
    /// needs no file. `#[serde(deny_unknown_fields)]` is the application's choice.
    ///
    /// # Errors
    /// One [`Problem`] at the section's place when the table does not fit the type.
    ///
    /// # Examples
    /// ```
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default)]
    /// struct Bank {
    ///     #[serde(deserialize_with = "tidegate::config::deserialize_duration")]
    ///     latency: std::time::Duration,
    /// }
    /// let bank: Bank = tidegate::config::Settings::default().app("bank")?;
    /// assert!(bank.latency.is_zero());
    /// # Ok::<(), tidegate::config::Problems>(())
    /// ```
    pub fn app<T: DeserializeOwned>(&self, section: &str) -> Result<T, Problems> {
        let value = self.app.get(section).cloned().unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
        value.try_into().map_err(|error: toml::de::Error| {
            let place = self.places.of(&["app".to_owned(), section.to_owned()]);
            let message = error.to_string().trim_end().replace('\n', " ");
            Problem::error(place, format!("[app.{section}]: {message}")).into()
        })
    }
}
