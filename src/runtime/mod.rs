//! Runtime: assembles everything from settings and steps; start order, drain, shutdown.
//!
//! ```text
//! start:  open the store ─> declare subscriptions ─> bus actor ─> other actors ─> (HTTP door)
//! stop:   refuse publishers ─> start nothing ─> let attempts end ─> interrupt the rest
//!         ─> write what is settled ─> actors end ─> the bus actor closes the store
//! ```
//!
//! The only place where `config` types become those of the other rooms.

mod files;
mod reload;
mod serve;
mod trial;
mod watch;
mod wire;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix::System;
use tokio::runtime::{Builder, Runtime as Pool};
use tracing::{info, warn};

use crate::activity::Activity;
use crate::bus::{self, Bus, BusThread, Health, Started};
use crate::clock::Clock;
use crate::config::{self, Problems, Settings};
use crate::delivery::Ports;
use crate::event::Timestamp;
use crate::metrics::Metrics;
use crate::step::{Registry, RegistryError};
use crate::store::{Store, StoreError};

pub use reload::{ConfigSource, Load};
pub use serve::{ServeError, serve};
pub use trial::{Trial, trial};

/// Threads for reads that block, beside those of blocking steps.
const READ_THREADS: usize = 32;

/// How long a shutdown waits for the last outcomes to reach the disk once nothing runs any more.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// The bus could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The wiring does not fit the steps.
    #[error("the wiring does not fit the registered steps:\n{0}")]
    Wiring(Problems),
    /// Steps are registered wrongly.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gave no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// A bus that runs in this process, on threads of its own.
#[derive(Debug)]
pub struct Running {
    bus: Bus,
    ports: Ports,
    reloading: reload::Reloading,
    health: Health,
    metrics: Arc<Metrics>,
    activity: Activity,
    clock: Clock,
    system: System,
    system_thread: Option<JoinHandle<()>>,
    bus_thread: Option<BusThread>,
    pool: Option<Pool>,
}

/// Starts the bus of these settings and steps; the store is opened from the settings.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub fn start(settings: &Settings, registry: Registry, clock: &Clock) -> Result<Running, StartError> {
    let store = wire::open_store(settings, clock)?;
    start_on(store, settings, registry, clock)
}

/// Starts the bus on a store that is open already.
///
/// # Errors
/// [`StartError`]; nothing runs then, and the store is closed.
pub fn start_on(
    store: Box<dyn Store>,
    settings: &Settings,
    registry: Registry,
    clock: &Clock,
) -> Result<Running, StartError> {
    let registry = registry.check()?;
    let problems = config::check(settings, &registry.catalog());
    for problem in problems.warnings() {
        warn!("{problem}");
    }
    if problems.has_errors() {
        return Err(StartError::Wiring(problems));
    }
    let pool = Builder::new_multi_thread()
        .worker_threads(wire::step_threads(settings))
        .max_blocking_threads(settings.steps.blocking_threads + READ_THREADS)
        .thread_name("tidegate-step")
        .enable_all()
        .build()?;
    let (activity, metrics) = (Activity::default(), Arc::new(Metrics::default()));
    let registry = Arc::new(registry);
    let graph = wire::graph(settings, &registry);
    let reloading = reload::Reloading::new(Arc::clone(&registry), graph.clone(), settings);
    let parts = wire::bus_start(wire::Parts {
        store,
        registry,
        graph,
        settings,
        clock,
        activity: &activity,
        metrics: &metrics,
        pool: pool.handle(),
    });
    let (system, system_thread, started) = start_system(parts)?;
    let Started { bus, ports, health, thread } = started;
    health.ready();
    info!(subscriptions = ports.values().count(), "bus started");
    Ok(Running {
        bus,
        ports,
        reloading,
        health,
        metrics,
        activity,
        clock: clock.clone(),
        system,
        system_thread: Some(system_thread),
        bus_thread: Some(thread),
        pool: Some(pool),
    })
}

