//! Takers: tasks on the steps' threads that take one attempt after the other.
//!
//! A task for each attempt costs more than a step that waits for nothing: it is made, put into the pool's queue, and a thread
//! is woken for it. So a taker polls each attempt once; one that waits for something goes on in a task of its own.
//!
//! A step may keep its thread, and then holds up no other. There are as many takers as the pool has threads, which take what
//! stands behind it. What waits has its turn before its taker goes on: until then it stands where no other thread finds it.
//! And an end is not kept until its taker has done more, but put where the actor finds it, which is told of the first.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;

use super::attempt::{Attempt, Finished, Workplace};
use super::port::Input;
use crate::activity::Busy;
use crate::clock::Stopwatch;

/// How long a taker goes on before other tasks of its thread have their turn.
const TURN: Duration = Duration::from_millis(1);

/// Attempts of one subscription that wait for a thread, and those that have ended.
#[derive(Debug, Default)]
pub(crate) struct Takers {
    line: Mutex<Line>,
    ended: Mutex<Vec<Finished>>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Attempt>,
    takers: usize,
}

/// One of them. In hand as long as it is there.
struct Taker {
    at: Arc<Workplace>,
    has_left: bool,
    _in_hand: Busy,
}

impl Takers {
    /// Takes all that have ended and were not taken yet.
    pub(super) fn take_ended(&self, into: &mut Vec<Finished>) {
        std::mem::swap(into, &mut lock(&self.ended));
    }
}

impl Workplace {
    /// Lets attempts begin on the steps' threads.
    pub(super) fn begin(self: &Arc<Self>, attempts: impl Iterator<Item = Attempt>) {
        let pool = &self.reads.pool;
        let missing = {
            let mut line = lock(&self.takers.line);
            line.waiting.extend(attempts);
            let room = pool.metrics().num_workers().saturating_sub(line.takers);
            let missing = room.min(line.waiting.len());
            line.takers += missing;
            missing
        };
        for _ in 0..missing {
            let taker = Taker { at: Arc::clone(self), has_left: false, _in_hand: self.port.busy() };
            pool.spawn(taker.take_all());
        }
    }

    /// Puts an end where the actor finds it.
    pub(super) fn ended(&self, finished: Finished) {
        let is_first = {
            let mut ended = lock(&self.takers.ended);
            ended.push(finished);
            ended.len() == 1
        };
        if is_first {
            self.port.tell(Input::Ended);
        }
    }
}

impl Taker {
    async fn take_all(mut self) {
        let mut watch = Stopwatch::start();
        while let Some(attempt) = self.next() {
            if self.begin(attempt) {
                let_others_go_first().await;
            } else if watch.elapsed() >= TURN {
                tokio::task::yield_now().await;
                watch = Stopwatch::start();
            }
        }
    }

    /// The next one; where there is none the taker has left, and whoever brings one sees that.
    fn next(&mut self) -> Option<Attempt> {
        let mut line = lock(&self.at.takers.line);
        let next = line.waiting.pop_front();
        if next.is_none() {
            line.takers -= 1;
            self.has_left = true;
        }
        next
    }

    /// Polls it once; tells whether it waits for something, in a task of its own.
    fn begin(&self, attempt: Attempt) -> bool {
        let mut run = Box::pin(attempt.run());
        if let Some(finished) = (&mut run).now_or_never() {
            self.at.ended(finished);
            return false;
        }
        let (at, busy) = (Arc::clone(&self.at), self.at.port.busy());
        self.at.reads.pool.spawn(async move {
            at.ended(run.await);
            drop(busy);
        });
        true
    }
}

/// Puts the task that calls behind the others of its thread, and where other threads find it. tokio's own `yield_now` leaves
/// it to its thread until that has nothing else to do.
async fn let_others_go_first() {
    let mut is_behind = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_behind, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Drop for Taker {
    /// A taker is dropped in the middle when the pool ends. What stands in line then holds on to all that it needs, the line
    /// included, so the last one lets go of it.
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let mut line = lock(&self.at.takers.line);
        line.takers -= 1;
        let left_behind = if line.takers == 0 { std::mem::take(&mut line.waiting) } else { VecDeque::new() };
        drop(line);
        drop(left_behind);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
