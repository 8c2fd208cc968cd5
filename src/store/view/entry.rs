//! Entries: what the journal holds, resolved changes that apply the same way every time.
//!
//! A [`Change`](crate::store::Change) asks; an entry has decided: numbers are given, repeats are gone. The
//! first byte tells the kind: 0 the group's head, 1 an event, 2 an act. An event begins with its envelope,
//! so that one entry is all that reading one event takes.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::forget::ForgetAct;
use super::grown::Grown;
use super::mend::{MendAct, RepairV1};
use super::{Stored, grown};
use crate::event::{Digests, Envelope, Timestamp};
use crate::store::{
    Fates, Ordinal, Outcome, Replay, Seq, Settle, Shelf, StateWrite, SubscriptionId, SubscriptionSpec,
};

const GROUP: u8 = 0;
const EVENT: u8 = 1;
const ACT: u8 = 2;

/// The version of the entries this build writes.
pub(in crate::store) const VERSION: u32 = 3;

/// The first entry of each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct GroupHead {
    /// The version of its entries.
    pub(in crate::store) version: u32,
    /// The bus clock's time of the group.
    pub(in crate::store) at: Timestamp,
}

/// One resolved change, or a part of one.
#[derive(Debug, Clone)]
pub(in crate::store) enum Entry {
    /// A new event.
    Event(EventEntry),
    /// Anything else.
    Act(Box<Act>),
}

/// A new event.
#[derive(Debug, Clone)]
pub(in crate::store) struct EventEntry {
    pub(in crate::store) event: Arc<Envelope>,
    pub(in crate::store) digests: Digests,
    pub(in crate::store) rest: EventRest,
}

/// What stands behind the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct EventRest {
    pub(in crate::store) seq: Seq,
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) bucket: u32,
    pub(in crate::store) routes: Vec<SubscriptionId>,
    pub(in crate::store) due: Option<Timestamp>,
    #[serde(skip)]
    pub(in crate::store) more: RestMore,
}

/// What version 1 did not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct RestMore {
    pub(in crate::store) deadline: Option<Timestamp>,
    pub(in crate::store) filtered: Vec<SubscriptionId>,
}

impl Grown for EventRest {
    type More = RestMore;
    fn more(&self) -> &RestMore {
        &self.more
    }
    fn more_mut(&mut self) -> &mut RestMore {
        &mut self.more
    }
}

/// What is done to events that are there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) enum Act {
    Settle(SettleAct),
    Defer {
        subscription: SubscriptionId,
        ordinal: Ordinal,
        key: String,
    },
    Effect {
        subscription: SubscriptionId,
        seq: Seq,
        name: String,
        value: Bytes,
    },
    Progress {
        subscription: SubscriptionId,
        seq: Seq,
        text: String,
    },
    Release(Seq),
    /// Only read: what version 1 wrote. Now it is `Mend`.
    Repair(RepairV1),
    Subscribe {
        id: SubscriptionId,
        spec: SubscriptionSpec,
        earlier: Vec<Seq>,
    },
    Orphan(SubscriptionId),
    Pause {
        subscription: SubscriptionId,
        is_paused: bool,
    },
    Expire {
        flows: Vec<String>,
    },
    /// Only read: what version 2 wrote. Now it is `ForgetIds`.
    Forget {
        bucket: u32,
        limit: u32,
        is_pressed: bool,
    },
    Keep {
        shelf: Shelf,
        name: String,
        value: Option<Bytes>,
    },
    Mend(MendAct),
    Replay {
        replay: Replay,
        left: Fates,
    },
    Reschedule {
        seq: Seq,
        due: Option<Timestamp>,
        reason: String,
    },
    Overdue {
        flow: String,
    },
    Undo {
        flow: String,
        undos: Vec<Envelope>,
        is_pivot: bool,
    },
    GoBack {
        flow: String,
        by: String,
        reason: String,
    },
    Undone(String),
    GoneBack(String),
    StepStates {
        subscription: SubscriptionId,
        seq: Seq,
        before: Option<Bytes>,
        after: Option<Bytes>,
    },
    ForgetIds(ForgetAct),
}

/// A settle without what it emits: emitted events are entries of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct SettleAct {
    pub(super) subscription: SubscriptionId,
    pub(super) ordinal: Ordinal,
    pub(super) seq: Seq,
    pub(super) key: Arc<str>,
    pub(super) outcome: Outcome,
    pub(super) state: Option<StateWrite>,
    pub(super) result: Option<Bytes>,
    pub(super) waited_ms: u64,
    pub(super) ran_ms: u64,
    pub(super) is_counted: bool,
}

impl SettleAct {
    pub(super) fn split(settle: Settle) -> (Self, Vec<crate::store::Emit>) {
        let act = Self {
            subscription: settle.subscription,
            ordinal: settle.ordinal,
            seq: settle.seq,
            key: settle.key,
            outcome: settle.outcome,
            state: settle.state,
            result: settle.result,
            waited_ms: settle.waited_ms,
            ran_ms: settle.ran_ms,
            is_counted: settle.counted,
        };
        (act, settle.emits)
    }
}

impl GroupHead {
    /// Adds its bytes in the journal.
    pub(in crate::store) fn encode(self, mut bytes: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
        bytes.push(GROUP);
        postcard::to_extend(&self, bytes)
    }

    /// Reads the first entry of a group.
    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        match bytes.split_first() {
            Some((&GROUP, rest)) => postcard::from_bytes(rest),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }
}

impl Entry {
    /// Adds its bytes in the journal.
    pub(in crate::store) fn encode(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
        match self {
            Self::Event(entry) => {
                bytes.push(EVENT);
                grown::encode(&entry.rest, postcard::to_extend(&*entry.event, bytes)?)
            }
            Self::Act(act) => {
                bytes.push(ACT);
                postcard::to_extend(act, bytes)
            }
        }
    }

    /// Reads an entry that is not the first of its group.
    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        match bytes.split_first() {
            Some((&EVENT, rest)) => {
                let (event, rest) = postcard::take_from_bytes::<Envelope>(rest)?;
                let rest = grown::decode(rest)?;
                Ok(Self::Event(EventEntry::new(Arc::new(event), rest)))
            }
            Some((&ACT, rest)) => postcard::from_bytes(rest).map(Self::Act),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }
}

impl Entry {
    /// Reads an event alone, without its digests.
    pub(in crate::store) fn decode_event(bytes: &[u8]) -> Result<Stored, postcard::Error> {
        let Some((&EVENT, rest)) = bytes.split_first() else {
            return Err(postcard::Error::DeserializeBadEncoding);
        };
        let (event, rest) = postcard::take_from_bytes::<Envelope>(rest)?;
        let rest: EventRest = grown::decode(rest)?;
        Ok(Stored { event: Arc::new(event), ready: rest.ready() })
    }
}

impl EventRest {
    /// When the event could be handled: a delayed one is released at its time, to the tick of the clock.
    fn ready(&self) -> Timestamp {
        self.due.map_or(self.at, |due| due.max(self.at))
    }
}

impl EventEntry {
    /// Adds the digests.
    pub(super) fn new(event: Arc<Envelope>, rest: EventRest) -> Self {
        let digests = Digests::of(&event);
        Self { event, digests, rest }
    }

    /// The event as queues hand it out.
    pub(in crate::store) fn stored(&self) -> Stored {
        Stored { event: Arc::clone(&self.event), ready: self.rest.ready() }
    }
}
