//! Keys: settings as flat lists of keys and texts, so that two of them can be compared and the difference told.
//!
//! Every field is named here: a new setting that is forgotten does not compile.

use std::collections::BTreeMap;
use std::time::Duration;

use super::settings::{
    BackoffSettings, BusSettings, DefaultSettings, Engine, Exhausted, HttpSettings, LogFormat, LogSettings,
    OnFailure, Order, ReloadSettings, RetrySettings, ShutdownSettings, StartFrom, StepSettings,
    StoreSettings, SubscriptionSettings,
};
use super::{BreakerSettings, Rate, Settings};
use crate::event::Pattern;

/// A key and its value as text; what has no value has no line.
pub type Keys = BTreeMap<String, String>;

impl Settings {
    /// Every key outside of the subscriptions and of what they inherit.
    pub fn keys(&self) -> Keys {
        let Self {
            http,
            store,
            bus,
            steps,
            log,
            shutdown,
            reload,
            defaults: _,
            subscriptions: _,
            schedules: _,
            events: _,
            tests: _,
            app,
            places: _,
        } = self;
        let mut keys = Keys::new();
        let mut add = |table: &str, pairs: Vec<(&str, String)>| {
            keys.extend(pairs.into_iter().map(|(key, value)| (format!("{table}.{key}"), value)));
        };
        add("http", http_keys(http));
        add("store", store_keys(store));
        let BusSettings { queue_events, queue_bytes, group_events, stall_after } = bus;
        add(
            "bus",
            vec![
                ("queue_events", queue_events.to_string()),
                ("queue_bytes", queue_bytes.to_string()),
                ("group_events", group_events.to_string()),
                ("stall_after", time(*stall_after)),
            ],
        );
        let StepSettings { threads, blocking_threads } = steps;
        add(
            "steps",
            vec![("threads", threads.to_string()), ("blocking_threads", blocking_threads.to_string())],
        );
        let LogSettings { format, filter } = log;
        let format = match format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        add("log", vec![("format", format.to_owned()), ("filter", filter.clone())]);
        let ShutdownSettings { drain } = shutdown;
        add("shutdown", vec![("drain", time(*drain))]);
        let ReloadSettings { watch } = reload;
        add("reload", vec![("watch", watch.to_string())]);
        flatten("app", app, &mut keys);
        keys
    }
}

impl Settings {
    /// Every key of the schedules and of the events' own tables, which can change while the bus runs.
    pub fn timed_keys(&self) -> Keys {
        let schedules = self
            .schedules
            .iter()
            .map(|(name, schedule)| (format!("schedule.{name}"), format!("{schedule:?}")));
        let events = self
            .events
            .iter()
            .filter_map(|(name, event)| Some((format!("event.\"{name}\".deadline"), time(event.deadline?))));
        schedules.chain(events).collect()
    }
}

impl DefaultSettings {
    /// What subscriptions inherit; it takes effect through them.
    pub fn keys(&self) -> Keys {
        let Self { concurrency, timeout, retry } = self;
        let mut keys = retry_keys(retry);
        keys.insert("concurrency".to_owned(), concurrency.to_string());
        keys.insert("timeout".to_owned(), time(*timeout));
        keys
    }
}

