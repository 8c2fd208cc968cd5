//! What a start promises that finds a checkpoint half done in sled: rows that sled has lost meanwhile are told.

use std::path::Path;
use std::time::Duration;

use super::base::SledBase;
use super::*;
use crate::store::conformance::{dead, routed, settle, snapshot};
use crate::store::{Outcome, Progress, SubscriptionId, SubscriptionSpec, verify_folder};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const A: SubscriptionId = SubscriptionId(1);

fn settings(path: &Path) -> StoreSettings {
    let (path, status_ttl) = (path.to_owned(), Duration::from_hours(1));
    // Nothing is folded but by hand.
    let never = Duration::from_hours(1_000_000);
    let (checkpoint_bytes, checkpoint_interval) = (1 << 30, never);
    StoreSettings {
        path,
        status_ttl,
        checkpoint_bytes,
        checkpoint_interval,
        cache_bytes: 8 << 20,
        ..StoreSettings::default()
    }
}

fn publish(store: &mut SledStore, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("e{n}"), &[A])])]).unwrap();
        let outcome = if n % 7 == 0 { dead(false) } else { Outcome::Done };
        store.stage(NOW, &mut vec![Change::Settle(settle(A, n, Seq(n), outcome))]).unwrap();
    }
    store.sync().unwrap();
}

/// A folder whose second checkpoint broke off after some pages. The first one has left 300 events.
fn broken_off(path: &Path, pages: usize) -> Vec<String> {
    let mut store = SledStore::open(settings(path), NOW).unwrap();
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let filter = crate::event::Filter::default();
    let spec = SubscriptionSpec { name, step, on, since: None, filter };
    store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    publish(&mut store, 1..=300);
    store.checkpoint().unwrap();
    store.end_fold(NOW, true).unwrap();
    publish(&mut store, 301..=400);
    let told = told_by(&store);
    store.base.now().unwrap().break_off_after(pages);
    store.checkpoint().unwrap();
    store.end_fold(NOW, true).unwrap();
    assert!(store.halted.is_some());
    store.base.now().unwrap().break_off_after(usize::MAX);
    store.base.now().unwrap().sync().unwrap();
    told
}

fn told_by(store: &SledStore) -> Vec<String> {
    snapshot(&*store.reader(), &std::collections::BTreeSet::new())
}

fn base(path: &Path) -> SledBase {
    let lock = recovery::lock(path).unwrap();
    SledBase::open(&path.join("sled"), 8 << 20, lock).unwrap()
}

/// Takes the row of an event out of sled that the second checkpoint does not touch.
fn lose_a_row(base: &SledBase) {
    let key = [&[0x20], 3_u64.to_be_bytes().as_slice()].concat();
    let mut counts = base.count().unwrap();
    let before = counts.clone();
    base.fold([(key.as_slice(), None)], &mut counts, &|| Ok(())).unwrap();
    assert_ne!(counts, before, "there was such a row");
    base.sync().unwrap();
}

fn was_moved_aside(path: &Path) -> bool {
    path.join("sled.damaged-1").exists()
}

#[test]
fn a_row_lost_while_a_checkpoint_was_broken_off_is_told_at_the_start_and_made_anew() {
    for pages in [0, 1, 3, 6, 10] {
        let folder = tempfile::tempdir().unwrap();
        let told = broken_off(folder.path(), pages);
        lose_a_row(&base(folder.path()));

        let store = SledStore::open(settings(folder.path()), NOW).unwrap();

        assert!(was_moved_aside(folder.path()), "after {pages} pages");
        assert_eq!(told_by(&store), told, "after {pages} pages");
    }
}

