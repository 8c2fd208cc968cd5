//! The harness: a bus in a test.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::chaos::{Chaos, under};
use super::fault::{CrashPoint, Engine, Plan};
use crate::bus::view::SubscriptionView;
use crate::bus::{Accepted, Bus, Operator, PublishError, ReloadAsk, ReloadError, WiringDiff};
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::event::{Draft, EventName, Timestamp};
use crate::runtime::{self, Running};
use crate::step::Registry;
use crate::store::{MemoryStore, Store, StoreSettings};

/// Where a harness's clock starts: a morning in 2026, so that printed times look like times.
const START: Timestamp = Timestamp(1_774_944_000_000);

/// A bus in a test. Panics with the flows' timelines when an expectation is not met; dropping it ends the
/// bus as a crash does.
#[derive(Debug)]
pub struct Harness {
    settings: Settings,
    registry: Registry,
    chaos: Chaos,
    engine: Engine,
    plan: Plan,
    clock: Clock,
    waiter: tokio::runtime::Runtime,
    running: Option<Running>,
    /// Starts again by itself after a planned crash, and publishes again what met it.
    is_enduring: bool,
    /// Ids given so far to events that came without one.
    ids: u64,
}

impl Harness {
    /// Starts a bus with these steps and this wiring (the text of a `topology.toml`), on a new in-memory
    /// store.
    ///
    /// # Panics
    /// When the wiring has problems; they are printed.
    pub fn new(registry: impl Into<Registry>, wiring: &str) -> Self {
        match config::load_text(wiring) {
            Ok(loaded) => Self::with_settings(registry, loaded.settings),
            Err(problems) => panic!("the wiring has problems:\n{problems}"),
        }
    }

    /// Starts a bus with these steps and the config files of a folder, on a new in-memory store.
    ///
    /// # Panics
    /// As [`Harness::new`].
    pub fn from_config(registry: impl Into<Registry>, folder: &std::path::Path) -> Self {
        match config::load(folder, [], []) {
            Ok(loaded) => Self::with_settings(registry, loaded.settings),
            Err(problems) => panic!("the config has problems:\n{problems}"),
        }
    }

    /// Starts a bus with these steps and settings, on a new in-memory store.
    ///
    /// # Panics
    /// As [`Harness::new`].
    pub fn with_settings(registry: impl Into<Registry>, settings: Settings) -> Self {
        let with = StoreSettings {
            status_ttl: settings.http.status_ttl,
            dedupe_window: settings.http.dedupe_window,
            ..StoreSettings::default()
        };
        let store = MemoryStore::new(&with).unwrap_or_else(|error| panic!("{error}"));
        Self::on_store(registry, settings, Box::new(store))
    }

    /// Starts a bus on a store of the test's choice.
    ///
    /// # Panics
    /// As [`Harness::new`].
    pub fn on_store(registry: impl Into<Registry>, settings: Settings, store: Box<dyn Store>) -> Self {
        let waiter = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let mut harness = Self {
            settings,
            registry: registry.into(),
            chaos: Chaos::default(),
            engine: Engine::new(store),
            plan: Plan::default(),
            clock: Clock::manual(START),
            waiter: waiter.unwrap_or_else(|error| panic!("{error}")),
            running: None,
            is_enduring: false,
            ids: 0,
        };
        harness.start();
        harness
    }

    fn start(&mut self) {
        let store = Box::new(self.engine.with_faults(&self.plan));
        let registry = under(&self.registry, self.chaos);
        match runtime::start_on(store, &self.settings, registry, &self.clock) {
            Ok(running) => self.running = Some(running),
            Err(error) => panic!("the bus does not start: {error}"),
        }
    }

    /// The handle on the bus.
    pub fn bus(&self) -> &Bus {
        self.running().bus()
    }

