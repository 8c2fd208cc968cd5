//! Store: the durable engine behind the bus, and the one seam every engine implements.
//!
//! The bus says what happened as [`Change`]s and reads what it needs through [`Reader`]; how an engine
//! keeps it (rows, files, subjects) never shows above. Two durable points matter: an event is
//! acknowledged when [`Store::sync`] has returned after it was staged, and a step's outcome is recorded
//! the same way, with its state, its emitted events and its journaled results in one change.
//!
//! ```text
//! bus ── Vec<Change> ──> stage: order, duplicates, numbers ──> sync: on disk ──> answers, hints
//!  subscriptions, HTTP <── Reader: queues, envelopes, states, flows, dead letters
//! ```
//!
//! One thread owns the [`Store`]; any number of threads read. A reader sees what is staged; who lets
//! something leave the process waits until [`Reader::durable`] has reached what was read.

mod backup;
mod change;
mod compensation;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
pub mod faults;
pub mod journal;
mod layer;
mod memory;
mod polled;
mod query;
mod reader;
mod record;
mod replay;
mod rows;
mod search;
mod settings;
mod sled;
mod tools;
mod verify;
mod view;

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Envelope, Identity, Timestamp};

pub use backup::{BackedUp, Manifest, Part};
pub use change::{
    Append, Change, Emit, Novelty, Outcome, Places, Published, Receipt, Repair, RepairAct, Replay, Routed,
    Settle, Shelf, StateWrite, SubscriptionSpec,
};
pub use compensation::{Compensate, CompensationRecord, CompensationState, OpenDelivery, Undoing};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use query::{EventQuery, FlowQuery, Found, FoundEvent, FoundFlow, Standing};
pub use record::{
    AtHand, AttemptRecord, DeadGroup, DeadLetter, DeadReason, Deliveries, DeliveryRecord, DeliveryState,
    EventRecord, FlowRecord, GroupId, Lookup, Pending, PendingState, Queued, StepStates, StoreStats,
    SubscriptionRecord,
};
pub use replay::{Fate, Fates};
pub use settings::StoreSettings;
pub use sled::{
    Compacted, Moved, SledStore, backup_folder, check_backup, compact_folder, export_folder, import, restore,
    verify_folder,
};
pub use tools::Tools;
pub use verify::{AffectedEvent, Finding, Progress, VerifyReport};

/// Number of an event, from 1, gap-free, in the order of acknowledgement.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// Number of a delivery within its subscription's queue, from 1, gap-free, in the order of enqueueing.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Ordinal(pub u64);

/// Number of a group commit, from 1, gap-free.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Commit(pub u64);

/// The store's own short name for a subscription; stable for as long as its data lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SubscriptionId(pub u32);

/// The writing half of an engine. One thread owns it.
pub trait Store: Send {
    /// Orders and numbers a group of changes and applies them to what readers see.
    ///
    /// Each change is all or nothing by itself; a change that does not apply any more (a delivery that is
    /// already settled, an id that is taken by another body) is answered so in its [`Receipt`] and leaves
    /// no trace. `now` is the bus clock's time of the group. What is staged is taken out of the list, which
    /// stays the caller's for its room: a list of a thousand changes is hundreds of KiB.
    ///
    /// # Guarantees
    /// Receipts come in the order of the changes. Nothing is durable yet: neither a publisher nor anybody
    /// outside may be told before [`Store::sync`] has returned. A group that was staged earlier never
    /// becomes durable without all groups before it.
    ///
    /// # Errors
    /// [`StoreError`]: the store is poisoned, no further change is taken from this process.
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError>;

    /// Makes everything staged so far durable and returns the number of the group commit.
    ///
    /// # Guarantees
    /// When it returns, the staged changes survive the death of the process, of the operating system and
    /// of the power supply (engines with [`Features::durable`]).
    ///
    /// # Errors
    /// One for which [`StoreError::is_disk_full`] holds: nothing was written, what was staged stays so, and the next call
    /// may succeed; where something was written, that call says that the store has failed. After any other
    /// [`StoreError`] what was staged is in an unknown state and nothing is ever acknowledged again by this process;
    /// the bus ends and recovers from disk.
    fn sync(&mut self) -> Result<Commit, StoreError>;

    /// Whether [`Store::maintain`] has something to do that should not wait for its turn.
    fn is_upkeep_due(&self) -> bool {
        false
    }

    /// Does a bounded slice of background work: checkpoint, retention, expiry. Called between groups, at
    /// least once a second. Returns whether more work waits. What it stages becomes durable with the next
    /// [`Store::sync`].
    ///
    /// # Errors
    /// As [`Store::sync`].
    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError>;

