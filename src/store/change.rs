//! What the bus asks a store to make durable, and what the store answers.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Commit, DeadReason, Ordinal, Seq, SubscriptionId};
use crate::event::{Envelope, Timestamp};

/// One thing that happened; all or nothing.
#[derive(Debug, Clone)]
pub enum Change {
    /// Events from outside, all or none: when one of them is taken by another body, none is stored.
    Publish(Vec<Routed>),
    /// The outcome of an attempt, with everything the step did.
    Settle(Settle),
    /// A delivery is put aside because its key is busy, so that the ones behind it can be reached.
    Defer {
        /// The subscription.
        subscription: SubscriptionId,
        /// The delivery.
        ordinal: Ordinal,
        /// The lane's key, as the step told it.
        key: String,
    },
    /// The result of one `cx.run`, so that a retry does not repeat the call.
    Effect {
        /// The subscription.
        subscription: SubscriptionId,
        /// The event being handled.
        seq: Seq,
        /// The name given to `cx.run`.
        name: String,
        /// The result, serialised.
        value: Bytes,
    },
    /// What `cx.progress` said last.
    Progress {
        /// The subscription.
        subscription: SubscriptionId,
        /// The event being handled.
        seq: Seq,
        /// The text.
        text: String,
    },
    /// A delayed event is due: it enters the queues it was routed to. Ignored when it has already.
    Release(Seq),
    /// An operator's act on a dead letter.
    Repair(Repair),
    /// A subscription as the config has it now: created, changed in place, or attached again.
    Subscribe(SubscriptionSpec),
    /// As [`Change::Subscribe`], while others publish by a wiring that may not know the subscription yet: for
    /// a moment, events that its patterns match are added to its queue though their routes leave it out.
    Attach(SubscriptionSpec),
    /// The config names this subscription no more: its backlog stays.
    Orphan(SubscriptionId),
    /// A change together with the facts that tell of it: they are stored when it applies, and with it.
    With {
        /// The change.
        change: Box<Change>,
        /// Events of the bus's own.
        facts: Vec<Routed>,
    },
    /// Writes or deletes a record of the bus's own, which the store does not look into.
    Keep {
        /// Where it belongs.
        shelf: Shelf,
        /// Its name there.
        name: String,
        /// What it holds, at most [`Shelf::VALUE_MAX`] bytes; `None` deletes it.
        value: Option<Bytes>,
    },
    /// A person paused or resumed a subscription.
    Pause {
        /// The subscription.
        subscription: SubscriptionId,
        /// `true` pauses, `false` resumes.
        paused: bool,
    },
}

/// Where records of the bus's own belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Shelf {
    /// Acts on many dead letters, and replays: by job id.
    Job,
    /// What came of each item of a job: by job id and item.
    JobItem,
    /// When a schedule fired last: by its name.
    Schedule,
    /// Keys that a person has parked: by subscription and key.
    ParkedKey,
    /// What was under way when a process ended, for those that end with it: by subscription.
    Suspect,
    /// Switches of the whole bus.
    Bus,
    /// Flows that are being compensated: by flow.
    Compensation,
}

impl Shelf {
    /// The largest record in bytes; a larger one is refused as [`Receipt::Stale`].
    pub const VALUE_MAX: usize = 32 * 1024;

    /// Its number in a row's key; never changed.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Job => 1,
            Self::JobItem => 2,
            Self::Schedule => 3,
            Self::ParkedKey => 4,
            Self::Suspect => 5,
            Self::Bus => 6,
            Self::Compensation => 7,
        }
    }
}

/// An event and where it goes; the routes are decided once, when it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// The event.
    pub event: Arc<Envelope>,
    /// The subscriptions that get it.
    pub routes: Vec<SubscriptionId>,
    /// Not before this time; `None` is at once.
    pub due: Option<Timestamp>,
    /// When its flow is marked as overdue if it is not at rest by then.
    pub deadline: Option<Timestamp>,
    /// The subscriptions whose patterns match it and whose `where` has kept it out.
    pub filtered: Vec<SubscriptionId>,
}

