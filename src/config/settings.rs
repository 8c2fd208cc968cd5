//! The tables of the config files as types, with their defaults.
//!
//! Each default is written once, here; `config/default.toml` repeats it for people, and a test holds
//! the two together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::breaker::BreakerSettings;
use super::units::Rate;
use crate::cron::TimeTable;
use crate::event::{EventName, Filter, PatternSet, Timestamp};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const DAY: Duration = Duration::from_hours(24);

/// `[http]`: the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address and port; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// How long a status can be polled, counted from when its flow is at rest.
    pub status_ttl: Duration,
    /// How long an id is remembered; at least `status_ttl`.
    pub dedupe_window: Duration,
    /// Bytes that remembered ids may take; the window shrinks when they do not suffice.
    pub dedupe_max_bytes: u64,
    /// Largest request body in bytes.
    pub max_body: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Most events in one batch.
    pub max_batch: usize,
    /// Longest wait that `Prefer: wait` can ask for.
    pub max_wait: Duration,
    /// Whether an event name that nobody listens to is refused.
    pub strict: bool,
    /// HTTP worker threads; 0 is one per processor.
    pub workers: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            status_ttl: DAY,
            dedupe_window: DAY,
            dedupe_max_bytes: 256 * MIB,
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(10),
            max_batch: 1_000,
            max_wait: Duration::from_mins(1),
            strict: false,
            workers: 0,
        }
    }
}

/// What keeps the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The commit journal and sled, in `store.path`.
    Sled,
    /// Nothing on disk: for tests and trials.
    Memory,
}

/// What the process does when a write or a sync of the disk has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It ends, and recovers from disk when it is started again.
    Exit,
    /// It takes and runs nothing any more, and tells statuses as they are on disk until a person ends it.
    ReadOnly,
}

/// `[store]`: what is kept, where and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The engine.
    pub engine: Engine,
    /// The data folder; a relative one is below the working directory.
    pub path: PathBuf,
    /// How long payloads are kept after their flow is at rest.
    pub retention: Duration,
    /// Free bytes on the disk below which publishing is refused.
    pub disk_reserve: u64,
    /// Bytes of sled's page cache.
    pub cache: u64,
    /// Bytes of changes in memory after which a checkpoint is made.
    pub checkpoint_bytes: u64,
    /// Time after which a checkpoint is made, however little has changed.
    pub checkpoint_interval: Duration,
    /// Size of a journal segment in bytes.
    pub segment_bytes: u64,
    /// What follows a failed write.
    pub on_failure: OnFailure,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            engine: Engine::Sled,
            path: PathBuf::from("data"),
            retention: DAY,
            disk_reserve: 256 * MIB,
            cache: 64 * MIB,
            checkpoint_bytes: 32 * MIB,
            checkpoint_interval: Duration::from_secs(30),
            segment_bytes: 16 * MIB,
            on_failure: OnFailure::Exit,
        }
    }
}

/// `[bus]`: limits of what waits for the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusSettings {
    /// Events that may wait for the disk; beyond it, publishing is refused as saturated.
    pub queue_events: usize,
    /// Bytes of payload that may wait for the disk.
    pub queue_bytes: usize,
    /// Most events in one group commit.
    pub group_events: usize,
    /// How long one commit may take before that is told.
    pub stall_after: Duration,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self {
            queue_events: 10_000,
            queue_bytes: 64 << 20,
            group_events: 1_024,
            stall_after: Duration::from_secs(10),
        }
    }
}

/// `[steps]`: the threads that steps run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSettings {
    /// Threads for async steps; 0 is one per processor.
    pub threads: usize,
    /// Threads for blocking work of steps.
    pub blocking_threads: usize,
}

impl Default for StepSettings {
    fn default() -> Self {
        Self { threads: 0, blocking_threads: 16 }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged, to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of a line.
    pub format: LogFormat,
    /// Level and exceptions by module, for instance `info,tidegate::store=debug`; not checked here.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,actix_server=warn".to_owned() }
    }
}

/// `[shutdown]`: how a shutdown ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// How long running attempts get to end; zero waits for none.
    pub drain: Duration,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { drain: Duration::from_secs(8) }
    }
}

