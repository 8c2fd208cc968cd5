//! What goes into the core and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use super::{BreakerSettings, BreakerState, Rate};
use crate::event::{Envelope, Timestamp};
use crate::retry::{Exhausted, RetryPolicy};
use crate::step::Decoded;
use crate::store::{DeadReason, Ordinal, Seq};

/// Whether deliveries of one key wait for each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// One delivery of a key at a time, in the order of the queue.
    #[default]
    Key,
    /// Only the concurrency limits.
    None,
}

/// How a subscription is to be worked.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Attempts that run at once; zero is read as one.
    pub concurrency: usize,
    /// How fast attempts may start; `None` is without limit.
    pub rate: Option<Rate>,
    /// Whether deliveries of one key wait for each other.
    pub order: Order,
    /// When a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// Whether a dead letter holds its key (only with [`Order::Key`]).
    pub exhausted: Exhausted,
    /// Which part of the concurrency may be taken by deliveries that come back (retries, snoozes); always at
    /// least one attempt, so that a few that fail for ever slow the others by no more than this.
    pub retry_share: f64,
    /// When nothing is started any more because the world behind the step is out; `None` is never.
    pub breaker: Option<BreakerSettings>,
    /// The most deliveries held in memory with their events; read as at least twice the concurrency and four.
    pub window: usize,
    /// The most deliveries of one key held in memory; zero is read as one.
    pub lane_max: usize,
}

impl Default for Settings {
    /// Eight at once, ordered by key, a window of 1,024 deliveries, 64 of one key.
    fn default() -> Self {
        Self {
            concurrency: 8,
            rate: None,
            order: Order::Key,
            retry: RetryPolicy::default(),
            exhausted: Exhausted::Park,
            retry_share: 0.5,
            breaker: None,
            window: 1_024,
            lane_max: 64,
        }
    }
}

/// A delivery on its way into the core. `item` is what the actor wants back when it starts; the core never
/// looks into it.
#[derive(Debug, Clone)]
pub struct Arrival<T> {
    /// Its place in the queue.
    pub ordinal: Ordinal,
    /// The event's number.
    pub seq: Seq,
    /// The lane's key, as the step told it.
    pub key: String,
    /// When it became ready.
    pub ready: Timestamp,
    /// Attempts that counted so far.
    pub failures: u32,
    /// All attempts so far.
    pub attempts: u32,
    /// Whether a person has had it tried again.
    pub retried: bool,
    /// When its event is of no use any more; `None` is never. Also `None` once a person has had it tried again.
    pub expires: Option<Timestamp>,
    /// What comes back in [`Start::item`].
    pub item: T,
}

/// What a subscription's deliveries carry through the core: the event, and the replay that they belong to.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) event: Arc<Envelope>,
    /// The event as it was decoded for its lane.
    pub(crate) decoded: Option<Decoded>,
    /// 0 when the delivery was never replayed.
    pub(crate) generation: u32,
}

/// An attempt to run now. It has a permit until [`Core::finished`](super::Core::finished) is called for it.
#[derive(Debug, Clone)]
pub struct Start<T> {
    /// The delivery's place in the queue.
    pub ordinal: Ordinal,
    /// The event's number.
    pub seq: Seq,
    /// The lane's key.
    pub key: Arc<str>,
    /// Number of this attempt: all attempts so far and this one.
    pub attempt: u32,
    /// Attempts that counted so far.
    pub failures: u32,
    /// When the delivery became ready.
    pub ready: Timestamp,
    /// Whether it runs alone because the process may die of it: record that first.
    pub alone: bool,
    /// What the actor attached.
    pub item: T,
}

/// A delivery that is given up without another attempt. It takes no permit.
#[derive(Debug, Clone)]
pub struct GiveUp<T> {
    /// The delivery, as it would have started.
    pub start: Start<T>,
    /// Why.
    pub reason: DeadReason,
    /// Whether its key waits behind it.
    pub parks: bool,
}

/// What a person has decided about a dead letter, as far as the core has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mended {
    /// Its key goes on without it.
    Released,
    /// Its place is attempted again, before the later ones of its key: by the same event or by another one.
    Again,
    /// The same, not before this time.
    AgainAt(Timestamp),
}

/// What the actor is to do.
#[derive(Debug, Clone)]
pub enum Action<T> {
    /// Read the queue on: answer with [`Core::fetched`](super::Core::fetched).
    Fetch {
        /// Over this place.
        after: Ordinal,
        /// At most so many.
        limit: usize,
    },
    /// Read what was put aside for a key: answer with
    /// [`Core::fetched_deferred`](super::Core::fetched_deferred).
    FetchDeferred {
        /// The key.
        key: Arc<str>,
        /// At most so many, the first ones.
        limit: usize,
    },
    /// Read one delivery whose time has come: answer with [`Core::loaded`](super::Core::loaded).
    Load {
        /// Its place.
        ordinal: Ordinal,
    },
    /// Run an attempt: answer with [`Core::finished`](super::Core::finished).
    Start(Start<T>),
    /// Settle a delivery as dead that no attempt is made for any more.
    GiveUp(GiveUp<T>),
    /// The breaker stands differently now.
    Breaker(BreakerState),
    /// Commit [`Change::Defer`](crate::store::Change::Defer); when its receipt is in, call
    /// [`Core::settled`](super::Core::settled).
    Defer {
        /// The delivery.
        ordinal: Ordinal,
        /// Its lane's key.
        key: Arc<str>,
    },
    /// Call [`Core::poll`](super::Core::poll) at this time; takes the place of the time asked for before.
    WakeAt(Timestamp),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Handled.
    Done,
    /// There was nothing to do.
    Skipped,
    /// No code ran, since its flow is being undone: settled as skipped, and no sign of anything.
    Held,
    /// Failed; to be tried again as the policy says.
    Failed {
        /// The wait that the step asked for; takes the place of the backoff.
        retry_after: Option<Duration>,
    },
    /// Failed for good, whatever the policy says.
    Dead(DeadReason),
    /// To come back later; not a failure.
    Snoozed(Duration),
    /// A shutdown came in between: counts as nothing.
    Interrupted,
}

/// What to settle an attempt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Settle as done.
    Done,
    /// Settle as skipped.
    Skipped,
    /// Settle as to be tried again.
    Retry {
        /// When.
        due: Timestamp,
    },
    /// Settle as to be tried again; it told of an outage that is known already, and does not count.
    Spared {
        /// When.
        due: Timestamp,
    },
    /// Settle as snoozed.
    Snooze {
        /// Until when.
        due: Timestamp,
    },
    /// Settle as dead.
    Dead {
        /// Why.
        reason: DeadReason,
        /// Whether its key waits behind it.
        parks: bool,
    },
    /// Settle nothing: the attempt was interrupted, or is not known.
    Nothing,
}

impl Verdict {
    /// Whether the attempt counts against `max_attempts`.
    pub const fn is_counted(self) -> bool {
        !matches!(self, Self::Snooze { .. } | Self::Spared { .. } | Self::Nothing)
    }
}
