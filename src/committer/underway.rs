//! Underway: since when the committer has been at one thing, for whoever watches that it moves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Stopwatch;

/// What the committer has in hand. Cheap to clone; clones tell the same.
#[derive(Debug, Clone, Default)]
pub struct Underway(Arc<Mutex<Option<Stopwatch>>>);

impl Underway {
    /// How long the group or the piece of upkeep has taken that is under way; `None` when nothing is.
    ///
    /// Real time, whatever clock the bus goes by: it is the disk that is watched.
    pub fn elapsed(&self) -> Option<Duration> {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    pub(super) fn begin(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Stopwatch::start());
    }

    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
