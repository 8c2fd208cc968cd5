//! What finds no room in the journal waits in memory, and is stored when there is some.

use super::*;
use crate::store::conformance::routed;
use crate::store::{SubscriptionId, SubscriptionSpec};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// Events that do not fit into what is left of a journal file.
const LATE: u64 = 20;

fn open(dir: &std::path::Path) -> SledStore {
    let settings = StoreSettings { path: dir.to_owned(), segment_bytes: 4_096, ..StoreSettings::default() };
    SledStore::open(settings, NOW).unwrap()
}

fn publish(id: &str) -> Vec<Change> {
    vec![Change::Publish(vec![routed(id, &[SubscriptionId(1)])])]
}

/// A store that needs a new journal file for its next group, on a disk without room for it.
fn without_room(dir: &std::path::Path) -> (SledStore, usize) {
    let mut store = open(dir);
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let spec = SubscriptionSpec { name, step, on, since: None, filter: crate::event::Filter::default() };
    store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    let mut stored = 0;
    while store.journal.room() > 1_000 {
        store.stage(NOW, &mut publish(&format!("e{stored}"))).unwrap();
        store.sync().unwrap();
        stored += 1;
    }
    store.journal.find_no_room();
    let mut many = (0..LATE).flat_map(|n| publish(&format!("late{n}"))).collect();
    store.stage(NOW, &mut many).unwrap();
    (store, stored)
}

#[test]
fn a_group_that_finds_no_room_stays_staged_and_the_next_sync_stores_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, stored) = without_room(dir.path());
    let before = store.reader().durable();

    assert!(store.sync().unwrap_err().is_disk_full());
    assert_eq!(store.reader().durable(), before, "nothing is said to be on disk");
    let after = store.sync().unwrap();

    assert_eq!(after, Commit(before.0 + 1));
    drop(store);
    let seqs = open(dir.path()).shared.view().unwrap().events_stored();
    assert_eq!(seqs, stored as u64 + LATE);
}

#[test]
fn a_last_checkpoint_that_finds_no_room_is_left_to_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let spec = SubscriptionSpec {
        name: "a".to_owned(),
        step: "s".to_owned(),
        on: vec![">".to_owned()],
        since: None,
        filter: crate::event::Filter::default(),
    };
    store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    store.stage(NOW, &mut publish("e1")).unwrap();
    store.base.now().unwrap().break_off_after(0);

    Box::new(store).close().unwrap();

    let store = open(dir.path());
    assert_eq!(store.shared.view().unwrap().events_stored(), 1);
    assert!(store.reader().event(Seq(1)).unwrap().is_some());
}

#[test]
fn the_next_journal_file_is_due_when_half_of_the_active_one_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut stored = 0;
    while store.journal.room() > 2_048 {
        assert!(!store.is_upkeep_due(), "{} bytes are left", store.journal.room());
        store.stage(NOW, &mut publish(&format!("e{stored}"))).unwrap();
        store.sync().unwrap();
        stored += 1;
    }

    assert!(store.is_upkeep_due());
    store.maintain(NOW).unwrap();

    assert!(store.journal.is_prepared() && !store.is_upkeep_due());
}

#[test]
fn a_checkpoint_that_finds_no_room_waits_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = without_room(dir.path());
    let before = store.reader().durable();

    store.checkpoint().unwrap();

    assert_eq!((store.reader().durable(), store.fold.is_some()), (before, false));
    store.checkpoint().unwrap();
    assert_eq!(store.frozen, Commit(before.0 + 1));
    Box::new(store).close().unwrap();
}

#[test]
fn a_snapshot_that_sled_has_not_finished_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.stage(NOW, &mut publish("e1")).unwrap();
    Box::new(store).close().unwrap();
    // As a kill while it opens, or a full disk, leaves it.
    let unfinished = dir.path().join("sled/snap.00000000087E8662.generating");
    std::fs::write(&unfinished, b"").unwrap();

    let store = open(dir.path());

    assert!(!dir.path().join("sled.damaged-1").exists() && !unfinished.exists());
    assert!(store.reader().event(Seq(1)).unwrap().is_some());
}
