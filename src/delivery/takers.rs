//! Takers: tasks on the steps' threads that take one attempt after the other.
//!
//! A task for each attempt costs more than a step that waits for nothing: it is made, put into the pool's queue, and a thread
//! is woken for it. So a taker polls each attempt once; one that waits for something goes on in a task of its own. There are
//! as many takers as the pool has threads, so that where a step keeps its thread, others take what stands behind it. For the
//! same reason an end is not kept until its taker has done more, but put where the actor finds it, which is told of the
//! first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
            self.begin(attempt);
            if watch.elapsed() >= TURN {
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

    fn begin(&self, attempt: Attempt) {
        let mut run = Box::pin(attempt.run());
        if let Some(finished) = (&mut run).now_or_never() {
            return self.at.ended(finished);
        }
        let (at, busy) = (Arc::clone(&self.at), self.at.port.busy());
        self.at.reads.pool.spawn(async move {
            at.ended(run.await);
            drop(busy);
        });
    }
}

impl Drop for Taker {
    /// A taker that was dropped in the middle is no taker any more.
    fn drop(&mut self) {
        if !self.has_left {
            lock(&self.at.takers.line).takers -= 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
