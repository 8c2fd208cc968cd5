//! Slot: where one thread puts what a task of another waits for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Postbox, Wakes};

/// Holds a value for one who waits, and until then what is `kept` for whoever brings it.
pub(crate) struct Slot<T, K> {
    state: Mutex<State<T, K>>,
    postbox: Option<Postbox>,
}

enum State<T, K> {
    Waiting { kept: K, waker: Option<Waker> },
    There(T),
    Over,
}

impl<T, K> Slot<T, K> {
    /// An empty slot; with a postbox, who waits is woken through that.
    pub(crate) fn new(postbox: Option<Postbox>, kept: K) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::Waiting { kept, waker: None }), postbox })
    }

    fn state(&self) -> MutexGuard<'_, State<T, K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the value down, unless it is over; who is to be woken for it is added to `wakes`. `then` gets what
    /// was kept before anybody sees the value; it must not wait for the slot.
    pub(crate) fn fill(&self, value: T, then: impl FnOnce(K, &T), wakes: &mut Wakes) {
        let mut state = self.state();
        let State::Waiting { kept, waker } = std::mem::replace(&mut *state, State::Over) else { return };
        then(kept, &value);
        *state = State::There(value);
        drop(state);
        wakes.add(waker, self.postbox.as_ref());
    }

    /// There will be no value, unless it is there already.
    pub(crate) fn let_go(&self) {
        let mut state = self.state();
        if !matches!(*state, State::Waiting { .. }) {
            return;
        }
        let State::Waiting { waker, .. } = std::mem::replace(&mut *state, State::Over) else { return };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Waits for a value; `None` when there will be none.
#[must_use = "what is waited for is in it"]
pub struct Taken<T, K>(Arc<Slot<T, K>>);

impl<T, K> std::fmt::Debug for Taken<T, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taken")
    }
}

impl<T, K> From<Arc<Slot<T, K>>> for Taken<T, K> {
    fn from(slot: Arc<Slot<T, K>>) -> Self {
        Self(slot)
    }
}

impl<T, K> Future for Taken<T, K> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.state();
        if let State::Waiting { waker, .. } = &mut *state {
            waker.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
            return Poll::Pending;
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::There(value) => Poll::Ready(Some(value)),
            State::Waiting { .. } | State::Over => Poll::Ready(None),
        }
    }
}
