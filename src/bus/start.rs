//! Start: from an opened store and the wiring to a running bus.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock};

use actix::Arbiter;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::actor::{BusParts, BusThread};
use super::at_start::at_start;
use super::crew::{Crew, Seat};
use super::dispatch::Dispatch;
use super::handle::Inner;
use super::jobs::{JobBell, Jobs, Runner};
use super::replay::{ReplayBell, Replays};
use super::schedules::{self, Schedule, Schedules};
use super::timers::{Deadlines, DelayBell, Delays};
use super::upkeep::Upkeep;
use super::watch::Watches;
use super::watchdog::Watchdog;
use super::{Admission, AdmissionLimits, Bus, Health, compensation};
use crate::activity::Activity;
use crate::clock::Clock;
use crate::committer::{Committer, CommitterSettings, Submitter};
use crate::delivery::{Compensations, FlowBell, Order, Ports, Reads, Routing, Subscription};
use crate::event::EventName;
use crate::metrics::Metrics;
use crate::step::Registry;
use crate::store::{Change, Receipt, Store, StoreError, SubscriptionId, SubscriptionSpec};

/// Limits and modes of a bus.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// What publishers may have under way.
    pub limits: AdmissionLimits,
    /// Most changes in one group commit.
    pub group_changes: usize,
    /// Most events in one publication.
    pub batch_max: usize,
    /// Refuse events that nobody listens to.
    pub strict: bool,
    /// Arbiters that the subscriptions are spread over.
    pub arbiters: usize,
    /// Attempts of blocking steps at once, all subscriptions together.
    pub blocking_steps: usize,
    /// How long one commit may take before that is told.
    pub stall_after: std::time::Duration,
    /// The committer's own.
    pub committer: CommitterSettings,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self {
            limits: AdmissionLimits::default(),
            group_changes: 1_024,
            batch_max: 1_000,
            strict: false,
            arbiters: 2,
            blocking_steps: 16,
            stall_after: std::time::Duration::from_secs(10),
            committer: CommitterSettings::default(),
        }
    }
}

/// By subscription and event name: the subscriptions that an open delivery may still lead to.
#[derive(Clone)]
pub struct Reach(pub(crate) Arc<ReachFn>);

/// The question behind [`Reach`].
pub(crate) type ReachFn = dyn Fn(&str, &EventName) -> Vec<String> + Send + Sync;

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reach")
    }
}

/// What a bus is started from.
pub struct BusStart {
    /// The opened store.
    pub store: Box<dyn Store>,
    /// The application's steps.
    pub registry: Arc<Registry>,
    /// The wired subscriptions, each with what the store is to know of it.
    pub subscriptions: Vec<(SubscriptionSpec, Subscription)>,
    /// What the wiring says of where a delivery may lead.
    pub reach: Reach,
    /// Events that the bus publishes itself.
    pub schedules: Vec<Schedule>,
    /// How long a flow may take, by the name of the event that begins it.
    pub deadlines: BTreeMap<EventName, std::time::Duration>,
    /// What time it is.
    pub clock: Clock,
    /// What is in hand.
    pub activity: Activity,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where steps run and reads may block.
    pub pool: Handle,
    /// Limits and modes.
    pub settings: BusSettings,
}

impl std::fmt::Debug for BusStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusStart").field("subscriptions", &self.subscriptions.len()).finish_non_exhaustive()
    }
}

/// A running bus, with what is needed to end it.
#[derive(Debug)]
pub struct Started {
    /// The handle.
    pub bus: Bus,
    /// The subscriptions' ports.
    pub ports: Ports,
    /// Its health.
    pub health: Health,
    /// The bus actor's thread: end it when the other actors are told to stop.
    pub thread: BusThread,
}