/// `[reload]`: what makes a running bus read the config again, beside SIGHUP and `tidegate reload`.
///
/// Off unless it is wished for: a folder is rarely changed in one step, and to change a wiring is an act.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadSettings {
    /// Whether a change of the config files is taken by itself. It never takes a subscription away.
    pub watch: bool,
}

/// `[defaults]`: what a subscription gets that does not say otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct DefaultSettings {
    /// Attempts of one subscription that run at a time.
    pub concurrency: u32,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// When a failed attempt is tried again.
    pub retry: RetrySettings,
}

impl Default for DefaultSettings {
    fn default() -> Self {
        Self { concurrency: 8, timeout: Duration::from_secs(30), retry: RetrySettings::default() }
    }
}

/// `retry`: how often, how soon, and what then.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrySettings {
    /// All tries, the first included; at least 1.
    pub max_attempts: u32,
    /// The pauses between them.
    pub backoff: BackoffSettings,
    /// What becomes of the key when none is left.
    pub exhausted: Exhausted,
    /// Which part of the concurrency later tries may take, more than 0 up to 1; at least one attempt.
    pub share: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { max_attempts: 12, backoff: BackoffSettings::default(), exhausted: Exhausted::Park, share: 0.5 }
    }
}

/// `backoff`: pauses that grow.
#[derive(Debug, Clone, PartialEq)]
pub struct BackoffSettings {
    /// The first pause.
    pub first: Duration,
    /// By how much each pause is longer than the one before; at least 1.
    pub factor: f64,
    /// The longest pause, before jitter.
    pub max: Duration,
    /// Up to this share is added at random, 0 to 1; it only lengthens.
    pub jitter: f64,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), factor: 2.0, max: Duration::from_mins(10), jitter: 0.2 }
    }
}

/// What becomes of a key whose event has used up its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// Later events of the key wait in order behind the dead letter.
    Park,
    /// The key goes on.
    Skip,
}

/// In what order a subscription handles its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One at a time per key, in the order of acknowledgement.
    Key,
    /// Any.
    None,
}

/// What a subscription sees that is added later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFrom {
    /// Events acknowledged after it was added.
    Now,
    /// All that are still kept.
    Start,
    /// Those acknowledged at or after a time.
    At(Timestamp),
}

/// `[subscription.<name>]`: a step bound to event names.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionSettings {
    /// Its name, the table's: its identity in the store.
    pub name: String,
    /// The step it runs.
    pub step: String,
    /// The events it listens to.
    pub on: PatternSet,
    /// What their attributes must be (`where`).
    pub filter: Filter,
    /// Attempts that run at a time; at least 1.
    pub concurrency: u32,
    /// Most attempts started in a time.
    pub rate: Option<Rate>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// The order of its events.
    pub order: Order,
    /// Whether its step has no outside effects and may run ahead of the sync.
    pub pure: bool,
    /// When a failed attempt is tried again.
    pub retry: RetrySettings,
    /// What stops it while the world behind its step is out.
    pub breaker: Option<BreakerSettings>,
    /// The event emitted with a dead event's data.
    pub on_dead: Option<EventName>,
    /// A delivery that dies has its flow undone.
    pub compensate: bool,
    /// The key's state before and after each attempt is kept with the delivery, for as long as its flow is known.
    pub keep_states: bool,
    /// What it sees when it is new.
    pub from: StartFrom,
}

/// `[schedule.<name>]`: an event that the bus publishes itself, by the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSettings {
    /// Its name, the table's: its identity in the store.
    pub name: String,
    /// The event it publishes.
    pub event: EventName,
    /// When: its cron expression in its zone.
    pub table: TimeTable,
    /// What becomes of times that nobody was there for.
    pub missed: Missed,
    /// The payload as JSON.
    pub data: Option<String>,
    /// The event's key.
    pub key: Option<String>,
}

/// What becomes of times that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The latest of them is fired when somebody is there again.
    Once,
    /// None is.
    Skip,
}

/// `[event."<name>"]`: what holds for the flows that an event begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventSettings {
    /// A flow that is not at rest after this time is marked.
    pub deadline: Option<Duration>,
}

/// The smallest journal segment that is of any use.
pub(super) const SEGMENT_MIN: u64 = 64 * KIB;
