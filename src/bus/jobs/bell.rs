//! The bell of the runner: rung when there is a job to look at or the clock was moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::activity::{Activity, Busy};
use crate::event::Timestamp;

/// Rings for the runner. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::bus) struct JobBell {
    bell: Arc<Notify>,
    rung: Arc<Mutex<Option<Busy>>>,
    /// When the next letter is due; zero when nothing waits for a time.
    next: Arc<AtomicU64>,
    activity: Activity,
}

impl JobBell {
    pub(in crate::bus) fn new(activity: Activity) -> Self {
        Self { activity, ..Self::default() }
    }

    pub(in crate::bus) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if rung.is_none() {
            *rung = Some(self.activity.begin());
        }
        self.bell.notify_one();
    }

    /// When a job that is held to its pace goes on.
    pub(in crate::bus) fn next_due(&self) -> Option<Timestamp> {
        Some(Timestamp(self.next.load(Ordering::Acquire))).filter(|at| at.0 > 0)
    }

    pub(super) fn set_next(&self, at: Option<Timestamp>) {
        self.next.store(at.map_or(0, |at| at.0), Ordering::Release);
    }

    /// Takes the work that the ringing has put in hand, or takes some in hand.
    pub(super) fn take(&self) -> Busy {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner).take();
        rung.unwrap_or_else(|| self.activity.begin())
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }
}
