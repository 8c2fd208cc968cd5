//! What the committer promises beside its answers: it looks after the store in time, and says when it rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::activity::Activity;
use crate::committer::Request;
use crate::event::Timestamp;
use crate::store::{Features, MemoryStore, Reader, Shelf, StoreSettings};

/// What is seen of the store.
#[derive(Debug, Default)]
struct Seen {
    is_due: AtomicBool,
    maintained: AtomicU64,
    was_underway: AtomicBool,
    /// How often a sync straight behind upkeep finds the disk full.
    full: AtomicU64,
    is_behind_upkeep: AtomicBool,
    /// How often upkeep says that it has more to do.
    more: AtomicU64,
}

fn counted_down(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok()
}

/// The engine in memory, with upkeep that is due when it is told so.
struct Watched(MemoryStore, Arc<Seen>);

impl Store for Watched {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.1.is_behind_upkeep.store(false, Ordering::Release);
        self.0.stage(now, changes)
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        if self.1.is_behind_upkeep.load(Ordering::Acquire) && counted_down(&self.1.full) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(StoreError::io("write", "journal", &full));
        }
        self.0.sync()
    }

    fn is_upkeep_due(&self) -> bool {
        self.1.is_due.load(Ordering::Acquire)
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.1.maintained.fetch_add(1, Ordering::AcqRel);
        self.1.is_behind_upkeep.store(true, Ordering::Release);
        Ok(self.0.maintain(now)? || counted_down(&self.1.more))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.0.reader()
    }

    fn features(&self) -> Features {
        self.0.features()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Box::new(self.0).close()
    }
}

struct Watcher(Underway, Arc<Seen>);

impl Listener for Watcher {
    fn staged(&mut self, _: &[Receipt]) {}

    fn durable(&mut self, _: &[Receipt]) {
        self.1.was_underway.store(self.0.elapsed().is_some(), Ordering::Release);
    }

    fn maintained(&mut self) {}

    fn committed(&mut self, _: usize, _: Duration) {}

    fn retreated(&mut self) {}

    fn failed(&mut self, _: &StoreError) {}
}

/// A committer whose next look at upkeep is far away.
fn committer(seen: &Arc<Seen>) -> Committer {
    let settings =
        CommitterSettings { maintain_every: Duration::from_hours(1), ..CommitterSettings::default() };
    let store = Watched(MemoryStore::new(&StoreSettings::default()).unwrap(), Arc::clone(seen));
    let listener = Box::new(Watcher(settings.underway.clone(), Arc::clone(seen)));
    Committer::new(Box::new(store), Clock::wall(), listener, CancellationToken::new(), settings)
}

fn group(name: &str) -> Group {
    let change = Change::Keep { shelf: Shelf::Job, name: name.to_owned(), value: Some(Bytes::new()) };
    Group {
        requests: vec![Request { changes: change.into(), reply: None, busy: Activity::default().begin() }],
    }
}

#[test]
fn upkeep_that_is_due_comes_after_the_group_and_not_when_it_is_looked_at_next() {
    let (due, other) = (Arc::new(Seen::default()), Arc::default());
    due.is_due.store(true, Ordering::Release);

    for seen in [&due, &other] {
        let mut committer = committer(seen);
        for name in ["j0", "j1", "j2"] {
            committer.commit(group(name)).unwrap();
            committer.look_after(false).unwrap();
        }
    }

    assert_eq!(due.maintained.load(Ordering::Acquire), 3);
    assert_eq!(other.maintained.load(Ordering::Acquire), 0);
}

/// Stages something, as upkeep does.
fn stage(committer: &mut Committer) {
    let change = Change::Keep { shelf: Shelf::Job, name: "j".to_owned(), value: Some(Bytes::new()) };
    committer.store.stage(Timestamp(1), &mut vec![change]).unwrap();
}

#[test]
fn what_upkeep_has_staged_is_synced_with_the_group_that_waits_or_else_at_once() {
    let mut committer = committer(&Arc::default());
    let durable = committer.durable();
    stage(&mut committer);

    committer.maintain(true).unwrap();
    assert_eq!(*durable.0.borrow(), Commit(0));
    committer.maintain(false).unwrap();

    assert_eq!(*durable.0.borrow(), Commit(1));
}

#[test]
fn upkeep_that_finds_no_room_is_synced_the_next_time_though_there_is_nothing_else_to_do() {
    let seen = Arc::new(Seen { full: AtomicU64::new(1), more: AtomicU64::new(u64::MAX), ..Seen::default() });
    let mut committer = committer(&seen);
    let durable = committer.durable();
    stage(&mut committer);

    let more = committer.maintain(false).unwrap();
    assert_eq!((more, *durable.0.borrow()), (false, Commit(0)), "more of it would find no room either");
    committer.maintain(false).unwrap();

    assert_eq!(*durable.0.borrow(), Commit(1));
}

#[test]
fn a_turn_of_upkeep_is_as_many_slices_as_its_time_allows() {
    let few = Arc::new(Seen { more: AtomicU64::new(3), ..Seen::default() });
    let endless = Arc::new(Seen { more: AtomicU64::new(u64::MAX), ..Seen::default() });

    let turn =
        |seen: &Arc<Seen>| Committer { taken: Duration::from_hours(1), ..committer(seen) }.maintain(false);

    assert_eq!((turn(&few).unwrap(), few.maintained.load(Ordering::Acquire)), (false, 4));
    assert!(turn(&endless).unwrap(), "it ends, and says that there is more");
}

#[test]
fn upkeep_with_more_to_do_goes_on_when_it_is_looked_at_next() {
    let seen = Arc::new(Seen { more: AtomicU64::new(u64::MAX), ..Seen::default() });
    let mut committer = committer(&seen);
    assert!(!committer.look_after(false).unwrap(), "nothing is due");
    assert!(committer.maintain(false).unwrap());
    let before = seen.maintained.load(Ordering::Acquire);

    assert!(committer.look_after(false).unwrap());

    assert!(seen.maintained.load(Ordering::Acquire) > before);
}

#[test]
fn a_group_is_under_way_until_it_is_answered_and_nothing_when_the_committer_rests() {
    let seen = Arc::default();

    let mut committer = committer(&seen);
    committer.commit(group("j")).unwrap();

    assert!(seen.was_underway.load(Ordering::Acquire));
    assert_eq!(committer.settings.underway.elapsed(), None);
}