    /// After a failure: has readers see what is durable, and nothing of what was staged and may not be. Returns the
    /// commit they see.
    ///
    /// # Guarantees
    /// When it returns, what is read was acknowledged, or can be; [`Reader::staged`] is [`Reader::durable`].
    ///
    /// # Errors
    /// [`StoreError`]: it cannot be read from disk, or the engine does not do it. Readers may be asked nothing then.
    fn retreat(&mut self) -> Result<Commit, StoreError> {
        Err(StoreError::Poisoned { cause: "this engine cannot be read after a failure".to_owned() })
    }

    /// The reading half; cheap to clone and usable from any thread.
    fn reader(&self) -> Arc<dyn Reader>;

    /// What an operator may ask of it while it works; `None` for an engine that keeps nothing on disk of its own.
    fn tools(&self) -> Option<Arc<dyn Tools>> {
        None
    }

    /// What this engine promises; the conformance suite leaves out what it does not.
    fn features(&self) -> Features;

    /// Writes what is in memory to its place (a last checkpoint) and releases the files.
    ///
    /// # Errors
    /// As [`Store::sync`]; what was acknowledged is safe all the same.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// What an engine promises beyond the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Acknowledged changes survive the process.
    pub durable: bool,
}

/// Flows with their deadlines, and when the next one is due.
pub type OverdueFlows = (Vec<(String, Timestamp)>, Option<Timestamp>);

/// The reading half of an engine. Every call may block on the disk: never call one on an arbiter thread.
///
/// # Errors
/// Every method answers [`StoreError`] when the engine is damaged or poisoned; the caller reports it and
/// does not retry.
#[expect(clippy::missing_errors_doc, reason = "said once for all methods on the trait")]
pub trait Reader: Send + Sync + std::fmt::Debug {
    /// The newest group commit that is staged.
    fn staged(&self) -> Commit;

    /// The newest group commit that is durable.
    fn durable(&self) -> Commit;

    /// All subscriptions ever declared and not dropped, in the order of their ids.
    fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StoreError>;

    /// Finds an event by source and id: known, forgotten (its time to live is over), or never seen.
    fn find(&self, identity: Identity) -> Result<Lookup, StoreError>;

    /// As [`Reader::stands`], when that takes no waiting: neither for the disk nor for whoever writes, and all of it is
    /// durable. `None` says nothing about the event.
    fn at_hand(&self, identity: Identity) -> Option<Arc<AtHand>>;

    /// The flow of an event at one moment, from wherever it is, and it may not be durable yet. `None` when there is no such
    /// event, its status has expired, or its flow has more events than are read at once: then it is read piece by piece.
    fn stands(&self, identity: Identity) -> Result<Option<Arc<AtHand>>, StoreError>;

    /// The event's bookkeeping: name, flow, deliveries with their attempts.
    fn event(&self, seq: Seq) -> Result<Option<EventRecord>, StoreError>;

    /// The event itself. `None` when its payload is past retention.
    fn envelope(&self, seq: Seq) -> Result<Option<Arc<Envelope>>, StoreError>;

    /// The flow's head: counts, result, and the numbers of its events in order.
    fn flow(&self, flow: &str) -> Result<Option<FlowRecord>, StoreError>;

    /// The flow of an event, which spares looking for it by its text; `None` when the event has no bookkeeping.
    fn flow_of(&self, seq: Seq) -> Result<Option<FlowRecord>, StoreError>;