/// Starts the actix system on a thread of its own and the bus in it.
fn start_system(parts: bus::BusStart) -> Result<(System, JoinHandle<()>, Started), StartError> {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("tidegate-system".into()).spawn(move || {
        let runner = System::new();
        let started = runner.block_on(async { bus::start(parts) });
        let is_started = started.is_ok();
        let is_wanted = tell.send((System::current(), started)).is_ok();
        if is_started
            && is_wanted
            && let Err(error) = runner.run()
        {
            warn!(%error, "the actor system ended with an error");
        }
    })?;
    let (system, started) =
        told.recv().map_err(|_| std::io::Error::other("the actor system's thread ended at its start"))?;
    Ok((system, thread, started?))
}

impl Running {
    /// The handle on the bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Its health.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The actix system the actors live in.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// All metrics as Prometheus text, with the gauges as they are now.
    pub fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let (bus, metrics) = (self.bus.clone(), Arc::clone(&self.metrics));
        move || {
            bus.observe();
            metrics.render()
        }
    }

    /// Where the doors of this bus count.
    pub fn counters(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Waits until nothing can move any more before somebody publishes or the clock advances.
    pub async fn idle(&self) {
        self.activity.idle().await;
    }

    /// When something is due next by a clock that is moved by hand, after now: a retry, a start that the rate
    /// holds back, a delayed event.
    pub fn next_due(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let due = self.ports.values().filter_map(|port| port.next_due()).chain(self.bus.next_due());
        due.filter(|at| *at > now).min()
    }

    /// Moves a clock that is moved by hand, and stops at every time at which something is due.
    pub async fn let_pass(&self, by: Duration) {
        let end = self.clock.now().plus(by);
        self.idle().await;
        loop {
            let next = self.next_due().filter(|due| *due <= end).unwrap_or(end);
            self.clock.advance(Duration::from_millis(next.millis_since(self.clock.now())));
            self.nudge();
            self.idle().await;
            if next >= end {
                return;
            }
        }
    }

    /// Tells everybody who waits for a time that the clock was moved by hand.
    pub fn nudge(&self) {
        for port in self.ports.values() {
            port.nudge();
        }
        self.bus.nudge();
    }

    /// Starts nothing more and ends what runs, which counts as nothing: for a store that takes nothing any more.
    fn stand_still(&self) {
        for port in self.ports.values() {
            port.drain();
            port.interrupt();
        }
    }

    /// The clock it runs by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Shuts down in order. Attempts that run have `patience` to end; what does not is interrupted and
    /// counts as nothing.
    ///
    /// # Errors
    /// The store's failure, also one that ended the bus before.
    pub fn shut_down(mut self, patience: Duration) -> Result<(), StoreError> {
        self.health.draining();
        for port in self.ports.values() {
            port.drain();
        }
        if let Some(pool) = &self.pool {
            pool.block_on(async {
                let _ended = tokio::time::timeout(patience, self.attempts_end()).await.is_ok();
                for port in self.ports.values() {
                    port.interrupt();
                }
                let _flushed = tokio::time::timeout(FLUSH_PATIENCE, self.activity.idle()).await.is_ok();
                let _told = tokio::time::timeout(FLUSH_PATIENCE, self.bus.ends_well()).await.is_ok();
            });
        }
        self.end()
    }

    async fn attempts_end(&self) {
        while self.ports.values().any(|port| port.inflight() > 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the threads; the bus actor is told last, and closes the store.
    fn end(&mut self) -> Result<(), StoreError> {
        self.health.draining();
        self.system.stop();
        if let Some(thread) = self.system_thread.take()
            && thread.join().is_err()
        {
            warn!("the actor system's thread panicked");
        }
        if let Some(pool) = self.pool.take() {
            pool.shutdown_timeout(Duration::from_millis(500));
        }
        self.bus_thread.take().map_or(Ok(()), BusThread::end)
    }
}

impl Drop for Running {
    /// Ends the threads without patience; what is on disk is safe.
    fn drop(&mut self) {
        if self.bus_thread.is_some()
            && let Err(error) = self.end()
        {
            warn!(%error, "the store failed at the end");
        }
    }
}
