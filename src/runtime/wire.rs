//! From settings to the parts of a bus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::activity::Activity;
use crate::bus::{AdmissionLimits, BusSettings, BusStart, Missed, Reach, Schedule};
use crate::clock::Clock;
use crate::committer::CommitterSettings;
use crate::config::{
    self, Engine, Exhausted, OnFailure, Order, ScheduleSettings, Settings, StartFrom, SubscriptionSettings,
};
use crate::delivery::{self, Live, Subscription};
use crate::event::{EventName, Timestamp};
use crate::metrics::Metrics;
use crate::retry::{self, RetryPolicy};
use crate::step::Registry;
use crate::store::{MemoryStore, SledStore, Store, StoreError, StoreSettings, SubscriptionSpec};
use crate::topology::Graph;

/// Opens the engine of the settings.
pub(super) fn open_store(settings: &Settings, clock: &Clock) -> Result<Box<dyn Store>, StoreError> {
    let with = store_settings(settings);
    Ok(match settings.store.engine {
        Engine::Memory => Box::new(MemoryStore::new(&with)?),
        Engine::Sled => Box::new(SledStore::open(with, clock.now())?),
    })
}

/// What the engine needs to know of the settings.
fn store_settings(settings: &Settings) -> StoreSettings {
    let store = &settings.store;
    StoreSettings {
        path: store.path.clone(),
        status_ttl: settings.http.status_ttl,
        dedupe_window: settings.http.dedupe_window,
        dedupe_max_bytes: settings.http.dedupe_max_bytes,
        retention: store.retention,
        cache_bytes: store.cache,
        checkpoint_bytes: store.checkpoint_bytes,
        checkpoint_interval: store.checkpoint_interval,
        segment_bytes: store.segment_bytes,
        disk_reserve: store.disk_reserve,
    }
}

/// Threads that steps run on.
pub(super) fn step_threads(settings: &Settings) -> usize {
    match settings.steps.threads {
        0 => cores().max(2),
        threads => threads,
    }
}

pub(super) fn cores() -> usize {
    available_parallelism().map_or(2, std::num::NonZero::get)
}

/// What a bus is wired from.
pub(super) struct Parts<'a> {
    pub(super) store: Box<dyn Store>,
    pub(super) registry: Arc<Registry>,
    pub(super) graph: Live<Graph>,
    pub(super) settings: &'a Settings,
    pub(super) clock: &'a Clock,
    pub(super) activity: &'a Activity,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) pool: &'a Handle,
}

/// Wires a bus. The settings have passed [`crate::config::check`]; a subscription whose step is unknown
/// is left out.
pub(super) fn bus_start(parts: Parts<'_>) -> BusStart {
    let Parts { store, registry, graph, settings, clock, activity, metrics, pool } = parts;
    let reach = move |subscription: &str, event: &EventName| {
        graph.now().reachable_from_delivery(subscription, event).into_iter().map(str::to_owned).collect()
    };
    let subscriptions = subscriptions(settings, &registry);
    BusStart {
        store,
        registry,
        subscriptions,
        reach: Reach(Arc::new(reach)),
        schedules: schedules(settings),
        deadlines: deadlines(settings),
        clock: clock.clone(),
        activity: activity.clone(),
        metrics: Arc::clone(metrics),
        pool: pool.clone(),
        settings: BusSettings {
            limits: AdmissionLimits {
                queue_events: settings.bus.queue_events,
                queue_bytes: settings.bus.queue_bytes,
                disk_reserve: settings.store.disk_reserve,
                unfolded_bytes: store_settings(settings).refuse_bytes(),
            },
            group_changes: settings.bus.group_events,
            batch_max: settings.http.max_batch,
            strict: settings.http.strict,
            arbiters: cores(),
            blocking_steps: settings.steps.blocking_threads,
            stall_after: settings.bus.stall_after,
            committer: CommitterSettings {
                retreats: settings.store.on_failure == OnFailure::ReadOnly,
                ..CommitterSettings::default()
            },
        },
    }
}

/// The schedules of these settings.
pub(super) fn schedules(settings: &Settings) -> Vec<Schedule> {
    let schedule = |wired: &ScheduleSettings| Schedule {
        name: wired.name.clone(),
        event: wired.event.clone(),
        table: wired.table.clone(),
        missed: match wired.missed {
            config::Missed::Once => Missed::Once,
            config::Missed::Skip => Missed::Skip,
        },
        data: wired.data.clone().map(Bytes::from),
        key: wired.key.clone(),
    };
    settings.schedules.values().map(schedule).collect()
}

/// The deadlines of these settings, by the name of the event that begins a flow.
pub(super) fn deadlines(settings: &Settings) -> BTreeMap<EventName, Duration> {
    let events = settings.events.iter();
    events.filter_map(|(name, event)| event.deadline.map(|time| (name.clone(), time))).collect()
}

/// The wiring as a graph, which a reload replaces.
pub(super) fn graph(settings: &Settings, registry: &Registry) -> Live<Graph> {
    Live::new(Graph::of(settings, &registry.catalog()))
}

/// Every subscription of the settings, with what the store is to know of it.
pub(super) fn subscriptions(
    settings: &Settings,
    registry: &Arc<Registry>,
) -> Vec<(SubscriptionSpec, Subscription)> {
    let wired = settings.subscriptions.values();
    wired.filter_map(|wired| subscription(wired, registry)).collect()
}

fn subscription(
    wired: &SubscriptionSettings,
    registry: &Arc<Registry>,
) -> Option<(SubscriptionSpec, Subscription)> {
    let step = registry.get(&wired.step)?;
    let spec = SubscriptionSpec {
        name: wired.name.clone(),
        step: wired.step.clone(),
        on: wired.on.patterns().iter().map(|pattern| pattern.as_str().to_owned()).collect(),
        since: match wired.from {
            StartFrom::Now => None,
            StartFrom::Start => Some(Timestamp(0)),
            StartFrom::At(time) => Some(time),
        },
        filter: wired.filter.clone(),
    };
    let subscription = Subscription {
        name: wired.name.clone(),
        limits: limits(wired),
        step,
        registry: Arc::clone(registry),
        timeout: wired.timeout,
        pure: wired.pure,
        on_dead: wired.on_dead.clone(),
        compensate: wired.compensate,
        keep_states: wired.keep_states,
        paused: false,
        at_start: delivery::AtStart::default(),
    };
    Some((spec, subscription))
}

fn limits(wired: &SubscriptionSettings) -> delivery::Settings {
    let concurrency = usize::try_from(wired.concurrency).unwrap_or(usize::MAX);
    let backoff = &wired.retry.backoff;
    delivery::Settings {
        concurrency,
        rate: wired.rate.map(|rate| delivery::Rate { count: rate.count, per: rate.per, burst: 1 }),
        order: match wired.order {
            Order::Key => delivery::Order::Key,
            Order::None => delivery::Order::None,
        },
        retry: RetryPolicy {
            max_attempts: wired.retry.max_attempts,
            first: backoff.first,
            factor: backoff.factor,
            max: backoff.max,
            jitter: backoff.jitter,
        },
        exhausted: match wired.retry.exhausted {
            Exhausted::Park => retry::Exhausted::Park,
            Exhausted::Skip => retry::Exhausted::Skip,
        },
        retry_share: wired.retry.share,
        breaker: wired.breaker.map(|breaker| delivery::BreakerSettings {
            failures: breaker.failures,
            window: breaker.window,
            probe: breaker.probe,
        }),
        window: concurrency.saturating_mul(4).max(1_024),
        ..delivery::Settings::default()
    }
}
