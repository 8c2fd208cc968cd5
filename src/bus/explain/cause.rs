//! The causes, in the order in which they need a person.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a delivery, or a whole event, stands where it stands; those that need a person most come first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The store failed: nothing moves before a restart.
    StoreFailed,
    /// The disk is down to its reserve: nothing is taken from outside.
    DiskFull,
    /// Publications wait for the disk, or changes for the checkpoint: nothing more is taken.
    QueueFull,
    /// The process ends.
    Draining,
    /// A dead letter: failed for good, waits for a person.
    Dead,
    /// A dead letter: its time was over before it was handled.
    Expired,
    /// Its key waits behind a dead letter.
    Parked,
    /// A person has parked its key.
    ParkedByHand,
    /// The subscription could not read the store.
    Broken,
    /// The config names its subscription no more.
    Orphaned,
    /// A person has paused the whole bus.
    BusPaused,
    /// A person has paused its subscription.
    Paused,
    /// The breaker of its subscription is open, or lets a single attempt through.
    BreakerOpen,
    /// Its subscription runs one attempt at a time, for the process may have died of one.
    RunsAlone,
    /// Waits for its next attempt.
    Waiting,
    /// Waits for the time it was delayed to.
    Delayed,
    /// An earlier delivery of its key is not through.
    KeyBusy,
    /// All permits of its subscription are taken.
    PermitsBusy,
    /// The rate of its subscription holds it back.
    Rate,
    /// Outcomes of its subscription wait for the disk.
    DiskBehind,
    /// An attempt runs.
    Running,
    /// Nothing is in its way: its attempt is about to start.
    Starting,
    /// The `where` of a subscription kept it out.
    Filtered,
    /// Nobody listened when it was acknowledged.
    Unrouted,
    /// Skipped by the step or by a person.
    Skipped,
    /// Handled.
    Done,
}

/// Another event of the flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventOf {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
}

/// One cause with its facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CauseView {
    /// The subscription whose delivery it is about; `null` when it is about the event as a whole.
    pub subscription: Option<String>,
    /// The event of the flow whose delivery it is, where that is not the one that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventOf>,
    /// The cause.
    pub cause: Cause,
    /// The cause in one sentence.
    pub sentence: String,
    /// What it stands on: ids, times (RFC 3339), counts; which ones depends on the cause.
    #[schema(value_type = Object)]
    pub facts: Value,
}

pub(super) fn reason(cause: Cause, subscription: Option<&str>, sentence: String, facts: Value) -> CauseView {
    CauseView { subscription: subscription.map(str::to_owned), event: None, cause, sentence, facts }
}
