//! Inbox: the receiving end of a port. It outlives the actor that reads it, so that what is told while one
//! actor follows another is not lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::Input;
use crate::activity::{Busy, Incoming};

/// What was told through a port and is not taken yet. One actor at a time takes from it.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Arc<Mutex<Incoming<(Input, Busy)>>>);

impl Inbox {
    pub(super) fn new(incoming: Incoming<(Input, Busy)>) -> Self {
        Self(Arc::new(Mutex::new(incoming)))
    }

    /// The inputs as a stream, up to `most` of those that are there at a time.
    pub(super) fn chunks(self, most: usize) -> impl futures_util::Stream<Item = Vec<(Input, Busy)>> {
        futures_util::stream::poll_fn(move |cx| self.poll(cx, most))
    }

    fn poll(&self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Vec<(Input, Busy)>>> {
        let mut taken = Vec::new();
        let mut incoming = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        incoming.poll_many(cx, &mut taken, most).map(|count| (count > 0).then_some(taken))
    }

    /// Takes nothing any more: there will be no actor. What was told counts as looked at.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}
