//! Committer: the one who writes.
//!
//! Requests from everywhere are gathered by the bus actor into groups; its committer stages a group, lets
//! those who may run ahead look at it, makes it durable with one disk sync, and only then answers.
//! While one group is on its way to the disk the next one gathers, so the group grows with the load.
//!
//! ```text
//! requests ──> bus actor ──Group──> stage ──> staged() ──> sync ──> answers, durable()
//!              └───────────────────────── one thread ─────────────────────────┘
//! ```
//!
//! After a failed stage or sync nothing is answered any more but the failure; the bus ends.

mod answers;
mod commit;
mod postbox;
mod request;
mod slot;
mod underway;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::activity::{Activity, Incoming};
use crate::store::{Commit, Receipt, StoreError};

pub use answers::{Answered, Reply};
pub use commit::{Committer, CommitterSettings};
pub use postbox::Postbox;
pub(crate) use postbox::Wakes;
pub use request::{Changes, Receipts, Request};
pub(crate) use slot::{Slot, Taken};
pub use underway::Underway;

/// The answer to a request: one receipt for each change, durable.
pub type Answer = Result<Receipts, StoreError>;

/// Hands requests to the bus. Cheap to clone; usable from any thread.
///
/// The channel itself has no limit: who submits bounds what it has under way (publishers by admission,
/// subscriptions by what they have handed in and not yet seen recorded).
#[derive(Debug, Clone)]
pub struct Submitter {
    requests: mpsc::UnboundedSender<Request>,
    waiting: Waiting,
    activity: Activity,
}

/// Counts the changes that wait for the committer. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// How many wait now.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many are in the committer's hands.
    pub(crate) fn taken(&self, changes: usize) {
        self.0.fetch_sub(changes, Ordering::Relaxed);
    }
}

impl Submitter {
    /// A submitter and the end at which the bus takes the requests.
    pub fn new(activity: Activity) -> (Self, Incoming<Request>) {
        let (requests, incoming) = Incoming::channel();
        (Self { requests, waiting: Waiting::default(), activity }, incoming)
    }

    /// What was handed in and is not in the committer's hands.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Hands in changes; `reply` is told the answer. Returns `false` when the bus has ended: then the
    /// reply is dropped untold.
    pub fn submit(&self, changes: impl Into<Changes>, reply: Option<Reply>) -> bool {
        let request = Request { changes: changes.into(), reply, busy: self.activity.begin() };
        // Before it can be taken.
        self.waiting.0.fetch_add(request.weight(), Ordering::Relaxed);
        self.requests.send(request).is_ok()
    }

    /// Hands in changes and waits for the answer. `None` when the bus has ended without one: the outcome
    /// is then unknown.
    pub async fn commit(&self, changes: impl Into<Changes>) -> Option<Answer> {
        self.commit_then(changes, |_| ()).await
    }

    /// As [`Submitter::commit`]; `then` sees the answer first, on the committer's thread (it must not
    /// block), also when the caller has gone away meanwhile. The changes are handed in by this call, before
    /// anybody waits.
    pub fn commit_then<F>(&self, changes: impl Into<Changes>, then: F) -> Answered<F>
    where
        F: FnOnce(&Answer) + Send + 'static,
    {
        self.commit_by(None, changes, then)
    }

    /// As [`Submitter::commit_then`], for one of many who wait on one thread: see [`Postbox`].
    pub fn commit_by<F>(&self, postbox: Option<Postbox>, changes: impl Into<Changes>, then: F) -> Answered<F>
    where
        F: FnOnce(&Answer) + Send + 'static,
    {
        let (reply, answered) = Reply::awaited(postbox, then);
        // When the bus has ended the reply is dropped untold, which is what the caller then hears.
        let _is_taken = self.submit(changes, Some(reply));
        answered
    }
}

/// A group of requests that becomes durable with one sync.
#[derive(Debug, Default)]
pub struct Group {
    /// The requests, in the order they came.
    pub requests: Vec<Request>,
}

/// Who is told about groups, on the committer's thread: it must not block.
pub trait Listener: Send {
    /// A group has its order and numbers but is not on disk yet. A hint, as the next two.
    fn staged(&mut self, receipts: &[Receipt]);

    /// The group is on disk.
    fn durable(&mut self, receipts: &[Receipt]);

    /// The store has done a slice of its upkeep: its counters may read differently.
    fn maintained(&mut self);

    /// A group of so many changes is on disk and answered; staging and syncing took so long.
    fn committed(&mut self, changes: usize, took: Duration);

    /// The store is about to say that it failed; readers see what is on disk, and go on.
    fn retreated(&mut self);

    /// The store failed; no group will be taken any more. Nobody was answered so yet.
    fn failed(&mut self, failure: &StoreError);
}

/// Tells how far the disk is; what leaves the process waits here for what it stands on.
#[derive(Debug, Clone)]
pub struct Durable(pub(crate) watch::Receiver<Commit>);

impl Durable {
    /// Waits until `commit` is on disk. Returns `false` when the bus has ended before that.
    pub async fn reached(&self, commit: Commit) -> bool {
        self.0.clone().wait_for(|durable| *durable >= commit).await.is_ok()
    }
}