impl SubscriptionSettings {
    /// Its keys, with what it inherits.
    pub fn keys(&self) -> Keys {
        let Self {
            name: _,
            step,
            on,
            concurrency,
            rate,
            timeout,
            order,
            pure,
            retry,
            on_dead,
            from,
            breaker,
            filter,
            compensate,
            keep_states,
        } = self;
        let mut keys = retry_keys(retry);
        let patterns: Vec<&str> = on.patterns().iter().map(Pattern::as_str).collect();
        let order = match order {
            Order::Key => "key",
            Order::None => "none",
        };
        let from = match from {
            StartFrom::Now => "now".to_owned(),
            StartFrom::Start => "start".to_owned(),
            StartFrom::At(time) => time.to_string(),
        };
        let rate = rate.map(|Rate { count, per }| format!("{count} per {}", time(per)));
        let pairs = [
            ("step", Some(step.clone())),
            ("on", Some(patterns.join(", "))),
            ("concurrency", Some(concurrency.to_string())),
            ("rate", rate),
            ("timeout", Some(time(*timeout))),
            ("order", Some(order.to_owned())),
            ("pure", Some(pure.to_string())),
            ("on_dead", on_dead.as_ref().map(ToString::to_string)),
            ("from", Some(from)),
            ("breaker", breaker.as_ref().map(breaker_text)),
            ("where", (!filter.is_empty()).then(|| filter.to_string())),
            ("compensate", Some(compensate.to_string())),
            ("keep_states", Some(keep_states.to_string())),
        ];
        keys.extend(pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        keys
    }
}

fn breaker_text(breaker: &BreakerSettings) -> String {
    let BreakerSettings { failures, window, probe } = breaker;
    format!("{failures} failures in {}, probe {}", time(*window), time(*probe))
}

fn http_keys(http: &HttpSettings) -> Vec<(&'static str, String)> {
    let HttpSettings {
        bind,
        status_ttl,
        dedupe_window,
        dedupe_max_bytes,
        max_body,
        body_timeout,
        max_batch,
        max_wait,
        strict,
        workers,
    } = http;
    vec![
        ("bind", bind.to_string()),
        ("status_ttl", time(*status_ttl)),
        ("dedupe_window", time(*dedupe_window)),
        ("dedupe_max_bytes", dedupe_max_bytes.to_string()),
        ("max_body", max_body.to_string()),
        ("body_timeout", time(*body_timeout)),
        ("max_batch", max_batch.to_string()),
        ("max_wait", time(*max_wait)),
        ("strict", strict.to_string()),
        ("workers", workers.to_string()),
    ]
}

fn store_keys(store: &StoreSettings) -> Vec<(&'static str, String)> {
    let StoreSettings {
        engine,
        path,
        retention,
        disk_reserve,
        cache,
        checkpoint_bytes,
        checkpoint_interval,
        segment_bytes,
        on_failure,
    } = store;
    let on_failure = match on_failure {
        OnFailure::Exit => "exit",
        OnFailure::ReadOnly => "read_only",
    };
    let engine = match engine {
        Engine::Sled => "sled",
        Engine::Memory => "memory",
    };
    vec![
        ("engine", engine.to_owned()),
        ("path", path.display().to_string()),
        ("retention", time(*retention)),
        ("disk_reserve", disk_reserve.to_string()),
        ("cache", cache.to_string()),
        ("checkpoint_bytes", checkpoint_bytes.to_string()),
        ("checkpoint_interval", time(*checkpoint_interval)),
        ("segment_bytes", segment_bytes.to_string()),
        ("on_failure", on_failure.to_owned()),
    ]
}

fn retry_keys(retry: &RetrySettings) -> Keys {
    let RetrySettings { max_attempts, backoff, exhausted, share } = retry;
    let BackoffSettings { first, factor, max, jitter } = backoff;
    let exhausted = match exhausted {
        Exhausted::Park => "park",
        Exhausted::Skip => "skip",
    };
    [
        ("retry.max_attempts", max_attempts.to_string()),
        ("retry.exhausted", exhausted.to_owned()),
        ("retry.share", share.to_string()),
        ("retry.backoff.first", time(*first)),
        ("retry.backoff.factor", factor.to_string()),
        ("retry.backoff.max", time(*max)),
        ("retry.backoff.jitter", jitter.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The application's tables, down to their values.
fn flatten(above: &str, table: &toml::Table, keys: &mut Keys) {
    for (name, value) in table {
        let key = format!("{above}.{name}");
        match value {
            toml::Value::Table(table) => flatten(&key, table, keys),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => {
                keys.insert(key, value.to_string());
            }
        }
    }
}

/// A duration as the config could say it.
fn time(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, millis_of) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(millis_of) {
            return format!("{}{unit}", millis / millis_of);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::super::load_text;
    use super::*;

    #[test]
    fn durations_read_as_the_config_writes_them() {
        for (millis, text) in
            [(0, "0ms"), (500, "500ms"), (1_500, "1500ms"), (90_000, "90s"), (86_400_000, "24h")]
        {
            assert_eq!(time(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_subscription_shows_what_it_inherits_and_what_it_says() {
        let text = "[defaults]\nconcurrency = 3\n[app.bank]\nlatency = \"5ms\"\n[subscription.pay]\nstep = \"pay\"\non = [\"a.b\", \"c.>\"]\nrate = \"5/s\"\n";
        let settings = load_text(text).unwrap().settings;

        let keys = settings.subscriptions["pay"].keys();

        assert_eq!((keys["concurrency"].as_str(), keys["on"].as_str()), ("3", "a.b, c.>"));
        assert_eq!((keys["rate"].as_str(), keys.get("on_dead")), ("5 per 1s", None));
        assert_eq!(settings.keys()["app.bank.latency"], "\"5ms\"");
    }
}