    /// The clock; move it with [`Harness::advance`].
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn running(&self) -> &Running {
        self.running.as_ref().unwrap_or_else(|| panic!("the bus is stopped: restart() it"))
    }

    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.waiter.block_on(what)
    }

    /// Publishes an event from outside; the bus assigns its id.
    ///
    /// # Panics
    /// When the bus refuses it.
    pub fn publish(&mut self, name: &str, data: impl Serialize) -> Accepted {
        let draft = draft(name, data);
        self.publish_draft(draft)
    }

    /// Publishes an event under an id of the test's choice.
    ///
    /// # Panics
    /// When the bus refuses it.
    pub fn publish_as(&mut self, id: &str, name: &str, data: impl Serialize) -> Accepted {
        let draft = Draft { id: Some(id.to_owned()), ..draft(name, data) };
        self.publish_draft(draft)
    }

    /// Publishes an event with every attribute of the test's choice.
    ///
    /// # Panics
    /// When the bus refuses it.
    pub fn publish_draft(&mut self, mut draft: Draft) -> Accepted {
        if self.is_enduring && draft.id.is_none() {
            self.ids += 1;
            draft.id = Some(format!("given-{}", self.ids));
        }
        match self.try_publish(draft.clone()) {
            Err(PublishError::Stopped { .. }) if self.endure() => self.publish_draft(draft),
            published => published.unwrap_or_else(|error| panic!("refused: {error}")),
        }
    }

    /// Publishes an event and tells what the bus says.
    ///
    /// # Errors
    /// What the bus refuses with.
    pub fn try_publish(&mut self, draft: Draft) -> Result<Accepted, PublishError> {
        let accepted = self.wait(self.bus().publish(vec![draft]))?;
        accepted.into_iter().next().ok_or(PublishError::Stopped { cause: "no answer".to_owned() })
    }

    /// Waits until nothing can move before somebody publishes or the clock advances.
    pub fn run_until_idle(&mut self) {
        self.wait(self.running().idle());
        if self.endure() {
            self.run_until_idle();
        }
    }

    /// After the planned crash: starts again, once, when this harness is to endure it.
    fn endure(&mut self) -> bool {
        if !self.is_enduring {
            return false;
        }
        // The bus may still be on its way to notice that its store has failed.
        self.wait(self.running().idle());
        let has_crashed = self.has_crashed();
        if has_crashed {
            self.restart();
        }
        has_crashed
    }

    /// From now on a planned crash is survived: the bus starts again on what is stored, and a publisher who
    /// met it publishes again under the same id.
    pub(super) fn endure_crashes(&mut self) {
        self.is_enduring = true;
    }

    /// Moves the clock on, and stops on the way at every time at which something is due, until it is
    /// through: what happens in between happens at its own time, as it would by a real clock.
    pub fn advance(&mut self, by: Duration) {
        let end = self.clock.now().plus(by);
        self.run_until_idle();
        while let Some(due) = self.running().next_due().filter(|due| *due <= end) {
            self.move_to(due);
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Timestamp) {
        self.clock.advance(Duration::from_millis(at.millis_since(self.clock.now())));
        self.running().nudge();
        self.run_until_idle();
    }

    /// Runs attempts twice: `percent` of a hundred, chosen by `seed`. Takes effect with a restart.
    pub fn duplicate(&mut self, seed: u64, percent: u8) {
        self.chaos = Chaos { seed, duplicates: percent, ..self.chaos };
        self.restart();
    }

    /// Lets attempts end in another order, chosen by `seed`. Takes effect with a restart.
    pub fn shuffle(&mut self, seed: u64) {
        self.chaos = Chaos { seed, is_shuffled: true, ..self.chaos };
        self.restart();
    }

    /// Plans the death of the process; it is over when [`Harness::has_crashed`] says so.
    pub fn crash_at(&mut self, point: CrashPoint) {
        *self.plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(point);
    }

    /// Whether a planned death is yet to come.
    pub fn is_planned(&self) -> bool {
        self.plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }

    /// Whether the planned death has come.
    pub fn has_crashed(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.health().failure().is_some())
    }

    /// Ends the bus without grace, as a crash does, and starts it again on what is stored, with the wall clock read anew.
    pub fn restart(&mut self) {
        drop(self.running.take());
        self.clock = self.clock.restarted();
        self.start();
    }

    /// Starts again on what is stored, as [`Harness::restart`], with other steps and another wiring.
    ///
    /// # Panics
    /// As [`Harness::new`].
    pub fn rewire(&mut self, registry: impl Into<Registry>, wiring: &str) {
        drop(self.running.take());
        self.registry = registry.into();
        self.settings = config::load_text(wiring).unwrap_or_else(|problems| panic!("{problems}")).settings;
        self.start();
    }

    /// Takes another wiring (the text of a `topology.toml`) while the bus runs, and tells what has changed.
    ///
    /// # Panics
    /// When it is refused.
    pub fn reload(&mut self, wiring: &str) -> WiringDiff {
        self.try_reload(wiring, false).unwrap_or_else(|error| panic!("not reloaded: {error}"))
    }

    /// As [`Harness::reload`], and tells what the bus says; with `dry_run` nothing changes.
    ///
    /// # Errors
    /// What the bus refuses with.
    pub fn try_reload(&mut self, wiring: &str, dry_run: bool) -> Result<WiringDiff, ReloadError> {
        let (loaded, operator) = (config::load_text(wiring), Operator::default());
        let new = loaded.as_ref().ok().map(|loaded| loaded.settings.clone());
        let ask = ReloadAsk { dry_run, keeps_all: false, operator };
        let diff = self.wait(self.running().reload(loaded, ask))?;
        // A restart of the process would read the same files.
        if let Some(new) = new.filter(|_| !dry_run) {
            self.settings = new;
        }
        Ok(diff)
    }

    /// Pauses or resumes a subscription.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn pause(&mut self, subscription: &str, paused: bool) {
        self.wait(self.bus().pause(subscription, paused, Operator::default()))
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// A subscription as it stands.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn subscription(&self, name: &str) -> SubscriptionView {
        self.wait(self.bus().subscription(name)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for something outside of the bus, such as a signal from a step.
    pub fn wait_for<T>(&self, what: impl Future<Output = T>) -> T {
        self.wait(what)
    }

    /// Takes the running bus out, to end it in a way of the test's own; [`Harness::restart`] starts another.
    ///
    /// # Panics
    /// When it was ended already.
    pub fn take_running(&mut self) -> Running {
        self.running.take().unwrap_or_else(|| panic!("the bus is stopped: restart() it"))
    }

    /// Ends the bus with grace: attempts that run may end.
    ///
    /// # Panics
    /// When the store fails at the end.
    pub fn shut_down(&mut self) {
        if let Some(running) = self.running.take() {
            running.shut_down(Duration::from_secs(5)).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// A draft of an event with JSON data.
fn draft(name: &str, data: impl Serialize) -> Draft {
    let name = EventName::new(name).unwrap_or_else(|error| panic!("{error}"));
    let data = serde_json::to_vec(&data).unwrap_or_else(|error| panic!("{error}"));
    Draft::json(name, Bytes::from(data))
}
