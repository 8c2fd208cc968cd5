//! What a store tells its readers.

use std::borrow::Cow;
use std::fmt;
use std::num::ParseIntError;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Commit, CompensationRecord, Fates, Ordinal, Seq, SubscriptionId};
use crate::event::{Envelope, Label, Timestamp};

/// Why a delivery is dead (the words of the HTTP contract).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadReason {
    /// All attempts were used up.
    Attempts,
    /// The step said that trying again is of no use.
    Fatal,
    /// The payload is not what the step's event type says.
    Undecodable,
    /// Its time was over before it could be handled.
    Expired,
    /// The process died on it again and again.
    Crash,
}

impl DeadReason {
    /// The word for it, as people read it and filter by it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Fatal => "fatal",
            Self::Undecodable => "undecodable",
            Self::Expired => "expired",
            Self::Crash => "crash",
        }
    }
}

/// Where a delivery stands, as far as it is recorded; that an attempt is running only the bus knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryState {
    /// Waits for its turn.
    Ready,
    /// Waits for a retry, a snooze or a delay until `due`.
    Waiting {
        /// When it is due.
        due: Timestamp,
    },
    /// Put aside because an earlier event of its key is not through.
    Deferred,
    /// Handled.
    Done,
    /// Skipped by the step or by a person.
    Skipped,
    /// A dead letter.
    Dead {
        /// Why.
        reason: DeadReason,
    },
}

/// One attempt, for the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The commit that recorded it.
    pub commit: Commit,
    /// When it was recorded.
    pub at: Timestamp,
    /// `done`, `skipped`, `retry`, `snooze`, `dead`, or the operator's `retried`, `skipped by hand`,
    /// `replayed`.
    pub outcome: Cow<'static, str>,
    /// The error or the reason, when there is one.
    pub error: Option<String>,
    /// Milliseconds it waited while ready.
    pub waited_ms: u64,
    /// Milliseconds it ran.
    pub ran_ms: u64,
}

/// The state of a key before and after an attempt, as the bytes the step's state was written as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStates {
    /// The commit that recorded the attempt.
    pub commit: Commit,
    /// `None` when the key had no state.
    pub before: Option<Bytes>,
    /// `None` when the key has no state.
    pub after: Option<Bytes>,
}

/// The deliveries of an event, mostly one, which stands in the event's own record.
pub type Deliveries = SmallVec<[DeliveryRecord; 1]>;

/// One delivery of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its place in the queue; `None` while the event is delayed.
    pub ordinal: Option<Ordinal>,
    /// Where it stands.
    pub state: DeliveryState,
    /// The lane's key, once the step has told it.
    pub key: Option<Arc<str>>,
    /// Attempts that counted since the last repair, for `max_attempts`.
    pub failures: u32,
    /// All attempts ever.
    pub attempts: u32,
    /// The last error.
    pub error: Option<String>,
    /// What `cx.progress` said last.
    pub progress: Option<String>,
    /// The last 16 attempts.
    pub history: Vec<AttemptRecord>,
    /// The replay that it belongs to, counted from 1; 0 when it was never replayed.
    #[serde(skip)]
    pub generation: u32,
}

/// An event's bookkeeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Its number.
    pub seq: Seq,
    /// The commit that stored it.
    pub commit: Commit,
    /// What it is known by, whose fields read as the record's own; the event has the same.
    pub label: Arc<Label>,
    /// When the bus acknowledged it.
    pub acknowledged: Timestamp,
    /// One entry for each subscription it was routed to.
    pub deliveries: Deliveries,
    /// Subscriptions that listen to its name and whose `where` has kept it out.
    pub filtered: Vec<SubscriptionId>,
}

impl Deref for EventRecord {
    type Target = Label;

    fn deref(&self) -> &Label {
        &self.label
    }
}

impl EventRecord {
    /// Whether nobody listens to its name. What is told of the bus itself may go unheard.
    pub fn is_unrouted(&self) -> bool {
        self.deliveries.is_empty() && self.filtered.is_empty() && !self.name.is_reserved()
    }
}

/// A flow as one reading found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtHand {
    /// The event that was asked for.
    pub seq: Seq,
    /// Its flow.
    pub flow: FlowRecord,
    /// All events of the flow, in order.
    pub events: Vec<EventRecord>,
}

