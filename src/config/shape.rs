//! From merged tables to typed settings: which keys there are, their bounds, and what must fit together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::problem::suggestion;
use super::read::{Reader, Section};
use super::refusal::Refusal;
use super::settings::{
    BackoffSettings, BusSettings, DefaultSettings, Engine, Exhausted, HttpSettings, LogFormat, LogSettings,
    OnFailure, ReloadSettings, RetrySettings, SEGMENT_MIN, ShutdownSettings, StepSettings, StoreSettings,
};
use super::{Settings, app, subscription, timed, trial};

const ZERO: Duration = Duration::ZERO;
/// The shortest time that is more than none.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// The smallest share of the permits that a person can mean: one attempt runs all the same.
const SHARE_LEAST: f64 = 0.001;
/// More attempts at a time than this is a slip, not a wish.
pub(super) const CONCURRENCY_MAX: u32 = 100_000;

/// Reads every table; what is wrong is noted in `reader`, and the default stands in for it.
pub(super) fn settings(reader: &Reader<'_>, merged: &toml::Table) -> Settings {
    let mut root = Section::root(reader, merged);
    let http = http(root.table("http"));
    let store = store(root.table("store"));
    let bus = bus(root.table("bus"));
    let steps = steps(root.table("steps"));
    let log = log(root.table("log"));
    let shutdown = shutdown(root.table("shutdown"));
    let reload = reload(root.table("reload"));
    let defaults = defaults(root.table("defaults"));
    let all = root.table("subscription");
    let subscriptions = all
        .names()
        .into_iter()
        .filter_map(|name| subscription::subscription(reader, &all, name, &defaults))
        .map(|subscription| (subscription.name.clone(), subscription))
        .collect();
    let tests = trial::tests(reader, &root.table("test"));
    let schedules = timed::schedules(reader, &root.table("schedule"));
    let events = timed::events(reader, &root.table("event"));
    let app = app::tables(reader, &root.table("app"));
    root.finish();
    Settings {
        http,
        store,
        bus,
        steps,
        log,
        shutdown,
        reload,
        defaults,
        subscriptions,
        tests,
        schedules,
        events,
        app,
        places: reader.places.clone(),
    }
}

fn http(mut section: Section<'_>) -> HttpSettings {
    let base = HttpSettings::default();
    let settings = HttpSettings {
        bind: section.parsed("bind", "an address and a port", address).unwrap_or(base.bind),
        status_ttl: section.duration("status_ttl", base.status_ttl, TICK),
        dedupe_window: section.duration("dedupe_window", base.dedupe_window, TICK),
        dedupe_max_bytes: section.size("dedupe_max_bytes", base.dedupe_max_bytes, 1),
        max_body: section.size("max_body", base.max_body, 1),
        body_timeout: section.duration("body_timeout", base.body_timeout, TICK),
        max_batch: section.whole("max_batch", base.max_batch, 1..=100_000),
        max_wait: section.duration("max_wait", base.max_wait, ZERO),
        strict: section.boolean("strict", base.strict),
        workers: section.whole("workers", base.workers, 0..=1_024),
    };
    if !settings.bind.ip().is_loopback() {
        section.refuse(
            "bind",
            "`http.bind` is outside of the loopback, and there is no access control yet",
            "bind 127.0.0.1 or [::1], and put a proxy that asks for credentials in front",
        );
    }
    if settings.dedupe_window < settings.status_ttl {
        let key = if section.has("dedupe_window") { "dedupe_window" } else { "status_ttl" };
        section.refuse(
            key,
            "`http.dedupe_window` is shorter than `http.status_ttl`",
            "an id must be remembered at least as long as its status can be polled",
        );
    }
    section.finish();
    settings
}

/// An address and a port; `localhost` is the IPv4 loopback, whatever the resolver says.
fn address(text: &str) -> Result<SocketAddr, &'static str> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    local
        .map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .or_else(|| text.parse().ok())
        .ok_or("write \"127.0.0.1:7070\", \"[::1]:7070\", or port 0 to let the system choose")
}

