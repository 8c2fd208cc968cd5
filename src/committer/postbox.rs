//! Postbox: wakes those who wait on one thread with one stroke.
//!
//! Waking a task of another thread's event loop costs a system call each time. A thread that waits for many answers
//! keeps a postbox: wakers are put into it, it is rung once, and its own task wakes them where that costs a push
//! onto a list.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;

/// Where the wakers of one thread are put. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Postbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    letters: Mutex<Letters>,
    bell: AtomicWaker,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: Vec<Waker>,
    /// Nobody empties it any more.
    is_closed: bool,
}

impl Postbox {
    /// Empties the box whenever it is rung, for as long as it is polled: spawn it on the thread whose tasks are
    /// to be woken.
    ///
    /// # Guarantees
    /// When it ends, with its thread or before, whoever is still in the box is woken, and from then on
    /// everybody is woken directly: nobody is left to wait.
    pub fn emptied(&self) -> impl Future<Output = ()> + use<> {
        let closing = Closing(self.clone());
        let mut taken = Vec::new();
        poll_fn(move |cx| {
            // Before looking: a stroke in between must not be missed.
            closing.0.0.bell.register(cx.waker());
            std::mem::swap(&mut closing.0.letters().waiting, &mut taken);
            taken.drain(..).for_each(Waker::wake);
            Poll::Pending
        })
    }

    /// Puts a waker into the box. `Ok(true)` asks the caller to ring it, since nobody has yet; a box that is
    /// closed gives the waker back.
    fn put(&self, waker: Waker) -> Result<bool, Waker> {
        let mut letters = self.letters();
        if letters.is_closed {
            return Err(waker);
        }
        letters.waiting.push(waker);
        Ok(letters.waiting.len() == 1)
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.0.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the box when it is dropped.
struct Closing(Postbox);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut letters = self.0.letters();
        letters.is_closed = true;
        let left = std::mem::take(&mut letters.waiting);
        drop(letters);
        left.into_iter().for_each(Waker::wake);
    }
}

/// Those who are to be woken once all answers of a commit are put down. Kept from one commit to the next.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    direct: Vec<Waker>,
    boxes: Vec<Postbox>,
}

impl Wakes {
    /// Notes whom to wake.
    pub(crate) fn add(&mut self, waker: Option<Waker>, postbox: Option<&Postbox>) {
        let Some(waker) = waker else { return };
        let Some(postbox) = postbox else { return self.direct.push(waker) };
        match postbox.put(waker) {
            Ok(true) => self.boxes.push(postbox.clone()),
            Ok(false) => {}
            Err(waker) => self.direct.push(waker),
        }
    }

    /// Wakes all of them.
    pub(crate) fn ring(&mut self) {
        self.boxes.drain(..).for_each(|postbox| postbox.0.bell.wake());
        self.direct.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Wakes {
    /// A panic between the answers and the stroke leaves nobody waiting.
    fn drop(&mut self) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn many_answers_ring_a_box_once_and_its_task_wakes_each() {
        let (postbox, postman, waiting) =
            (Postbox::default(), Arc::<Woken>::default(), Arc::<Woken>::default());
        let mut emptied = Box::pin(postbox.emptied());
        let waker = Waker::from(Arc::clone(&postman));
        let mut poll = || emptied.as_mut().poll(&mut std::task::Context::from_waker(&waker));
        assert!(poll().is_pending());

        let mut wakes = Wakes::default();
        for _ in 0..3 {
            wakes.add(Some(Arc::clone(&waiting).into()), Some(&postbox));
        }
        assert_eq!(postman.count(), 0, "not before all answers are put down");
        wakes.ring();

        assert_eq!((postman.count(), waiting.count()), (1, 0));
        assert!(poll().is_pending());
        assert_eq!((postman.count(), waiting.count()), (1, 3));
    }

    #[test]
    fn nobody_is_left_in_a_box_whose_thread_has_ended() {
        let (postbox, waiting) = (Postbox::default(), Arc::<Woken>::default());
        let emptied = postbox.emptied();
        let mut wakes = Wakes::default();
        wakes.add(Some(Arc::clone(&waiting).into()), Some(&postbox));
        wakes.ring();

        drop(emptied);
        assert_eq!(waiting.count(), 1, "what was in it");

        wakes.add(Some(Arc::clone(&waiting).into()), Some(&postbox));
        wakes.ring();
        assert_eq!(waiting.count(), 2, "what comes later");
    }
}