/// Starts a bus within the current actix system.
///
/// # Errors
/// [`StoreError`] when the subscriptions cannot be declared.
///
/// # Panics
/// Outside of an actix system.
#[expect(clippy::too_many_lines, reason = "it is one list: each part is made once, and handed on")]
pub fn start(mut parts: BusStart) -> Result<Started, StoreError> {
    let watches = Watches::default();
    let compensations = Compensations::new(parts.activity.clone());
    let bell = bell(&watches, &compensations);
    let seats = declare(&mut parts, &bell)?;
    let reader = parts.store.reader();
    let upkeep = Upkeep::new(parts.store.tools());
    compensation::restore(&*reader, &compensations)?;
    let (submitter, requests) = Submitter::new(parts.activity.clone());
    let delays = DelayBell::new(parts.activity.clone());
    let replays = ReplayBell::new(parts.activity.clone());
    let jobs = Jobs { lock: tokio::sync::Mutex::default(), bell: JobBell::new(parts.activity.clone()) };
    let ports = Ports::new(seats.values().map(|seat| seat.port.clone()));
    let routing = Routing::filtered(
        seats.iter().map(|(id, seat)| (*id, seat.patterns())).collect(),
        seats.iter().map(|(id, seat)| (*id, seat.spec.filter.clone())),
    );

    let admission = Admission::new(parts.settings.limits.clone());
    let health = Health::default();
    let dispatch = Dispatch {
        admission: admission.clone(),
        reader: Arc::clone(&reader),
        ports: ports.clone(),
        watches: watches.clone(),
        delays: delays.clone(),
        compensations: compensations.clone(),
        clock: parts.clock.clone(),
        health: health.clone(),
        metrics: Arc::clone(&parts.metrics),
        batches: foldhash::HashMap::default(),
    };
    let (ending, settings) = (CancellationToken::new(), parts.settings.committer.clone());
    let maintain_every = settings.maintain_every;
    let committer =
        Committer::new(parts.store, parts.clock.clone(), Box::new(dispatch), ending.clone(), settings);
    let durable = committer.durable();
    let thread = BusThread::start(BusParts {
        committer,
        requests,
        waiting: submitter.waiting().clone(),
        group_changes: parts.settings.group_changes,
        maintain_every,
        ending,
        health: health.clone(),
    })?;

    let stats = reader.stats();
    admission.observe(stats.disk_free, stats.unfolded_bytes);
    let watchdog = Watchdog {
        underway: parts.settings.committer.underway.clone(),
        patience: parts.settings.stall_after,
        health: health.clone(),
    };
    let blocking = Arc::new(Semaphore::new(parts.settings.blocking_steps));
    let (pool, durable_for_reads) = (parts.pool.clone(), durable.clone());
    let reads = Reads { reader: Arc::clone(&reader), durable: durable_for_reads, pool, blocking };
    let inner = Inner {
        crew: crew(seats, reads, bell, parts.activity, parts.settings.arbiters),
        reloader: OnceLock::new(),
        submitter,
        admission,
        routing,
        registry: parts.registry,
        reader,
        durable,
        ports,
        reach: parts.reach,
        watches,
        delays,
        replays,
        jobs,
        deadlines: Deadlines::default(),
        schedules: Schedules::new(parts.schedules),
        compensations,
        upkeep,
        watchdog,
        health,
        metrics: parts.metrics,
        clock: parts.clock,
        pool: parts.pool,
        strict: parts.settings.strict,
        batch_max: parts.settings.batch_max,
    };
    inner.deadlines.set(parts.deadlines);
    for seat in inner.crew.seats().values() {
        inner.man(seat);
    }
    inner.pool.spawn(inner.watchdog.clone().run());
    start_delays(&inner);
    start_replays(&inner);
    compensation::start(&inner);
    let (ports, health) = (inner.ports.clone(), inner.health.clone());
    let bus = Bus(Arc::new(inner), None);
    start_jobs(&bus.0);
    Ok(Started { bus, ports, health, thread })
}

fn start_jobs(inner: &Arc<Inner>) {
    inner.jobs.bell.ring();
    inner.pool.spawn(Runner::new(Arc::clone(inner)).run());
}

/// Rings for whoever watches a flow, or undoes it.
fn bell(watches: &Watches, compensations: &Compensations) -> FlowBell {
    let (watches, compensations) = (watches.clone(), compensations.clone());
    FlowBell::new(move |flow| {
        watches.touch(flow);
        compensations.touch(flow);
    })
}

