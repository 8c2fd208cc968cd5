//! Front: what a thread with many callers shares, such as a worker of the HTTP door.
//!
//! Reads may block, so they run on threads of their own. One read at a time there and back is two wake-ups of threads,
//! more than the read itself. So what is asked in one turn of the caller's event loop goes over together, and the
//! caller's thread is woken once for all of it; as it is for the answers of a commit.
//!
//! ```text
//! callers ──> desk ──one job──> pool: read, read, read ──> postbox ──> callers
//! ```

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use futures_util::task::AtomicWaker;

use super::handle::Inner;
use crate::committer::{Postbox, Slot, Taken, Wakes};

/// Most reads that one job holds: they run one after the other, and one that waits for the disk holds up those behind.
const READS_MAX: usize = 8;

/// One thread's callers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Front {
    postbox: Postbox,
    desk: Arc<Desk>,
}

#[derive(Default)]
struct Desk {
    asked: Mutex<Asked>,
    bell: AtomicWaker,
}

#[derive(Default)]
struct Asked {
    reads: Vec<Read>,
    /// Nobody takes anything over any more.
    is_closed: bool,
}

type Read = Box<dyn FnOnce(&Inner, &mut Wakes) + Send>;

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl Front {
    /// Where answers of commits wake the callers.
    pub(super) fn postbox(&self) -> Postbox {
        self.postbox.clone()
    }

    /// Serves the callers for as long as it is polled: spawn it on their thread. When it ends, whoever waits
    /// is woken and told, and later ones find their way without it.
    pub(super) fn served(&self, inner: Arc<Inner>) -> impl Future<Output = ()> + use<> {
        let emptied = self.postbox.emptied();
        let closing = Closing(Arc::clone(&self.desk));
        let reads = poll_fn(move |cx| {
            // Before looking: a stroke in between must not be missed.
            closing.0.bell.register(cx.waker());
            let mut reads = std::mem::take(&mut closing.0.asked().reads);
            while !reads.is_empty() {
                let later = reads.split_off(reads.len().min(READS_MAX));
                let (inner, now) = (Arc::clone(&inner), std::mem::replace(&mut reads, later));
                drop(inner.pool.clone().spawn_blocking(move || read_all(&inner, now)));
            }
            Poll::<()>::Pending
        });
        async move {
            let ((), ()) = futures_util::future::join(emptied, reads).await;
        }
    }

    /// Reads on a thread that may block. `None` when there will be no answer; `Err` gives back what the desk does
    /// not take any more.
    pub(super) fn read<T, F>(&self, what: F) -> Result<Taken<T, ()>, F>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> T + Send + 'static,
    {
        let mut asked = self.desk.asked();
        if asked.is_closed {
            return Err(what);
        }
        let slot = Slot::new(Some(self.postbox()), ());
        let promise = Promise(Arc::clone(&slot));
        asked.reads.push(Box::new(move |inner, wakes| {
            let answer = what(inner);
            promise.0.fill(answer, |(), _| (), wakes);
        }));
        let is_first = asked.reads.len() == 1;
        drop(asked);
        if is_first {
            self.desk.bell.wake();
        }
        Ok(slot.into())
    }
}

fn read_all(inner: &Inner, reads: Vec<Read>) {
    let mut wakes = Wakes::default();
    for read in reads {
        // The panic hook has shown it; who waits for this one is told that there is no answer, by its promise.
        let _has_panicked = catch_unwind(AssertUnwindSafe(|| read(inner, &mut wakes))).is_err();
    }
    wakes.ring();
}