/// A flow's head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Numbers of its events, in order.
    pub events: Vec<Seq>,
    /// Deliveries that are not at rest; a dead letter is not at rest.
    pub open: u64,
    /// Dead letters among them.
    pub dead: u64,
    /// Attempts recorded so far.
    pub attempts: u64,
    /// The result as JSON, once a step has resolved it.
    pub result: Option<Bytes>,
    /// The commit that changed it last.
    pub commit: Commit,
    /// Since when nothing of it is open.
    pub rest_since: Option<Timestamp>,
    /// By when it should be at rest.
    pub deadline: Option<Timestamp>,
    /// Since when it is marked because it was not.
    pub overdue: Option<Timestamp>,
    /// How far it is undone, when it is.
    pub compensation: Option<CompensationRecord>,
}

/// What is known under a source and an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The event's number.
    Known(Seq),
    /// It was here; its status has outlived its time to live.
    Forgotten,
    /// Never seen, as far as the dedupe window reaches.
    Unknown,
}

/// A delivery that can be attempted.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its place.
    pub ordinal: Ordinal,
    /// The event's number.
    pub seq: Seq,
    /// The event.
    pub event: Arc<Envelope>,
    /// When it became ready: acknowledged, released or repaired.
    pub ready: Timestamp,
    /// Attempts that counted so far.
    pub failures: u32,
    /// All attempts so far.
    pub attempts: u32,
    /// A person has had it tried again, as far back as its history goes.
    pub retried: bool,
    /// The replay that it belongs to; 0 for none.
    pub generation: u32,
}

/// A delivery with a record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its place.
    pub ordinal: Ordinal,
    /// The event's number.
    pub seq: Seq,
    /// The lane's key.
    pub key: String,
    /// Attempts that counted so far, of one that waits; 0 of the others.
    pub failures: u32,
    /// Why it has one.
    pub state: PendingState,
}

/// Why a delivery has a record of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// Waits until `due`.
    Waiting {
        /// When it is due.
        due: Timestamp,
    },
    /// Put aside behind its key.
    Deferred,
    /// A dead letter.
    Dead {
        /// Whether its key waits behind it.
        parks: bool,
    },
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The event's number.
    pub seq: Seq,
    /// The delivery's place.
    pub ordinal: Ordinal,
    /// The lane's key.
    pub key: String,
    /// Why it is dead.
    pub reason: DeadReason,
    /// All attempts made.
    pub attempts: u32,
    /// The last error.
    pub error: String,
    /// Since when it is dead.
    pub since: Timestamp,
    /// Whether the key's later events wait behind it.
    pub parks: bool,
    /// Those that have failed alike.
    pub group: GroupId,
    /// The event's bookkeeping.
    pub event: EventRecord,
}

/// A group of dead letters that have failed alike: a digest of subscription, reason and message, the same
/// after every restart. Written as sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for GroupId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// Dead letters of one subscription that have failed alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadGroup {
    /// The group.
    pub group: GroupId,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Why they are dead.
    pub reason: DeadReason,
    /// Their error, with what differs (numbers, ids, quoted texts) as `#`.
    pub message: String,
    /// How many they are; never zero.
    pub count: u64,
    /// When the first letter came into the group.
    pub first: Timestamp,
    /// When the last one came.
    pub last: Timestamp,
    /// One of them: the one of the earliest event.
    pub sample: Seq,
}

/// A subscription as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRecord {
    /// Its number.
    pub id: SubscriptionId,
    /// Its name.
    pub name: String,
    /// The step it was wired to last.
    pub step: String,
    /// Its patterns.
    pub on: Vec<String>,
    /// The config names it no more.
    pub orphaned: bool,
    /// A person paused it.
    pub paused: bool,
    /// Deliveries not settled: ready, waiting and deferred; dead letters left out.
    pub backlog: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the oldest delivery of the backlog was acknowledged.
    pub oldest: Option<Timestamp>,
    /// Attempts settled so far; it never shrinks.
    pub settles: u64,
    /// Events that its `where` has kept out, since the beginning.
    pub filtered: u64,
    /// Replays so far.
    pub generation: u32,
    /// What the last replay came to so far.
    pub replayed: Fates,
}

/// Counters of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Events stored since the beginning.
    pub events: u64,
    /// Events among them that nobody listened to.
    pub unrouted: u64,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Commits not yet folded into the checkpoint.
    pub checkpoint_lag: u64,
    /// Bytes of changes held in memory until the next checkpoint.
    pub unfolded_bytes: u64,
    /// Free bytes on the disk, when the engine watches one.
    pub disk_free: Option<u64>,
    /// Rows are missing that must be there, and nothing is removed any more; only a restart ends that.
    pub has_lost_rows: bool,
    /// Milliseconds the dedupe window reaches back now.
    pub dedupe_window_ms: u64,
    /// Events that are delayed now.
    pub delayed: u64,
    /// Bus time of the newest group.
    pub latest: Timestamp,
}
