//! Activity: counts the work in hand, so that "idle" is a fact and not a guess by time.
//!
//! Whoever hands work on (a request to the bus, a hint to a subscription, a running attempt) holds a
//! [`Busy`] until the work and everything it has set off is handed on in turn. When the last one is
//! dropped, nothing in the process can move until somebody publishes or the clock advances. The test kit
//! waits for that, and so does a drain.

mod incoming;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

pub use incoming::Incoming;

/// Counts pieces of work in hand. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    in_hand: AtomicUsize,
    idle: Notify,
}

/// One piece of work in hand; dropping it says that it is done or handed on.
#[derive(Debug)]
pub struct Busy(Arc<Inner>);

impl Activity {
    /// Takes a piece of work in hand.
    pub fn begin(&self) -> Busy {
        self.0.in_hand.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(&self.0))
    }

    /// Pieces of work in hand.
    pub fn in_hand(&self) -> usize {
        self.0.in_hand.load(Ordering::Acquire)
    }

    /// Waits until nothing is in hand. Returns at once when that is so already.
    pub async fn idle(&self) {
        loop {
            let notified = self.0.idle.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.in_hand() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.in_hand.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_idle_when_the_last_piece_of_work_is_dropped() {
        let activity = Activity::default();
        let first = activity.begin();
        let second = activity.begin();
        let waiting = tokio::spawn({
            let activity = activity.clone();
            async move { activity.idle().await }
        });

        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());

        drop(second);
        waiting.await.unwrap();
    }
}
