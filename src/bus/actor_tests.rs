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
    /// Slices of upkeep that are due.
    due: usize,
    /// What its closing waits for.
    release: Option<mpsc::Receiver<()>>,
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
        self.due > 0
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.deeds.send(Deed::Maintained).unwrap();
        // Longer than a turn, so that each slice is a turn.
        let watch = crate::clock::Stopwatch::start();
        while watch.elapsed() < Duration::from_millis(11) {
            std::hint::spin_loop();
        }
        self.due = self.due.saturating_sub(1);
        Ok(self.engine.maintain(now)? || self.due > 0)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.engine.reader()
    }

    fn features(&self) -> Features {
        self.engine.features()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.deeds.send(Deed::Closed).unwrap();
        self.release.iter().for_each(|release| release.recv().unwrap());
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
    submitter: Submitter,
}

impl Started {
    /// What is done next.
    fn deeds(&self, count: usize) -> Vec<Deed> {
        (0..count).map(|_| self.deeds.recv_timeout(Duration::from_secs(30)).unwrap()).collect()
    }
}

fn change() -> Change {
    Change::Keep { shelf: Shelf::Job, name: "j".to_owned(), value: Some(bytes::Bytes::new()) }
}

/// A bus actor with groups of three changes that looks after its store when that is due only, and with requests of so many
/// changes handed in before it starts.
fn start(store: impl FnOnce(Told) -> Told, requests: &[usize]) -> Started {
    let (submitter, incoming) = Submitter::new(Activity::default());
    for changes in requests {
        assert!(submitter.submit(vec![change(); *changes], None));
    }
    let (sender, deeds) = mpsc::channel();
    let engine = MemoryStore::new(&StoreSettings::default()).unwrap();
    let told = Told { engine, deeds: sender, panics: false, due: 0, release: None };
    let (ending, listener, health) = (CancellationToken::new(), Committed::default(), Health::default());
    let settings =
        CommitterSettings { maintain_every: Duration::from_hours(1), ..CommitterSettings::default() };
    let maintain_every = settings.maintain_every;
    let (store, telling) = (Box::new(store(told)), Box::new(listener.clone()));
    let thread = BusThread::start(BusParts {
        committer: Committer::new(store, Clock::wall(), telling, ending.clone(), settings),
        requests: incoming,
        waiting: submitter.waiting().clone(),
        group_changes: 3,
        maintain_every,
        ending,
        health: health.clone(),
    })
    .unwrap();
    Started { thread, deeds, listener, health, submitter }
}

#[test]
fn what_waits_is_written_in_groups_up_to_their_limit_and_the_end_closes_the_store() {
    // One that is larger than the limit is a group of its own.
    let started = start(|told| told, &[1, 2, 2, 4, 1]);

    let groups = started.deeds(4);
    started.thread.end().unwrap();

    assert_eq!(groups, [3, 2, 4, 1].map(Deed::Staged));
    assert_eq!(started.deeds.iter().collect::<Vec<_>>(), [Deed::Closed]);
    assert_eq!(*started.listener.0.lock().unwrap(), [3, 2, 4, 1]);
    assert!(started.health.failure().is_none());
    assert_eq!(started.submitter.waiting().count(), 0);
}

#[test]
fn upkeep_comes_behind_a_group_and_goes_on_though_nobody_asks_for_anything() {
    let started = start(|told| Told { due: 3, ..told }, &[1]);

    let deeds = started.deeds(4);
    started.thread.end().unwrap();

    assert_eq!(deeds, [Deed::Staged(1), Deed::Maintained, Deed::Maintained, Deed::Maintained]);
    assert_eq!(started.deeds.iter().collect::<Vec<_>>(), [Deed::Closed]);
}

#[tokio::test]
async fn who_hands_in_while_the_store_is_being_closed_is_told_at_once_that_it_is_too_late() {
    let (release, released) = mpsc::channel();
    let started = start(|told| Told { release: Some(released), ..told }, &[]);
    let Started { thread, deeds, submitter, .. } = started;
    let ended = std::thread::spawn(move || thread.end());
    assert_eq!(deeds.recv_timeout(Duration::from_secs(30)), Ok(Deed::Closed));

    let answer = tokio::time::timeout(Duration::from_secs(30), submitter.commit(change())).await;

    assert!(matches!(answer, Ok(None)), "{answer:?}");
    release.send(()).unwrap();
    ended.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_store_that_panics_ends_the_bus_which_says_so_and_does_not_close_it() {
    let started = start(|told| Told { panics: true, ..told }, &[1]);

    started.health.store_failed().await;
    let ended = started.thread.end().unwrap_err();

    assert!(ended.to_string().contains("the bus actor panicked"), "{ended}");
    assert_eq!(started.health.failure().map(|failure| failure.to_string()), Some(ended.to_string()));
    assert!(started.deeds.iter().next().is_none() && started.listener.0.lock().unwrap().is_empty());
}
