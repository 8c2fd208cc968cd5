//! What can be asked and told of undoing a flow: see `docs/adr/0010-compensation.md`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{DeliveryState, Ordinal, Routed, Seq, SubscriptionId};
use crate::event::{Envelope, Timestamp};

/// One step of undoing a flow.
#[derive(Debug, Clone)]
pub enum Compensate {
    /// The flow is to be undone. Applies once in a flow's life, and never after its point of no return.
    Begin {
        /// The flow.
        flow: String,
        /// The person who wants it; empty when it is a step or a subscription.
        by: String,
        /// Why.
        reason: String,
    },
    /// Emits the undo recorded last. Applies when this is that one, and nothing of the one before it is open.
    Next {
        /// The flow.
        flow: String,
        /// The undo, routed as the wiring is now.
        undo: Routed,
    },
    /// Nothing is left to undo, and nothing of the last undo is open.
    End {
        /// The flow.
        flow: String,
    },
}

/// How far the undoing of a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompensationState {
    /// Undos are run, or could be.
    Undoing,
    /// Everything that was recorded is undone.
    Done,
    /// An attempt that ran when it began has passed the point of no return: nothing was undone.
    CalledOff,
}

/// The undoing of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationRecord {
    /// How far it is.
    pub state: CompensationState,
    /// Who wanted it; empty when no person did.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Undos emitted so far.
    pub undone: u32,
    /// Undos still to be emitted.
    pub left: u32,
    /// Deliveries of the undoing that are not at rest.
    pub open: u64,
    /// Dead letters among them.
    pub dead: u64,
}

impl CompensationRecord {
    /// Whether it cannot go on without a person: all that is open of it is dead letters.
    pub const fn is_stuck(&self) -> bool {
        matches!(self.state, CompensationState::Undoing) && self.dead > 0 && self.dead == self.open
    }
}

/// A delivery of a flow that is not at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenDelivery {
    /// The event.
    pub seq: Seq,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its place; `None` while the event is delayed.
    pub ordinal: Option<Ordinal>,
    /// The lane's key, once it is known.
    pub key: Option<String>,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// Whether it belongs to the undoing.
    pub is_undo: bool,
}

/// Everything that undoing a flow has to know, as it stood at one moment.
#[derive(Debug, Clone)]
pub struct Undoing {
    /// How far it is.
    pub record: CompensationRecord,
    /// The undo to emit next.
    pub next: Option<Arc<Envelope>>,
    /// What is open of the flow.
    pub open: Vec<OpenDelivery>,
}