/// The subscriptions' places, and the arbiters that they are spread over.
fn crew(
    seats: BTreeMap<SubscriptionId, Seat>,
    reads: Reads,
    bell: FlowBell,
    activity: Activity,
    arbiters: usize,
) -> Crew {
    Crew {
        arbiters: (0..arbiters.max(1)).map(|_| Arbiter::new().handle()).collect(),
        turn: AtomicUsize::new(0),
        reads,
        activity,
        bell,
        seats: Mutex::new(seats),
        rewiring: tokio::sync::Mutex::default(),
    }
}

fn start_delays(inner: &Inner) {
    let timer = Delays {
        reader: Arc::clone(&inner.reader),
        submitter: inner.submitter.clone(),
        clock: inner.clock.clone(),
        bell: inner.delays.clone(),
        pool: inner.pool.clone(),
        routing: inner.routing.clone(),
        metrics: Arc::clone(&inner.metrics),
        runner: schedules::Runner::new(inner),
        unreadable: std::collections::HashSet::new(),
        skew: super::skew::Skew::default(),
    };
    inner.delays.ring();
    inner.pool.spawn(timer.run());
}

fn start_replays(inner: &Inner) {
    let driver = Replays {
        reader: Arc::clone(&inner.reader),
        submitter: inner.submitter.clone(),
        routing: inner.routing.clone(),
        admission: inner.admission.clone(),
        health: inner.health.clone(),
        clock: inner.clock.clone(),
        bell: inner.replays.clone(),
        pool: inner.pool.clone(),
    };
    inner.replays.ring();
    inner.pool.spawn(driver.run());
}

/// Gives each subscription what the store knows of it beside its queue, and leaves what the next start will
/// ask for.
fn prepare(parts: &mut BusStart, seats: &mut BTreeMap<SubscriptionId, Seat>) -> Result<(), StoreError> {
    let (reader, now) = (parts.store.reader(), parts.clock.now());
    let mut changes = Vec::with_capacity(seats.len());
    for (id, seat) in seats {
        let (found, change) = at_start(&*reader, now, *id, &seat.wired)?;
        if seat.wired.limits.order == Order::Key {
            found.parked_keys.iter().for_each(|key| seat.port.show_parked(key, true));
        }
        seat.wired.at_start = found;
        changes.push(change);
    }
    parts.store.stage(now, &mut changes)?;
    parts.store.sync()?;
    Ok(())
}

/// Tells the store which subscriptions there are; those it knows and the config does not are orphaned.
fn declare(parts: &mut BusStart, bell: &FlowBell) -> Result<BTreeMap<SubscriptionId, Seat>, StoreError> {
    let wired = std::mem::take(&mut parts.subscriptions);
    super::skew::at_start(parts.store.reader().stats().latest, &parts.clock);
    let known = parts.store.reader().subscriptions()?;
    let is_wired = |name: &str| wired.iter().any(|(spec, _)| spec.name == name);
    let mut changes: Vec<Change> = wired.iter().map(|(spec, _)| Change::Subscribe(spec.clone())).collect();
    for record in known.iter().filter(|record| !record.orphaned && !is_wired(&record.name)) {
        tracing::warn!(
            subscription = record.name,
            backlog = record.backlog,
            "the config names this subscription no more; its backlog is kept, orphaned"
        );
        changes.push(Change::Orphan(record.id));
    }
    let receipts = parts.store.stage(parts.clock.now(), &mut changes)?;
    parts.store.sync()?;
    let is_paused = |id| known.iter().any(|record| record.id == id && record.paused);
    let seats = receipts.iter().zip(wired).filter_map(|(receipt, (spec, mut subscription))| {
        let Receipt::Subscribed(id) = receipt else { return None };
        subscription.paused = is_paused(*id);
        Some((*id, Seat::new(*id, spec, subscription, &parts.activity, bell)))
    });
    let mut seats: BTreeMap<SubscriptionId, Seat> = seats.collect();
    prepare(parts, &mut seats)?;
    Ok(seats)
}