impl Desk {
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer that is owed; dropped without one, whoever waits is told.
struct Promise<T>(Arc<Slot<T, ()>>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

/// Closes the desk when it is dropped.
struct Closing(Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        let mut asked = self.0.asked();
        asked.is_closed = true;
        let left = std::mem::take(&mut asked.reads);
        // Their promises wake those who wait.
        drop(asked);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;
    use crate::bus::{Bus, PublishError, QueryError};
    use crate::clock::Clock;
    use crate::config;
    use crate::event::{Draft, EventName, Timestamp};
    use crate::runtime::{Running, start_on};
    use crate::step::Registry;
    use crate::store::{MemoryStore, StoreSettings};

    const GUARD: Duration = Duration::from_mins(1);

    fn running() -> Running {
        let clock = Clock::manual(Timestamp(1_774_944_000_000));
        let store = MemoryStore::new(&StoreSettings::default()).unwrap();
        let settings = config::load_text("").unwrap().settings;
        start_on(Box::new(store), &settings, Registry::new(), &clock).unwrap()
    }

    fn draft(id: &str) -> Draft {
        let name = EventName::new("order.placed").unwrap();
        Draft { id: Some(id.to_owned()), ..Draft::json(name, "{}".into()) }
    }

    /// Runs `calls` on a thread of its own event loop, as a worker of the door does.
    fn on_one_thread<T>(calls: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async { tokio::time::timeout(GUARD, calls).await.unwrap() })
    }

    #[test]
    fn many_callers_of_one_thread_publish_and_read() {
        let running = running();
        let (bus, served) = running.bus().for_many();

        on_one_thread(async {
            spawn_local(served);
            let callers = (0..100).map(|n| {
                let (bus, id) = (bus.clone(), format!("o{n}"));
                spawn_local(async move {
                    let accepted = bus.publish_one(draft(&id)).await.unwrap();
                    let view = bus.status(Draft::PLAIN_SOURCE, &id).await.unwrap();
                    assert_eq!((view.id, view.flow), (accepted.id.clone(), accepted.flow.clone()));
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.unwrap();
            }
            let missing = bus.status(Draft::PLAIN_SOURCE, "never").await;
            assert!(matches!(missing, Err(QueryError::NotFound { .. })), "{missing:?}");
        });
    }

    #[test]
    fn reads_of_one_turn_go_over_together() {
        let running = running();
        let front = Front::default();
        let threads = Arc::new(Mutex::new(Vec::new()));

        on_one_thread(async {
            spawn_local(front.served(Arc::clone(&running.bus().0)));
            let asked: Vec<_> = (0..READS_MAX)
                .map(|_| {
                    let threads = Arc::clone(&threads);
                    let read = move |_: &Inner| threads.lock().unwrap().push(std::thread::current().id());
                    front.read(read).ok().unwrap()
                })
                .collect();
            for answer in asked {
                answer.await.unwrap();
            }
        });

        let threads = threads.lock().unwrap();
        assert_eq!(threads.len(), READS_MAX);
        assert!(threads.iter().all(|thread| *thread == threads[0] && *thread != std::thread::current().id()));
    }

    #[test]
    fn a_read_that_panics_takes_no_other_with_it() {
        let running = running();
        let front = Front::default();

        let answers = on_one_thread(async {
            spawn_local(front.served(Arc::clone(&running.bus().0)));
            let broken = front.read(|_: &Inner| -> usize { panic!("on purpose") }).ok().unwrap();
            let sound = front.read(|_: &Inner| 7).ok().unwrap();
            (broken.await, sound.await)
        });

        assert_eq!(answers, (None, Some(7)));
    }

    #[test]
    fn without_its_thread_callers_are_served_as_others_are() {
        let running = running();
        let (bus, served) = running.bus().for_many();
        let front = bus.1.clone().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        let left = front.read(move |_: &Inner| counted.fetch_add(1, Ordering::SeqCst)).ok().unwrap();

        drop(served);

        on_one_thread(async {
            assert_eq!(left.await, None, "nobody took it over, and who waits is told");
            let accepted: Result<_, PublishError> = bus.publish_one(draft("o1")).await;
            assert!(!accepted.unwrap().replayed);
            assert!(Bus::status(&bus, Draft::PLAIN_SOURCE, "o1").await.is_ok());
        });
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }
}
