//! Metrics: names and labels of every counter and histogram, in one list.
//!
//! Prometheus text, one registry for each bus. Labels hold names from the wiring only, never ids or keys,
//! so their number is bounded.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Label of what belongs to one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfSubscription {
    /// Its name.
    pub subscription: String,
}

/// Labels of a breaker's turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfBreaker {
    /// The subscription's name.
    pub subscription: String,
    /// `open`, `half_open`, `closed`.
    pub to: &'static str,
}

/// Labels of an attempt's end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfAttempt {
    /// The subscription's name.
    pub subscription: String,
    /// `done`, `skipped`, `retry`, `snooze`, `dead`, `expired`.
    pub outcome: &'static str,
}

/// What the attempts of one subscription are counted and timed by: looked up once, since each attempt writes to all of it.
#[derive(Debug)]
pub struct AttemptMeters {
    of: OfSubscription,
    wait: Histogram,
    run: Histogram,
    attempts: Family<OfAttempt, Counter>,
    outcomes: Vec<(&'static str, Counter)>,
}

impl AttemptMeters {
    /// Records the end of an attempt.
    pub fn ended(&mut self, outcome: &'static str, waited: Duration, ran: Duration) {
        self.wait.observe(waited.as_secs_f64());
        self.run.observe(ran.as_secs_f64());
        if let Some((_, counter)) = self.outcomes.iter().find(|(known, _)| *known == outcome) {
            counter.inc();
            return;
        }
        let of = OfAttempt { subscription: self.of.subscription.clone(), outcome };
        let counter = self.attempts.get_or_create_owned(&of);
        counter.inc();
        self.outcomes.push((outcome, counter));
    }
}

/// Labels of a publication's end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfPublish {
    /// `accepted`, `replayed`, `conflict`, `saturated`, `disk_full`, `starting`, `draining`, `refused`, `stopped`.
    pub outcome: &'static str,
}

/// Label of what belongs to one route of the HTTP door.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfRoute {
    /// The template of its path, `other` for a path that there is not.
    pub route: Cow<'static, str>,
}

/// Labels of a request's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfRequest {
    /// As [`OfRoute`].
    pub route: Cow<'static, str>,
    /// The class of the status: `2xx` to `5xx`.
    pub status: &'static str,
}

/// Labels of what a schedule did.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfSchedule {
    /// Its name.
    pub schedule: String,
    /// `fired` or `missed`.
    pub outcome: &'static str,
}

type SecondsOf<L> = Family<L, Histogram, fn() -> Histogram>;

/// Every metric of one bus.
#[derive(Debug)]
#[expect(missing_docs, reason = "each is described where it is registered")]
pub struct Metrics {
    registry: Registry,
    pub published: Family<OfPublish, Counter>,
    /// Of those the counter that nearly all come to, from its first use on: looking it up takes a lock and a hash.
    accepted: OnceLock<Counter>,
    pub unrouted: Counter,
    pub filtered: Family<OfSubscription, Counter>,
    pub queued: Gauge,
    pub commit_changes: Histogram,
    pub commit_seconds: Histogram,
    pub commit_stalled: Gauge,
    pub store_failed: Gauge,
    pub store_rows_lost: Gauge,
    pub attempts: Family<OfAttempt, Counter>,
    pub wait_seconds: SecondsOf<OfSubscription>,
    pub run_seconds: SecondsOf<OfSubscription>,
    pub overdue: Family<OfSubscription, Counter>,
    pub backlog: Family<OfSubscription, Gauge>,
    pub inflight: Family<OfSubscription, Gauge>,
    pub dead: Family<OfSubscription, Gauge>,
    pub oldest_seconds: Family<OfSubscription, Gauge>,
    pub breaker_open: Family<OfSubscription, Gauge>,
    pub breaker_turns: Family<OfBreaker, Counter>,
    pub clock_ahead_seconds: Gauge,
    pub delayed: Gauge,
    pub flows_overdue: Counter,
    pub schedules: Family<OfSchedule, Counter>,
    pub checkpoint_lag: Gauge,
    pub unfolded_bytes: Gauge,
    pub journal_bytes: Gauge,
    pub disk_free_bytes: Gauge,
    pub dedupe_window_seconds: Gauge,
    pub requests: Family<OfRequest, Counter>,
    pub request_seconds: SecondsOf<OfRoute>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.5, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("tidegate"),
            published: Family::default(),
            accepted: OnceLock::new(),
            unrouted: Counter::default(),
            filtered: Family::default(),
            queued: Gauge::default(),
            commit_changes: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            commit_seconds: seconds(),
            commit_stalled: Gauge::default(),
            store_failed: Gauge::default(),
            store_rows_lost: Gauge::default(),
            attempts: Family::default(),
            wait_seconds: Family::new_with_constructor(seconds),
            run_seconds: Family::new_with_constructor(seconds),
            overdue: Family::default(),
            backlog: Family::default(),
            inflight: Family::default(),
            dead: Family::default(),
            oldest_seconds: Family::default(),
            breaker_open: Family::default(),
            breaker_turns: Family::default(),
            clock_ahead_seconds: Gauge::default(),
            delayed: Gauge::default(),
            flows_overdue: Counter::default(),
            schedules: Family::default(),
            checkpoint_lag: Gauge::default(),
            unfolded_bytes: Gauge::default(),
            journal_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            dedupe_window_seconds: Gauge::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
        };
        metrics.register_bus();
        metrics.register_subscriptions();
        metrics.register_time();
        metrics.register_store();
        metrics.register_http();
        metrics
    }
}