#[test]
fn a_checkpoint_that_was_broken_off_at_any_page_misses_nothing() {
    for pages in 0..14 {
        let folder = tempfile::tempdir().unwrap();
        let told = broken_off(folder.path(), pages);

        let mut store = SledStore::open(settings(folder.path()), NOW).unwrap();
        store.end_fold(NOW, true).unwrap();

        assert_eq!(told_by(&store), told, "after {pages} pages");
        assert_eq!(store.folded, store.staged, "after {pages} pages");
        assert!(!was_moved_aside(folder.path()), "after {pages} pages");
        assert_eq!(store.stamp.clone().unwrap().counts, store.base.now().unwrap().count().unwrap());
    }
}

#[test]
fn a_row_lost_after_the_start_is_not_stamped_as_right() {
    let folder = tempfile::tempdir().unwrap();
    broken_off(folder.path(), 3);
    let lock = recovery::lock(folder.path()).unwrap();
    let found = recovery::recover(&settings(folder.path()), &lock).unwrap();
    let (layer, commit) = found.fold.unwrap();
    // As in a store that has too many rows to be counted at its start.
    lose_a_row(&found.base.now().unwrap());

    let job = Job {
        dir: folder.path().to_owned(),
        base: found.base.now().unwrap(),
        layer,
        commit,
        before: None,
        is_resumed: true,
        hold: Arc::default(),
    };
    let broken = Fold::start(job).unwrap().join().unwrap_err();

    assert!(broken.error.to_string().contains("a checkpoint was broken off in it"), "{}", broken.error);
    assert!(found.base.now().unwrap().stamp().unwrap().commit < commit, "it is not stamped");
}

#[test]
fn verify_tells_a_row_that_was_lost_in_a_broken_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    broken_off(folder.path(), 3);
    let report = verify_folder(folder.path(), &std::env::temp_dir(), &Progress::default()).unwrap();
    assert!(report.clean, "{report:#?}");
    lose_a_row(&base(folder.path()));

    let report = verify_folder(folder.path(), &std::env::temp_dir(), &Progress::default()).unwrap();

    let problems: Vec<&str> = report.findings.iter().map(|finding| finding.problem.as_str()).collect();
    assert!(problems.iter().any(|problem| problem.contains("a checkpoint was broken off")), "{problems:?}");
}

/// A store whose second checkpoint has found no room in sled after some pages, while it runs.
fn without_room_in_sled(path: &Path, pages: usize) -> SledStore {
    drop(broken_off(path, 0));
    let mut store = SledStore::open(settings(path), NOW).unwrap();
    store.end_fold(NOW, true).unwrap();
    publish(&mut store, 401..=500);
    store.base.now().unwrap().break_off_after(pages);
    store.checkpoint().unwrap();
    store.end_fold(NOW, true).unwrap();
    assert!(store.halted.is_some());
    store
}

#[test]
fn a_checkpoint_that_found_no_room_in_sled_goes_on_in_one_that_is_opened_anew() {
    for pages in [0, 1, 3, 6, 10] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = without_room_in_sled(folder.path(), pages);
        let told = told_by(&store);
        let reading = store.base.now().unwrap();

        store.maintain(NOW).unwrap();
        assert!(store.halted.is_some(), "somebody reads in it");
        drop(reading);
        store.maintain(NOW).unwrap();
        store.end_fold(NOW, true).unwrap();

        assert_eq!((store.folded, told_by(&store)), (store.staged, told), "after {pages} pages");
        assert_eq!(store.stamp.clone().unwrap().counts, store.base.now().unwrap().count().unwrap());
        publish(&mut store, 501..=510);
        let told = told_by(&store);
        Box::new(store).close().unwrap();
        assert_eq!(told_by(&SledStore::open(settings(folder.path()), NOW).unwrap()), told);
    }
}

#[test]
fn what_sled_has_lost_meanwhile_is_told_when_it_is_opened_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = without_room_in_sled(folder.path(), 3);
    let open = store.base.now().unwrap();
    open.break_off_after(usize::MAX);
    lose_a_row(&open);
    drop(open);

    let damage = store.maintain(NOW).unwrap_err();

    assert!(matches!(damage, StoreError::Damaged { .. }), "{damage}");
}
