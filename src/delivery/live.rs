//! Live: a value that many read all the time and that is now and then replaced as a whole.
//!
//! The lock is held for the clone of an `Arc`, or for a short look, so a reader never waits for work, and what a
//! reader has taken stays as it is for as long as he keeps it. That is cheap enough for every event, and
//! needs no crate of its own.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that can be replaced while others read it. Cheap to clone; clones share the value.
#[derive(Debug)]
pub(crate) struct Live<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Live<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The value as it is now.
    pub(crate) fn now(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// A short look at the value as it is now, which takes no other look at it: cheaper than [`Live::now`] where many look
    /// at once, since the count of who has it would go from processor to processor.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another value in its place. Who has taken the old one keeps it.
    pub(crate) fn switch(&self, value: T) {
        let value = Arc::new(value);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_taken_a_value_keeps_it_over_a_switch() {
        let live = Live::new(1);
        let (taken, other) = (live.now(), live.clone());

        other.switch(2);

        assert_eq!((*taken, *live.now(), live.look(|now| now + 1)), (1, 2, 3));
    }
}
