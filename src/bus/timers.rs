//! Delayed events: one bell and one task, however many events wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::warn;

use crate::activity::{Activity, Busy};
use crate::clock::Clock;
use crate::committer::Submitter;
use crate::event::Timestamp;
use crate::store::{Change, Reader, Seq, StoreError};

/// Delayed events released with one request.
const BATCH: usize = 512;

/// How long the task sleeps at most, whatever it thinks is due: a wall clock may be set.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Rings when there is a new delayed event, or the clock was moved. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct DelayBell {
    bell: Arc<Notify>,
    rung: Arc<std::sync::Mutex<Option<Busy>>>,
    /// When the next delayed event is due; zero when none is known.
    next: Arc<AtomicU64>,
    activity: Activity,
}

impl DelayBell {
    pub(crate) fn new(activity: Activity) -> Self {
        Self { activity, ..Self::default() }
    }

    pub(crate) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if rung.is_none() {
            *rung = Some(self.activity.begin());
        }
        self.bell.notify_one();
    }

    /// When the next delayed event is due, as far as the task has looked.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        Some(Timestamp(self.next.load(Ordering::Acquire))).filter(|at| at.0 > 0)
    }

    fn take(&self) -> Option<Busy> {
        self.rung.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }
}

/// The task that releases delayed events when they are due.
#[derive(Debug)]
pub(crate) struct Delays {
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) submitter: Submitter,
    pub(crate) clock: Clock,
    pub(crate) bell: DelayBell,
    pub(crate) pool: Handle,
}

impl Delays {
    /// Runs until the bus ends.
    pub(crate) async fn run(self) {
        loop {
            let busy = self.bell.take();
            let next = match self.release_due().await {
                Ok(next) => next,
                Err(error) => {
                    warn!(%error, "cannot read which delayed events are due; trying again");
                    Some(self.clock.now().plus_millis(1_000))
                }
            };
            self.bell.next.store(next.map_or(0, |at| at.0), Ordering::Release);
            drop(busy);
            self.sleep_until(next).await;
        }
    }

    /// Releases what is due and tells when the next one is.
    async fn release_due(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let (now, reader) = (self.clock.now(), Arc::clone(&self.reader));
            let Ok(found) = self.pool.spawn_blocking(move || reader.due(now, BATCH)).await else {
                return Ok(None);
            };
            let (due, next): (Vec<Seq>, _) = found?;
            if due.is_empty() {
                return Ok(next);
            }
            let released = self.submitter.commit(due.into_iter().map(Change::Release).collect()).await;
            if !matches!(released, Some(Ok(_))) {
                // The bus has ended; what is due is released at the next start.
                return Ok(None);
            }
        }
    }

    async fn sleep_until(&self, next: Option<Timestamp>) {
        let rung = self.bell.bell.notified();
        if self.clock.is_manual() {
            return rung.await;
        }
        let wait =
            next.map_or(LONGEST_SLEEP, |due| Duration::from_millis(due.millis_since(self.clock.now())));
        // Both ends mean the same: look again.
        drop(tokio::time::timeout(wait.min(LONGEST_SLEEP), rung).await);
    }
}
