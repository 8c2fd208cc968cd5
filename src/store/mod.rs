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

mod change;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod error;
pub mod journal;
mod memory;
mod reader;
mod record;
mod rows;
mod settings;
mod sled;
mod view;

use std::sync::Arc;

use bytes::Bytes;

use crate::event::{Envelope, Identity, Timestamp};

pub use change::{
    Append, Change, Emit, Outcome, Published, Receipt, Repair, Routed, Settle, Shelf, StateWrite,
    SubscriptionSpec,
};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use record::{
    AttemptRecord, DeadLetter, DeadReason, DeliveryRecord, DeliveryState, EventRecord, FlowRecord, Lookup,
    Pending, PendingState, Queued, StoreStats, SubscriptionRecord,
};
pub use settings::StoreSettings;
pub use sled::SledStore;

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
    /// no trace. `now` is the bus clock's time of the group.
    ///
    /// # Guarantees
    /// Receipts come in the order of the changes. Nothing is durable yet: neither a publisher nor anybody
    /// outside may be told before [`Store::sync`] has returned. A group that was staged earlier never
    /// becomes durable without all groups before it.
    ///
    /// # Errors
    /// [`StoreError`]: the store is poisoned, no further change is taken from this process.
    fn stage(&mut self, now: Timestamp, changes: Vec<Change>) -> Result<Vec<Receipt>, StoreError>;

    /// Makes everything staged so far durable and returns the number of the group commit.
    ///
    /// # Guarantees
    /// When it returns, the staged changes survive the death of the process, of the operating system and
    /// of the power supply (engines with [`Features::durable`]).
    ///
    /// # Errors
    /// [`StoreError`]: what was staged is in an unknown state and nothing is ever acknowledged again by
    /// this process; the bus ends and recovers from disk.
    fn sync(&mut self) -> Result<Commit, StoreError>;

    /// Does a bounded slice of background work: checkpoint, retention, expiry. Called between groups, at
    /// least once a second. Returns whether more work waits.
    ///
    /// # Errors
    /// As [`Store::sync`].
    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError>;

    /// The reading half; cheap to clone and usable from any thread.
    fn reader(&self) -> Arc<dyn Reader>;

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

    /// The event's bookkeeping: name, flow, deliveries with their attempts.
    fn event(&self, seq: Seq) -> Result<Option<EventRecord>, StoreError>;

    /// The event itself. `None` when its payload is past retention.
    fn envelope(&self, seq: Seq) -> Result<Option<Arc<Envelope>>, StoreError>;

    /// The flow's head: counts, result, and the numbers of its events in order.
    fn flow(&self, flow: &str) -> Result<Option<FlowRecord>, StoreError>;

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

    /// One delivery with its envelope, wherever it stands, unless it is settled for good.
    fn delivery(&self, subscription: SubscriptionId, ordinal: Ordinal) -> Result<Option<Queued>, StoreError>;

    /// The state of a key of a subscription, as the bytes the step's state was written as.
    fn state(&self, subscription: SubscriptionId, key: &str) -> Result<Option<Bytes>, StoreError>;

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

    /// One dead letter.
    fn dead_letter(&self, subscription: SubscriptionId, seq: Seq) -> Result<Option<DeadLetter>, StoreError>;

    /// Up to `limit` delayed events that are due at or before `until`, and the due time of the next one
    /// after those.
    fn due(&self, until: Timestamp, limit: usize) -> Result<(Vec<Seq>, Option<Timestamp>), StoreError>;

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

    /// Counters for metrics and admission.
    fn stats(&self) -> StoreStats;
}
