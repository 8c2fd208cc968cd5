//! Whether the bus can take work, and how it ended.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::Readiness;
use crate::store::StoreError;

/// The state of health, shared by the bus, its doors and the runtime.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// 0 starting, 1 ready, 2 draining.
    phase: AtomicU8,
    failure: OnceLock<StoreError>,
    /// After a failure readers see what is on disk.
    is_readable: AtomicBool,
    failed: Notify,
}

impl Health {
    /// The bus takes events from now on.
    pub fn ready(&self) {
        self.0.phase.store(1, Ordering::Release);
    }

    /// The bus takes no more events.
    pub fn draining(&self) {
        self.0.phase.store(2, Ordering::Release);
    }

    /// Where it stands.
    pub fn readiness(&self) -> Readiness {
        if let Some(failure) = self.0.failure.get() {
            return Readiness::Unhealthy { cause: failure.to_string() };
        }
        match self.0.phase.load(Ordering::Acquire) {
            0 => Readiness::Starting,
            1 => Readiness::Ready,
            _ => Readiness::Draining,
        }
    }

    /// Whether it drains or has failed: what is not begun is left to the next start.
    pub fn is_ending(&self) -> bool {
        matches!(self.readiness(), Readiness::Draining | Readiness::Unhealthy { .. })
    }

    /// The store's failure, if there was one.
    pub fn failure(&self) -> Option<StoreError> {
        self.0.failure.get().cloned()
    }

    /// Resolves when the store has failed.
    pub async fn store_failed(&self) {
        loop {
            let failed = self.0.failed.notified();
            if self.0.failure.get().is_some() {
                return;
            }
            failed.await;
        }
    }

    /// Whether the store has failed and can be read all the same, as it is on disk.
    pub fn is_read_only(&self) -> bool {
        self.0.failure.get().is_some() && self.0.is_readable.load(Ordering::Acquire)
    }

    pub(crate) fn retreated(&self) {
        self.0.is_readable.store(true, Ordering::Release);
    }

    pub(crate) fn failed(&self, failure: StoreError) {
        // The first failure is the cause; later ones follow from it.
        drop(self.0.failure.set(failure));
        self.0.failed.notify_waiters();
        self.0.failed.notify_one();
    }
}