fn store(mut section: Section<'_>) -> StoreSettings {
    let base = StoreSettings::default();
    let engine = section.read("engine", |value, _| match value.as_str() {
        Some("sled") => Ok(Engine::Sled),
        Some("memory") => Ok(Engine::Memory),
        Some("nats") => Err(Refusal::must("\"sled\" or \"memory\"; \"nats\" is not there yet")),
        _ => Err(Refusal::must(format!("\"sled\" or \"memory\", not {value}")).help(suggestion(
            value.as_str().unwrap_or_default(),
            "engines",
            ["sled", "memory"],
        ))),
    });
    let ends = [("exit", OnFailure::Exit), ("read_only", OnFailure::ReadOnly)];
    let settings = StoreSettings {
        engine: engine.unwrap_or(base.engine),
        path: section.text("path").map_or(base.path, PathBuf::from),
        retention: section.duration("retention", base.retention, ZERO),
        disk_reserve: section.size("disk_reserve", base.disk_reserve, 0),
        cache: section.size("cache", base.cache, 1 << 20),
        checkpoint_bytes: section.size("checkpoint_bytes", base.checkpoint_bytes, 1),
        checkpoint_interval: section.duration("checkpoint_interval", base.checkpoint_interval, TICK),
        segment_bytes: section.size("segment_bytes", base.segment_bytes, SEGMENT_MIN),
        on_failure: section.choice("on_failure", &ends).unwrap_or(base.on_failure),
    };
    section.finish();
    settings
}

fn bus(mut section: Section<'_>) -> BusSettings {
    let base = BusSettings::default();
    let settings = BusSettings {
        queue_events: section.whole("queue_events", base.queue_events, 1..=10_000_000),
        queue_bytes: section.size("queue_bytes", base.queue_bytes, 1),
        group_events: section.whole("group_events", base.group_events, 1..=100_000),
        stall_after: section.duration("stall_after", base.stall_after, TICK),
    };
    section.finish();
    settings
}

fn steps(mut section: Section<'_>) -> StepSettings {
    let base = StepSettings::default();
    let settings = StepSettings {
        threads: section.whole("threads", base.threads, 0..=1_024),
        blocking_threads: section.whole("blocking_threads", base.blocking_threads, 1..=10_000),
    };
    section.finish();
    settings
}

fn log(mut section: Section<'_>) -> LogSettings {
    let base = LogSettings::default();
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let settings = LogSettings {
        format: section.choice("format", &formats).unwrap_or(base.format),
        filter: section.text("filter").unwrap_or(base.filter),
    };
    section.finish();
    settings
}

fn shutdown(mut section: Section<'_>) -> ShutdownSettings {
    let base = ShutdownSettings::default();
    let settings = ShutdownSettings { drain: section.duration("drain", base.drain, ZERO) };
    section.finish();
    settings
}

fn reload(mut section: Section<'_>) -> ReloadSettings {
    let base = ReloadSettings::default();
    let settings = ReloadSettings { watch: section.boolean("watch", base.watch) };
    section.finish();
    settings
}

fn defaults(mut section: Section<'_>) -> DefaultSettings {
    let base = DefaultSettings::default();
    let settings = DefaultSettings {
        concurrency: section.whole("concurrency", base.concurrency, 1..=CONCURRENCY_MAX),
        timeout: section.duration("timeout", base.timeout, TICK),
        retry: retry(section.table("retry"), &base.retry),
    };
    section.finish();
    settings
}

/// Reads `retry`; what it does not say is as in `base`.
pub(super) fn retry(mut section: Section<'_>, base: &RetrySettings) -> RetrySettings {
    let words = [("park", Exhausted::Park), ("skip", Exhausted::Skip)];
    let settings = RetrySettings {
        max_attempts: section.whole("max_attempts", base.max_attempts, 1..=1_000_000),
        backoff: backoff(section.table("backoff"), &base.backoff),
        exhausted: section.choice("exhausted", &words).unwrap_or(base.exhausted),
        share: section.number("share", base.share, SHARE_LEAST..=1.0),
    };
    section.finish();
    settings
}

fn backoff(mut section: Section<'_>, base: &BackoffSettings) -> BackoffSettings {
    let mut settings = BackoffSettings {
        first: section.duration("first", base.first, ZERO),
        factor: section.number("factor", base.factor, 1.0..=1_000.0),
        max: section.duration("max", base.max, ZERO),
        jitter: section.number("jitter", base.jitter, 0.0..=1.0),
    };
    if settings.max < settings.first {
        if section.has("max") {
            let message = format!("`{}` is shorter than `first`", section.dotted("max"));
            section.refuse("max", message, "the longest pause is at least the first one");
        } else {
            // Only `first` was said, and longer than the inherited bound: it bounds itself.
            settings.max = settings.first;
        }
    }
    section.finish();
    settings
}