impl Routed {
    /// An event that goes to these subscriptions at once.
    pub fn new(event: Arc<Envelope>, routes: Vec<SubscriptionId>) -> Self {
        Self { event, routes, due: None, deadline: None, filtered: Vec::new() }
    }
}

/// An event that a step emits.
pub type Emit = Routed;

/// The outcome of one attempt. Accepted once for each attempt of an open delivery.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The delivery.
    pub ordinal: Ordinal,
    /// The event that was handled.
    pub seq: Seq,
    /// The lane's key.
    pub key: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The new state of the key; `None` leaves it.
    pub state: Option<StateWrite>,
    /// Emitted events, in order; also those of `on_dead`.
    pub emits: Vec<Emit>,
    /// The flow's result, as JSON, when the step resolved it.
    pub result: Option<Bytes>,
    /// Milliseconds the delivery waited before this attempt since it was ready.
    pub waited_ms: u64,
    /// Milliseconds the attempt ran.
    pub ran_ms: u64,
    /// Whether the attempt counts against `max_attempts`; a snooze and a shutdown do not.
    pub counted: bool,
}

/// A key's new state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateWrite {
    /// The state as JSON.
    pub value: Bytes,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Handled.
    Done,
    /// The step decided that there is nothing to do.
    Skipped {
        /// Its reason.
        reason: String,
    },
    /// Try again at `due`.
    Retry {
        /// When.
        due: Timestamp,
        /// What went wrong.
        error: String,
    },
    /// Come back at `due`; not a failure.
    Snooze {
        /// When.
        due: Timestamp,
    },
    /// Failed for good: a dead letter.
    Dead {
        /// Why no further attempt is made.
        reason: DeadReason,
        /// What went wrong last.
        error: String,
        /// Whether the key's later events wait behind it (`exhausted = "park"`).
        parks: bool,
    },
}

/// An operator's act on a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The event.
    pub seq: Seq,
    /// `true`: try again with a fresh count of attempts; `false`: skip it for good.
    pub retry: bool,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A subscription as the config wires it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionSpec {
    /// The table's name.
    pub name: String,
    /// The step.
    pub step: String,
    /// The patterns.
    pub on: Vec<String>,
    /// For a new subscription: earlier events, in order, that it gets as well (`from = "start"`). The bus
    /// leaves it empty; the engine fills it from `since`.
    pub since: Option<Timestamp>,
}

/// One published event's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub seq: Seq,
    /// `true` when it was there already, with the same body.
    pub replayed: bool,
    /// The flow it belongs to (for a replay, as it was stored then).
    pub flow: String,
}

/// An event that has entered queues: what a waiting subscription can take without reading the store.
#[derive(Debug, Clone)]
pub struct Append {
    /// The event's number.
    pub seq: Seq,
    /// The event.
    pub event: Arc<Envelope>,
    /// Its place in the queue of each subscription; empty while it is delayed.
    pub places: Vec<(SubscriptionId, Ordinal)>,
}

/// The answer to one change.
#[derive(Debug, Clone)]
pub enum Receipt {
    /// Published: one entry for each event, and what entered the queues.
    Published {
        /// In the order of the events.
        events: Vec<Published>,
        /// Only the new ones.
        appended: Vec<Append>,
    },
    /// Refused: the event at `index` has the id of another event with another body. Nothing was stored.
    Conflict {
        /// Position in the batch.
        index: usize,
    },
    /// Recorded; what a settle emitted or a release let go has entered the queues.
    Applied {
        /// The group commit it belongs to.
        commit: Commit,
        /// Events that entered queues.
        appended: Vec<Append>,
        /// Flows whose status may read differently now.
        flow: Option<String>,
    },
    /// The subscription's number, new or as it was.
    Subscribed(SubscriptionId),
    /// It does not apply any more (settled already, no dead letter, unknown subscription); no trace is left.
    Stale,
}
