//! What the bus asks a store to make durable, and what the store answers.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{Commit, Compensate, DeadReason, Fates, Ordinal, Seq, SubscriptionId};
use crate::event::{Digests, Envelope, Filter, Timestamp};

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
    /// A person moves a delayed event to another time or takes it back. Stale when it is not delayed any more.
    Reschedule {
        /// The event.
        seq: Seq,
        /// When it is due instead, the past for at once; `None` takes it back: its deliveries are skipped.
        due: Option<Timestamp>,
        /// Why, in the person's words.
        reason: String,
    },
    /// The deadline of an open flow has passed: it is marked. Stale when it is at rest, marked already, or not
    /// due.
    Overdue {
        /// The flow.
        flow: String,
    },
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
    /// A change and what goes along with it: made when it applies, and with it.
    Along {
        /// The change.
        change: Box<Change>,
        /// What goes along, in order.
        along: Vec<Change>,
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
    /// A subscription gets earlier events again.
    Replay(Replay),
    /// A step of undoing a flow.
    Compensate(Compensate),
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
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Job,
        Self::JobItem,
        Self::Schedule,
        Self::ParkedKey,
        Self::Suspect,
        Self::Bus,
        Self::Compensation,
    ];

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The event.
    pub event: Arc<Envelope>,
    /// Its digests, and no other event's: see [`Routed::new`].
    pub digests: Digests,
    /// The subscriptions that get it.
    pub routes: Vec<SubscriptionId>,
    /// Not before this time; `None` is at once.
    pub due: Option<Timestamp>,
    /// When its flow is marked as overdue if it is not at rest by then.
    pub deadline: Option<Timestamp>,
    /// The subscriptions whose patterns match it and whose `where` has kept it out.
    pub filtered: Vec<SubscriptionId>,
    /// What of it no store can know yet.
    pub novelty: Novelty,
}

/// What of an event no store can know yet, so that it need not be looked for.
///
/// Who says more than is so does harm: of an id that is known the event is stored twice, and a flow that is known begins anew, until
/// a recovery, to which nobody says so, joins the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Novelty {
    /// Nothing: its publisher, or its cause, has named it.
    #[default]
    None,
    /// Its id, which was drawn for it.
    Id,
    /// Its id, which was drawn for it, and its flow, which is named after that.
    Flow,
}

impl Routed {
    /// An event that goes to these subscriptions at once.
    pub fn new(event: Arc<Envelope>, routes: Vec<SubscriptionId>) -> Self {
        let digests = Digests::of(&event);
        let (due, deadline, filtered) = (None, None, Vec::new());
        Self { event, digests, routes, due, deadline, filtered, novelty: Novelty::None }
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
    pub key: Arc<str>,
    /// What came of it.
    pub outcome: Outcome,
    /// The new state of the key; `None` leaves it.
    pub state: Option<StateWrite>,
    /// Emitted events, in order; also those of `on_dead`.
    pub emits: Vec<Emit>,
    /// The flow's result, as JSON, when the step resolved it.
    pub result: Option<Bytes>,
    /// Events that undo what was done, in the order in which it was; kept with the flow, not emitted.
    pub undos: Vec<Arc<Envelope>>,
    /// Whether this is the flow's point of no return: all undos are dropped, those recorded later too.
    pub pivot: bool,
    /// Whether the state before and after it is kept with the delivery.
    pub keep_states: bool,
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

/// An operator's act on a dead letter. [`Receipt::Stale`] when it is none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The event.
    pub seq: Seq,
    /// What is done.
    pub act: RepairAct,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who; may be empty.
    pub by: String,
}

/// What a person does about a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairAct {
    /// Try again at the delivery's place, with a fresh count of attempts. The history and the journaled
    /// results stay.
    Retry {
        /// Not before this time; its key waits for it until then. `None` is at once.
        due: Option<Timestamp>,
    },
    /// Give it up.
    Skip,
    /// It was done outside of the bus: the delivery is done, and the flow goes on with what is emitted here.
    Done {
        /// The events that the step would have emitted, under the ids that it would have given them. What is
        /// known already is not stored again.
        emits: Vec<Emit>,
        /// The flow's result as JSON, if this resolves it.
        result: Option<Bytes>,
    },
    /// Another event takes its place; it is handed to this subscription only. Stale when the event's id is
    /// taken.
    Supersede {
        /// The event; its routes are not looked at.
        event: Box<Routed>,
        /// It has the same lane's key: it takes the old delivery's place, before all that waits behind it.
        /// Otherwise it is the last of the queue.
        in_place: bool,
    },
}

/// Some events of a replay. Each event gets its [`Fate`](super::Fate), all of them in one go.
///
/// A replay begins with one without events, whose generation is the next one after the subscription's; it
/// makes room for the counts. Those with events bear the generation that was begun last, otherwise they are
/// stale. A replay changes nothing of the states that the subscription's step keeps, and what is replayed is
/// queued behind what waits already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The events, in the order of acknowledgement.
    pub seqs: Vec<Seq>,
    /// Which replay of the subscription it is, from 1: what is emitted under it has ids of its own.
    pub generation: u32,
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
    /// Which of them it gets by their attributes. The store does not keep it.
    #[serde(skip)]
    pub filter: Filter,
}

/// One published event's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub seq: Seq,
    /// `true` when it was there already, with the same body.
    pub replayed: bool,
    /// The flow it belongs to, where that is another one than the publication says: that of the first one.
    pub flow: Option<String>,
}

/// Places in queues: a place of an event in the queue of each subscription, without an allocation where few get it.
pub type Places = SmallVec<[(SubscriptionId, Ordinal); 2]>;

/// An event that has entered queues: what a waiting subscription can take without reading the store.
#[derive(Debug, Clone)]
pub struct Append {
    /// The event's number.
    pub seq: Seq,
    /// The event.
    pub event: Arc<Envelope>,
    /// Its place in the queue of each subscription; empty while it is delayed.
    pub places: Places,
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
    /// A part of a replay: the last place of the queue that it has filled, and the flows that read otherwise.
    Replayed {
        /// The group commit it belongs to.
        commit: Commit,
        /// The subscription.
        subscription: SubscriptionId,
        /// The end of its queue.
        tail: Ordinal,
        /// Flows whose status may read differently now.
        flows: Vec<String>,
        /// What came of the events.
        fates: Fates,
        /// Facts that were stored with it and have entered queues.
        appended: Vec<Append>,
    },
    /// It does not apply any more (settled already, no dead letter, unknown subscription); no trace is left.
    Stale,
    /// The event that would have entered a queue cannot be read; no trace is left, and nothing else is touched.
    Unreadable {
        /// What is wrong with it.
        problem: String,
    },
}
