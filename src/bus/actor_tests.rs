//! What the bus actor promises of groups, of upkeep, and of its end.

use std::sync::{Arc, Mutex, mpsc};

use super::*;
use crate::activity::Activity;
use crate::clock::Clock;
use crate::committer::{CommitterSettings, Listener, Submitter};
use crate::event::Timestamp;
use crate::store::{Change, Commit, Features, MemoryStore, Reader, Receipt, Shelf, Store, StoreSettings};

/// What became of the store: how many changes each group had, and that it was closed.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    Staged(usize),
    Maintained,
    Closed,
}

/// The engine in memory, that tells what is done with it.
struct Told {
    engine: MemoryStore,
    deeds: mpsc::Sender<Deed>,
    panics: bool,
    /// Slices of upkeep that have more behind them.
    more: usize,
}

impl Store for Told {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        assert!(!self.panics, "as it was asked to");
        self.deeds.send(Deed::Staged(changes.len())).unwrap();
        self.engine.stage(now, changes)
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        self.engine.sync()
    }

    fn is_upkeep_due(&self) -> bool {
        false
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.deeds.send(Deed::Maintained).unwrap();
        // Longer than a turn, so that each slice is a turn.
        let watch = crate::clock::Stopwatch::start();
        while watch.elapsed() < Duration::from_millis(11) {
            std::hint::spin_loop();
        }
        self.more = self.more.saturating_sub(1);
        Ok(self.engine.maintain(now)? || self.more > 0)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.engine.reader()
    }

    fn features(&self) -> Features {
        self.engine.features()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.deeds.send(Deed::Closed).unwrap();
        Box::new(self.engine).close()
    }
}

/// Counts what it is told.
#[derive(Clone, Default)]
struct Committed(Arc<Mutex<Vec<usize>>>);

impl Listener for Committed {
    fn staged(&mut self, _: &[Receipt]) {}

    fn durable(&mut self, _: &[Receipt]) {}

    fn maintained(&mut self) {}

    fn committed(&mut self, changes: usize, _: Duration) {
        self.0.lock().unwrap().push(changes);
    }

    fn retreated(&mut self) {}

    fn failed(&mut self, _: &StoreError) {}
}

/// A bus actor at work.
struct Started {
    thread: BusThread,
    deeds: mpsc::Receiver<Deed>,
    listener: Committed,
    health: Health,
    /// It lives as long as somebody may hand in.
    _submitter: Submitter,
}

/// A bus actor with groups of two changes, whose upkeep has a turn after `maintain_every`, and with `waiting` changes handed
/// in before it starts.
fn start(
    store: impl FnOnce(mpsc::Sender<Deed>) -> Told,
    waiting: usize,
    maintain_every: Duration,
) -> Started {
    let (submitter, requests) = Submitter::new(Activity::default());
    for n in 0..waiting {
        let name = format!("j{n}");
        let change = Change::Keep { shelf: Shelf::Job, name, value: Some(bytes::Bytes::new()) };
        assert!(submitter.submit(change, None));
    }
    let (sender, deeds) = mpsc::channel();
    let (ending, listener, health) = (CancellationToken::new(), Committed::default(), Health::default());
    let settings =
        CommitterSettings { maintain_every: Duration::from_hours(1), ..CommitterSettings::default() };
    let store = Box::new(store(sender));
    let committer =
        Committer::new(store, Clock::wall(), Box::new(listener.clone()), ending.clone(), settings);
    let waiting = submitter.waiting().clone();
    let thread = BusThread::start(BusParts {
        committer,
        requests,
        waiting,
        group_changes: 2,
        maintain_every,
        ending,
        health: health.clone(),
    })
    .unwrap();
    Started { thread, deeds, listener, health, _submitter: submitter }
}

fn told(deeds: mpsc::Sender<Deed>) -> Told {
    let engine = MemoryStore::new(&StoreSettings::default()).unwrap();
    Told { engine, deeds, panics: false, more: 0 }
}

#[test]
fn what_waits_is_written_in_groups_up_to_their_limit_and_the_end_closes_the_store() {
    let Started { thread, deeds, listener, health, _submitter } = start(told, 5, Duration::from_hours(1));

    let groups: Vec<Deed> = deeds.iter().take(3).collect();
    thread.end().unwrap();

    assert_eq!(groups, [Deed::Staged(2), Deed::Staged(2), Deed::Staged(1)]);
    assert_eq!(deeds.iter().collect::<Vec<_>>(), [Deed::Closed]);
    assert_eq!(*listener.0.lock().unwrap(), [2, 2, 1]);
    assert!(health.failure().is_none());
}

#[test]
fn upkeep_that_has_more_to_do_goes_on_though_nobody_asks_for_anything() {
    let busy = |deeds| Told { more: 3, ..told(deeds) };
    // Long enough that the second and third do not come because it is time.
    let Started { thread, deeds, _submitter, .. } = start(busy, 0, Duration::from_millis(500));

    let first: Vec<Deed> = deeds.iter().take(3).collect();
    thread.end().unwrap();

    assert_eq!(first, [Deed::Maintained, Deed::Maintained, Deed::Maintained]);
    assert_eq!(deeds.iter().collect::<Vec<_>>(), [Deed::Closed]);
}

#[tokio::test]
async fn a_store_that_panics_ends_the_bus_which_says_so_and_does_not_close_it() {
    let Started { thread, deeds, listener, health, _submitter } =
        start(|deeds| Told { panics: true, ..told(deeds) }, 1, Duration::from_hours(1));

    health.store_failed().await;
    let ended = thread.end().unwrap_err();

    assert!(ended.to_string().contains("the bus actor panicked"), "{ended}");
    assert_eq!(health.failure().map(|failure| failure.to_string()), Some(ended.to_string()));
    assert!(deeds.iter().next().is_none() && listener.0.lock().unwrap().is_empty());
}
