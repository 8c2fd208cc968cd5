//! What a subscription actor reads from the store, on a thread that may block.
//!
//! A subscription that does not run ahead is shown events only when they are on disk, so the answer waits
//! for that where the commit that stored them is still on its way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::port::{Input, Port};
use crate::committer::Durable;
use crate::store::{Ordinal, Pending, Queued, Reader, StoreError, SubscriptionId};

/// A question to the store.
#[derive(Debug)]
pub(crate) enum Question {
    /// What waits for a time or for a person, after this place: asked once, page by page, at the start.
    Pending { after: Ordinal },
    /// The queue, over this place.
    Queue { after: Ordinal, limit: usize },
    /// What was put aside for a key.
    Deferred { key: String, limit: usize },
    /// One delivery whose time has come.
    One { ordinal: Ordinal },
}

/// Pending deliveries read with one question.
pub(crate) const PENDING_PAGE: usize = 4_096;

/// The answer, with the question.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) question: Question,
    pub(crate) found: Result<Found, StoreError>,
}

/// What the store has.
#[derive(Debug)]
pub(crate) enum Found {
    Deliveries(Vec<Queued>),
    Pending(Vec<Pending>),
}

/// Where a subscription reads.
#[derive(Debug, Clone)]
pub(crate) struct Reads {
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) durable: Durable,
    pub(crate) pool: Handle,
    /// Threads of the pool that blocking steps may take; the others are for reads.
    pub(crate) blocking: Arc<Semaphore>,
}

impl Reads {
    /// Asks; the answer comes as an [`Input::Read`].
    pub(crate) fn ask(&self, port: &Port, question: Question) {
        let (this, port) = (self.clone(), port.clone());
        let busy = port.busy();
        self.pool.spawn(async move {
            let (id, ahead, reader) = (port.id, port.runs_ahead, Arc::clone(&this.reader));
            let read = this.pool.spawn_blocking(move || {
                let caught = catch_unwind(AssertUnwindSafe(|| find(&*reader, id, &question)));
                let found = caught.unwrap_or_else(|_| {
                    Err(StoreError::Poisoned { cause: "reading from the store panicked".to_owned() })
                });
                (Answer { question, found }, reader.staged())
            });
            // A read that was cancelled comes with the runtime's end; nobody waits then.
            if let Ok((answer, staged)) = read.await
                && (ahead || this.durable.reached(staged).await)
            {
                port.tell(Input::Read(answer));
            }
            drop(busy);
        });
    }
}

fn find(reader: &dyn Reader, id: SubscriptionId, question: &Question) -> Result<Found, StoreError> {
    let found = match question {
        Question::Pending { after } => return reader.pending(id, *after, PENDING_PAGE).map(Found::Pending),
        Question::Queue { after, limit } => reader.queue(id, *after, *limit)?,
        Question::Deferred { key, limit } => reader.deferred(id, key, *limit)?,
        Question::One { ordinal } => reader.delivery(id, *ordinal)?.into_iter().collect(),
    };
    Ok(Found::Deliveries(found))
}
