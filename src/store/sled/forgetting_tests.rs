//! What forgetting promises of ids in a store on disk: they go unasked where nothing stands that is as old, and not at all
//! where a row is missed.

use std::path::Path;
use std::time::Duration;

use super::retention_tests::{
    A, EVENTS, FLOWS, HOUR, MANY, NAMES, NOW, ROWS, event_row, lose, settings, stopped, with_subscription,
};
use super::*;
use crate::event::{Identity, flow_of};
use crate::store::conformance::{envelope, routed, settle};
use crate::store::{Lookup, Outcome, Routed};

/// With ids that are forgotten after an hour.
fn forgetful(path: &Path) -> StoreSettings {
    StoreSettings { dedupe_window: HOUR, ..settings(path, HOUR) }
}

fn lookup(store: &SledStore, id: &str) -> Lookup {
    store.reader().find(Identity::of("/test", id)).unwrap()
}

#[test]
fn the_id_of_an_event_that_was_lost_from_sled_is_told_and_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, Some(&envelope("open").flow));
    lose(folder.path(), &[event_row(1)]);
    let mut store = SledStore::open(forgetful(folder.path()), NOW).unwrap();
    let kept = Duration::from_hours(1_000);
    store.settings.retention = kept;

    while store.maintain(NOW.plus(3 * HOUR)).unwrap() {}

    let told = store.lost.as_ref().unwrap().to_string();
    assert!(told.contains("bookkeeping of event 1 is lost"), "{told}");
    assert_eq!(lookup(&store, "e1"), Lookup::Forgotten, "a repeat is no new event");
}

/// A folder with one open event and many settled ones behind it, each of the flow that `flow_for` names.
fn behind_an_open_one(path: &Path, flow_for: impl Fn(u64) -> String) {
    let mut store = with_subscription(forgetful(path));
    for n in 0..=MANY {
        let mut event = envelope(&format!("e{n}"));
        event.flow = flow_for(n);
        let event = Routed::new(Arc::new(event), vec![A]);
        store.stage(NOW, &mut vec![Change::Publish(vec![event])]).unwrap();
        if n > 0 {
            store.stage(NOW, &mut vec![Change::Settle(settle(A, n + 1, Seq(n + 1), Outcome::Done))]).unwrap();
        }
    }
    Box::new(store).close().unwrap();
}

/// The rows of ids that are left in a folder after its last checkpoint.
fn ids_left(path: &Path) -> usize {
    let store = SledStore::open(forgetful(path), NOW).unwrap();
    let ids = store.shared.view().unwrap().rows().scan(&[0x10], &[0x11], usize::MAX).unwrap();
    ids.len()
}

#[test]
fn ids_of_events_that_have_expired_are_forgotten_though_an_older_flow_is_open() {
    let folder = tempfile::tempdir().unwrap();
    behind_an_open_one(folder.path(), |n| format!("flow-e{n}"));
    let mut store = SledStore::open(forgetful(folder.path()), NOW).unwrap();

    // They expire before their ids are due.
    for time in [65 * HOUR / 60, 3 * HOUR] {
        while store.maintain(NOW.plus(time)).unwrap() {}
    }

    assert!(store.lost.is_none(), "{:?}", store.lost);
    assert_eq!(lookup(&store, "e0"), Lookup::Known(Seq(1)), "its flow is open");
    assert!((1..=MANY).all(|n| lookup(&store, &format!("e{n}")) == Lookup::Unknown));
    Box::new(store).close().unwrap();
    assert_eq!(ids_left(folder.path()), 1, "none is left that nobody finds");
}

#[test]
fn ids_go_with_their_bucket_unasked_when_nothing_stands_that_is_as_old() {
    let folder = tempfile::tempdir().unwrap();
    behind_an_open_one(folder.path(), |n| format!("flow-e{n}"));
    let mut store = SledStore::open(forgetful(folder.path()), NOW).unwrap();
    store.stage(NOW, &mut vec![Change::Settle(settle(A, 1, Seq(1), Outcome::Done))]).unwrap();
    while store.maintain(NOW.plus(65 * HOUR / 60)).unwrap() || store.fold.is_some() {}
    assert_eq!(lookup(&store, "e1"), Lookup::Forgotten);
    store.base.now().unwrap().looked_in();

    while store.maintain(NOW.plus(3 * HOUR)).unwrap() {}

    let looked_in = store.base.now().unwrap().looked_in();
    assert!(!looked_in.contains(&ROWS), "{looked_in:?}");
    assert!((0..=MANY).all(|n| lookup(&store, &format!("e{n}")) == Lookup::Unknown));
    Box::new(store).close().unwrap();
    assert_eq!(ids_left(folder.path()), 0);
}

#[test]
fn an_id_that_was_forgotten_under_pressure_is_not_kept_when_the_window_has_passed() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), 1_000 * HOUR, None);
    let pressed = || StoreSettings {
        dedupe_max_bytes: 64,
        dedupe_window: HOUR,
        checkpoint_interval: 1_000 * HOUR,
        ..settings(folder.path(), 1_000 * HOUR)
    };
    let mut store = SledStore::open(pressed(), NOW).unwrap();
    let known = |store: &SledStore| {
        (1..=EVENTS).filter(|n| lookup(store, &format!("e{n}")) != Lookup::Unknown).count()
    };
    assert_eq!(known(&store), 100);

    // The bucket of all of them is closed by another one; the rows of its ids are in sled.
    let later = NOW.plus(HOUR / 2);
    store.stage(later, &mut vec![Change::Publish(vec![routed("later", &[A])])]).unwrap();
    while store.maintain(later).unwrap() {}
    assert_eq!(known(&store), 0);
    while store.maintain(NOW.plus(2 * HOUR)).unwrap() {}

    assert_eq!(known(&store), 0);
}

#[test]
fn whether_an_event_that_names_its_flow_is_missed_is_not_asked_by_name() {
    let folder = tempfile::tempdir().unwrap();
    behind_an_open_one(folder.path(), |n| flow_of("/test", &format!("e{n}")));
    let mut store = SledStore::open(forgetful(folder.path()), NOW).unwrap();
    // Else retention asks for the open one.
    let _held = store.hold.begin();
    while store.maintain(NOW.plus(65 * HOUR / 60)).unwrap() || store.fold.is_some() {}
    store.base.now().unwrap().looked_in();

    while store.maintain(NOW.plus(3 * HOUR)).unwrap() {}

    let looked_in = store.base.now().unwrap().looked_in();
    assert!(looked_in.contains(&FLOWS) && !looked_in.contains(&NAMES), "{looked_in:?}");
    assert_eq!(lookup(&store, "e1"), Lookup::Unknown, "it was forgotten after that");
}
