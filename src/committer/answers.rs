//! Answers: how those who wait for a commit are told.
//!
//! A commit answers many requests at once. First every answer is put down, then those who wait are woken; and
//! those who have a [`Postbox`] on their thread are woken through it, so that one commit wakes a thread once,
//! however many of its requests were in it.
//!
//! ```text
//! committer:  tell, tell, tell ── ring ──> thread: the postbox's task ── wakes, wakes, wakes (no system call)
//! ```

use std::sync::Arc;

use super::slot::{Slot, Taken};
use super::{Answer, Postbox, Wakes};

/// Whom an answer goes to. When it is dropped untold, whoever waits learns that there will be none.
pub struct Reply(Kind);

enum Kind {
    Call(Box<dyn FnOnce(Answer) + Send>),
    Waiting(Untold),
}

/// Waits for the answer to a request; `None` when the bus has ended without one: the outcome is then unknown.
///
/// Dropping it takes nothing back.
pub type Answered<F> = Taken<Answer, F>;

impl Reply {
    /// Calls `told` once with the answer, on the committer's thread: it must not block.
    pub fn call(told: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self(Kind::Call(Box::new(told)))
    }

    /// A reply and what waits for it. `then` sees the answer first, on the committer's thread (it must not block),
    /// also when nobody waits any more. With a postbox the waiting task is woken through that.
    pub(super) fn awaited<F>(postbox: Option<Postbox>, then: F) -> (Self, Answered<F>)
    where
        F: FnOnce(&Answer) + Send + 'static,
    {
        let slot = Slot::new(postbox, then);
        let untold = Untold(Arc::<Slot<Answer, F>>::clone(&slot));
        (Self(Kind::Waiting(untold)), Taken::from(slot))
    }

    /// Puts the answer down; who is to be woken for it is added to `wakes`.
    pub(super) fn tell(self, answer: Answer, wakes: &mut Wakes) {
        match self.0 {
            Kind::Call(told) => told(answer),
            Kind::Waiting(untold) => untold.0.tell(answer, wakes),
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

/// The committer's end of a slot.
struct Untold(Arc<dyn Told>);

impl Drop for Untold {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

trait Told: Send + Sync {
    fn tell(&self, answer: Answer, wakes: &mut Wakes);

    fn let_go(&self);
}

impl<F: FnOnce(&Answer) + Send> Told for Slot<Answer, F> {
    fn tell(&self, answer: Answer, wakes: &mut Wakes) {
        self.fill(answer, |then, answer| then(answer), wakes);
    }

    fn let_go(&self) {
        Slot::let_go(self);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::committer::Receipts;
    use crate::store::{Receipt, StoreError};

    fn answer() -> Receipts {
        Receipt::Stale.into()
    }

    #[tokio::test]
    async fn who_waits_gets_the_answer_after_then_has_seen_it() {
        let seen = Arc::new(AtomicUsize::new(0));
        let (reply, answered) = Reply::awaited(None, {
            let seen = Arc::clone(&seen);
            move |answer: &Answer| {
                seen.fetch_add(answer.as_ref().map_or(0, |receipts| receipts.len()), Ordering::SeqCst);
            }
        });
        let waiting = tokio::spawn(answered);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());

        let mut wakes = Wakes::default();
        reply.tell(Ok(answer()), &mut wakes);
        wakes.ring();

        assert!(
            matches!(waiting.await.unwrap(), Some(Ok(receipts)) if matches!(*receipts, [Receipt::Stale]))
        );
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn who_waits_for_a_reply_that_is_dropped_is_told_that_there_is_none() {
        let (reply, answered) = Reply::awaited(None, |_: &Answer| panic!("there is no answer"));
        let waiting = tokio::spawn(answered);
        tokio::task::yield_now().await;

        drop(reply);

        assert!(waiting.await.unwrap().is_none());
    }

    #[test]
    fn then_is_called_also_when_nobody_waits_any_more() {
        let seen = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&seen);
        let (reply, answered) = Reply::awaited(None, move |_: &Answer| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        drop(answered);

        reply.tell(Err(StoreError::Poisoned { cause: "test".to_owned() }), &mut Wakes::default());

        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }
}