impl Metrics {
    fn register_bus(&mut self) {
        let r = &mut self.registry;
        r.register("published", "Events published from outside, by outcome", self.published.clone());
        r.register("unrouted", "Events that no subscription listens to", self.unrouted.clone());
        let filtered = "Events that a subscription's `where` has kept out";
        r.register("filtered", filtered, self.filtered.clone());
        r.register("queued_changes", "Changes that wait for the committer", self.queued.clone());
        r.register("commit_changes", "Changes in one group commit", self.commit_changes.clone());
        r.register_with_unit(
            "commit",
            "Time from taking a group to having it on disk",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
    }

    fn register_subscriptions(&mut self) {
        let r = &mut self.registry;
        r.register("attempts", "Attempts, by outcome", self.attempts.clone());
        let wait = "Time a delivery waited for its attempt while it was ready";
        r.register_with_unit("wait", wait, Unit::Seconds, self.wait_seconds.clone());
        r.register_with_unit("run", "Time an attempt ran", Unit::Seconds, self.run_seconds.clone());
        r.register("overdue_attempts", "Attempts that ran into their time-out", self.overdue.clone());
        r.register("backlog", "Deliveries not settled, dead letters left out", self.backlog.clone());
        r.register("inflight", "Attempts that run now", self.inflight.clone());
        r.register("dead_letters", "Deliveries that wait for a person", self.dead.clone());
        let oldest = "Age of the oldest delivery of the backlog";
        r.register_with_unit("oldest", oldest, Unit::Seconds, self.oldest_seconds.clone());
        let open = "Whether the breaker is open: 1 also while one attempt tries";
        r.register("breaker_open", open, self.breaker_open.clone());
        r.register(
            "breaker_transitions",
            "Turns of the breaker, by what it turned to",
            self.breaker_turns.clone(),
        );
    }

    fn register_time(&mut self) {
        let r = &mut self.registry;
        let ahead = "How far the bus is ahead of a machine's clock that was set back since the start; below 0: set forward";
        r.register_with_unit("clock_ahead", ahead, Unit::Seconds, self.clock_ahead_seconds.clone());
        r.register("delayed", "Events that wait for their time", self.delayed.clone());
        let overdue = "Flows that were not at rest by their deadline";
        r.register("flows_overdue", overdue, self.flows_overdue.clone());
        r.register("schedule_times", "Times of schedules, fired or missed", self.schedules.clone());
    }

    fn register_store(&mut self) {
        let r = &mut self.registry;
        r.register("checkpoint_lag_commits", "Commits not yet in a checkpoint", self.checkpoint_lag.clone());
        r.register(
            "unfolded_bytes",
            "Bytes of changes held until the checkpoint",
            self.unfolded_bytes.clone(),
        );
        let stalled =
            "How long one commit has been under way, when that is longer than bus.stall_after; else 0";
        r.register_with_unit("commit_stalled", stalled, Unit::Seconds, self.commit_stalled.clone());
        let failed = "1 when a write or a sync has failed and nothing is acknowledged any more";
        r.register("store_failed", failed, self.store_failed.clone());
        let lost = "1 when rows are missing that must be there: nothing is removed from the store any more";
        r.register("store_rows_lost", lost, self.store_rows_lost.clone());
        r.register("journal_bytes", "Bytes of the commit journal on disk", self.journal_bytes.clone());
        r.register("disk_free_bytes", "Free bytes on the data folder's disk", self.disk_free_bytes.clone());
        let window = "How far back duplicates are recognised now";
        r.register_with_unit("dedupe_window", window, Unit::Seconds, self.dedupe_window_seconds.clone());
    }

    fn register_http(&mut self) {
        let r = &mut self.registry;
        let requests = "HTTP requests, by route and class of status";
        r.register("http_requests", requests, self.requests.clone());
        let time = "Time to the answer of an HTTP request, the waiting of long polls included";
        r.register_with_unit("http_request", time, Unit::Seconds, self.request_seconds.clone());
    }

    /// Records the answer to an HTTP request. `route` is the template of its path.
    pub fn requested(&self, route: Cow<'static, str>, status: u16, took: Duration) {
        let of = OfRoute { route };
        self.request_seconds.get_or_create(&of).observe(took.as_secs_f64());
        let class = match status {
            ..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        self.requests.get_or_create(&OfRequest { route: of.route, status: class }).inc();
    }

    /// Records a group commit.
    pub fn committed(&self, changes: usize, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a group has a few thousand changes at most")]
        self.commit_changes.observe(changes as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// The meters of a subscription's attempts.
    pub fn attempts_of(&self, subscription: &str) -> AttemptMeters {
        let of = OfSubscription { subscription: subscription.to_owned() };
        AttemptMeters {
            wait: self.wait_seconds.get_or_create_owned(&of),
            run: self.run_seconds.get_or_create_owned(&of),
            attempts: self.attempts.clone(),
            outcomes: Vec::new(),
            of,
        }
    }

    /// Records that a breaker has turned to `open`, `half_open` or `closed`.
    pub fn breaker_turned(&self, subscription: &str, to: &'static str) {
        let of = OfSubscription { subscription: subscription.to_owned() };
        self.breaker_open.get_or_create(&of).set(i64::from(to != "closed"));
        self.breaker_turns.get_or_create(&OfBreaker { subscription: of.subscription, to }).inc();
    }

    /// Records what a schedule did.
    pub fn scheduled(&self, schedule: &str, outcome: &'static str, times: u64) {
        let of = OfSchedule { schedule: schedule.to_owned(), outcome };
        self.schedules.get_or_create(&of).inc_by(times);
    }

    /// Records that an attempt ran into its time-out.
    pub fn overran(&self, subscription: &str) {
        self.overdue.get_or_create(&OfSubscription { subscription: subscription.to_owned() }).inc();
    }

    /// Takes over what the store has counted since the beginning; both only grow.
    pub fn unheard(&self, unrouted: u64) {
        self.unrouted.inner().fetch_max(unrouted, Ordering::Relaxed);
    }

    /// As [`Metrics::unheard`], of one subscription.
    pub fn kept_out(&self, subscription: &OfSubscription, filtered: u64) {
        self.filtered.get_or_create(subscription).inner().fetch_max(filtered, Ordering::Relaxed);
    }

    /// Records the end of a publication of `events` events.
    pub fn published(&self, outcome: &'static str, events: usize) {
        let of = || self.published.get_or_create_owned(&OfPublish { outcome });
        let counter = if outcome == "accepted" { self.accepted.get_or_init(of) } else { &of() };
        counter.inc_by(events as u64);
    }

    /// All metrics as Prometheus text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _infallible = encode(&mut text, &self.registry);
        text
    }
}