    /// Up to `limit` unsettled deliveries with an ordinal over `after`, in order, those that were
    /// deferred left out. Reads envelopes too; stops early at about 1 MiB of payload.
    fn queue(
        &self,
        subscription: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Queued>, StoreError>;

    /// Up to `limit` deliveries of `key` that were deferred ([`Change::Defer`]), in order, also those behind
    /// one that waits for a time or a person: whose turn it is, the subscription knows, and it has to be able
    /// to tell "nothing left" from "not yet".
    fn deferred(
        &self,
        subscription: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Queued>, StoreError>;

    /// How many deliveries of `key` were deferred and are not through, counted up to `limit`.
    fn deferred_count(
        &self,
        subscription: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// The deliveries that wait for a retry or a snooze or are dead, and the keys with deferred
    /// deliveries: what a subscription has to know when it starts. Pages by `after`.
    fn pending(
        &self,
        subscription: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError>;

    /// Up to `limit` deliveries that the put-aside ones of `key` wait for, in order: those that wait for a time,
    /// dead letters that hold their key, and repaired ones that have not been tried yet.
    fn holders(
        &self,
        subscription: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError>;

    /// One delivery with its envelope, wherever it stands, unless it is settled for good.
    fn delivery(&self, subscription: SubscriptionId, ordinal: Ordinal) -> Result<Option<Queued>, StoreError>;

    /// The state of a key of a subscription, as the bytes the step's state was written as.
    fn state(&self, subscription: SubscriptionId, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// The states of its key before and after the attempts of one delivery, the oldest first; only those that
    /// were settled with [`Settle::keep_states`].
    fn step_states(&self, subscription: SubscriptionId, seq: Seq) -> Result<Vec<StepStates>, StoreError>;

    /// The journaled results of `cx.run` for one delivery, by name.
    fn effects(&self, subscription: SubscriptionId, seq: Seq) -> Result<Vec<(String, Bytes)>, StoreError>;

    /// Up to `limit` dead letters after `after` in the order of (subscription, event number), of one
    /// subscription or of all.
    fn dead_letters(
        &self,
        subscription: Option<SubscriptionId>,
        after: Option<(SubscriptionId, Seq)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Up to `limit` groups of dead letters after `after` in the order of (subscription, group), of one
    /// subscription or of all.
    fn dead_groups(
        &self,
        subscription: Option<SubscriptionId>,
        after: Option<(SubscriptionId, GroupId)>,
        limit: usize,
    ) -> Result<Vec<DeadGroup>, StoreError>;

    /// One group; `None` when no dead letter is in it.
    fn dead_group(&self, group: GroupId) -> Result<Option<DeadGroup>, StoreError>;

    /// Up to `limit` dead letters of a group after `after`, in the order of event numbers.
    fn grouped(
        &self,
        subscription: SubscriptionId,
        group: GroupId,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Up to `limit` deferred deliveries of `key` over `after`, in order, without their events.
    fn waiting(
        &self,
        subscription: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<(Ordinal, Seq)>, StoreError>;

    /// How many deferred deliveries of `key` there are over `after`; counts to `limit` at most.
    fn count_waiting(
        &self,
        subscription: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// One dead letter.
    fn dead_letter(&self, subscription: SubscriptionId, seq: Seq) -> Result<Option<DeadLetter>, StoreError>;

    /// Up to `limit` delayed events that are due at or before `until`, and the due time of the next one
    /// after those.
    fn due(&self, until: Timestamp, limit: usize) -> Result<(Vec<Seq>, Option<Timestamp>), StoreError>;

    /// The bookkeeping of up to `limit` events from `from` on, in the order of acknowledgement.
    fn events_from(&self, from: Seq, limit: usize) -> Result<Vec<EventRecord>, StoreError>;

    /// Up to `limit` events before `before` that nobody listened to, the newest first.
    fn unrouted(&self, before: Option<Seq>, limit: usize) -> Result<Vec<EventRecord>, StoreError>;

    /// Up to `limit` events before `before` that a subscription's `where` has kept out, the newest first.
    fn filtered(
        &self,
        subscription: SubscriptionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError>;

    /// What a replay would do with each of these events now, in their order.
    fn fates(&self, subscription: SubscriptionId, seqs: &[Seq]) -> Result<Vec<Fate>, StoreError>;
    /// Up to `limit` facts of the bus's own with a number under `before`, the newest first.
    fn facts(&self, before: Option<Seq>, limit: usize) -> Result<Vec<EventRecord>, StoreError>;
    /// Up to `limit` open flows whose deadline was at or before `until` and that are not marked yet, and the
    /// deadline of the next one after those.
    fn overdue(&self, until: Timestamp, limit: usize) -> Result<OverdueFlows, StoreError>;

    /// Up to `limit` records of a shelf whose names begin with `prefix` and come after `after`, by name.
    fn kept(
        &self,
        shelf: Shelf,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError>;

    /// One record of a shelf.
    fn kept_one(&self, shelf: Shelf, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Up to `limit` events that agree with the query, the newest first, of those with a number under `before`.
    ///
    /// # Guarantees
    /// The work of one call is bounded: it may answer fewer events than there are, none even, and a
    /// [`Found::next`] to go on from. Events of one call are of one moment each, not of one together. What
    /// a store of version 1 kept is found by flow and by time, not by name or key.
    fn find_events(
        &self,
        query: &EventQuery,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Found<FoundEvent>, StoreError>;

    /// Up to `limit` flows that agree with the query, the newest first, of those that stand under `before`.
    ///
    /// # Guarantees
    /// As [`Reader::find_events`]. A flow stands in the list at one place only, that of its first event
    /// which agrees, so that pages that follow each other show none twice.
    fn find_flows(
        &self,
        query: &FlowQuery,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Found<FoundFlow>, StoreError>;
    /// What is to be known for undoing a flow, as it stands at one moment; `None` when the flow is not being
    /// undone, or is undone and at rest.
    fn undoing(&self, flow: &str) -> Result<Option<Undoing>, StoreError>;

    /// Counters for metrics and admission.
    fn stats(&self) -> StoreStats;
}
