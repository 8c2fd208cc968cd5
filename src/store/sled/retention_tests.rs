//! What retention promises of a store that has lost rows: it says so and removes nothing.

use std::path::Path;
use std::time::Duration;

use super::base::Counts;
use super::base::SledBase;
use super::*;
use crate::event::flow_of;
use crate::store::conformance::{dead, envelope, routed, settle};
use crate::store::{Outcome, Routed, SubscriptionId, SubscriptionSpec};

pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(super) const A: SubscriptionId = SubscriptionId(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const EVENTS: u64 = 100;
/// The tables of events, of flows, and of the names of flows.
pub(super) const ROWS: u8 = 0x20;
pub(super) const FLOWS: u8 = 0x3A;
pub(super) const NAMES: u8 = 0x3C;
/// More than one slice reads of a bucket, and asks payloads for.
pub(super) const MANY: u64 = 1_100;

/// Payloads are kept for two hours after their flow has come to rest.
pub(super) fn settings(path: &Path, status_ttl: Duration) -> StoreSettings {
    StoreSettings {
        path: path.to_owned(),
        cache_bytes: 8 << 20,
        segment_bytes: 8 << 10,
        retention: 2 * HOUR,
        status_ttl,
        ..StoreSettings::default()
    }
}

/// A new store with one subscription, to everything.
pub(super) fn with_subscription(settings: StoreSettings) -> SledStore {
    let mut store = SledStore::open(settings, NOW).unwrap();
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let filter = crate::event::Filter::default();
    let spec = SubscriptionSpec { name, step, on, since: None, filter };
    store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    store
}

/// A folder with some settled events, each of its own flow unless `flow` names one, and an open one behind them.
pub(super) fn stopped(path: &Path, status_ttl: Duration, flow: Option<&str>) {
    stopped_with(path, status_ttl, |_| flow);
}

fn stopped_with<'a>(path: &Path, status_ttl: Duration, flow_for: impl Fn(u64) -> Option<&'a str>) {
    let mut store = with_subscription(settings(path, status_ttl));
    for n in 1..=EVENTS {
        let mut event = envelope(&format!("e{n}"));
        event.flow = flow_for(n).map_or(event.flow.clone(), str::to_owned);
        let event = Routed::new(Arc::new(event), vec![A]);
        store.stage(NOW, &mut vec![Change::Publish(vec![event])]).unwrap();
        store.stage(NOW, &mut vec![Change::Settle(settle(A, n, Seq(n), Outcome::Done))]).unwrap();
        store.sync().unwrap();
    }
    store.stage(NOW, &mut vec![Change::Publish(vec![routed("open", &[A])])]).unwrap();
    Box::new(store).close().unwrap();
}

/// Takes rows out of sled, counts and all, as sled loses them in a store that is too large to be counted at its start.
pub(super) fn lose(path: &Path, keys: &[Vec<u8>]) {
    let lock = recovery::lock(path).unwrap();
    let base = SledBase::open(&path.join("sled"), 8 << 20, lock).unwrap();
    let mut stamp = base.stamp().unwrap();
    let before = stamp.counts.clone();
    base.fold(keys.iter().map(|key| (key.as_slice(), None)), &mut stamp.counts, &|| Ok(())).unwrap();
    let lost = |counts: &Counts| counts.values().sum::<u64>();
    assert_eq!(lost(&before) - lost(&stamp.counts), keys.len() as u64, "they were there");
    base.set_stamp(&stamp).unwrap();
    base.sync().unwrap();
}

pub(super) fn event_row(seq: u64) -> Vec<u8> {
    [&[ROWS], seq.to_be_bytes().as_slice()].concat()
}

/// The flow that begins with an event.
fn flow_row(first: u64) -> Vec<u8> {
    [&[FLOWS], first.to_be_bytes().as_slice()].concat()
}

/// Lets time pass over a store that has lost rows, which takes events as before, and returns what it tells of them.
fn told(path: &Path, status_ttl: Duration, time: Duration) -> String {
    let (mut store, later) = (SledStore::open(settings(path, status_ttl), NOW).unwrap(), NOW.plus(time));
    while store.maintain(later).unwrap() {}
    assert!(store.reader().stats().has_lost_rows);

    store.stage(later, &mut vec![Change::Publish(vec![routed("later", &[A])])]).unwrap();
    store.sync().unwrap();
    while store.maintain(later).unwrap() {}

    store.lost.as_ref().unwrap().to_string()
}

/// Lets time pass, and tells how many journal files are left.
fn pass(path: &Path, status_ttl: Duration, time: Duration) -> Result<usize, StoreError> {
    let mut store = SledStore::open(settings(path, status_ttl), NOW)?;
    while store.maintain(NOW.plus(time))? {}
    drop(store);
    Ok(files(path))
}

fn files(path: &Path) -> usize {
    let entries = std::fs::read_dir(path.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "journal")).count()
}

#[test]
fn an_event_that_was_lost_from_sled_is_told_and_its_segment_stays() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), 1_000 * HOUR, None);
    let before = files(folder.path());
    lose(folder.path(), &[event_row(3)]);

    let told = told(folder.path(), 1_000 * HOUR, 3 * HOUR);

    assert!(told.contains("bookkeeping of event 3 is lost") && told.contains("nothing is removed"), "{told}");
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_flow_that_was_lost_from_sled_is_told_and_its_segment_stays() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), 1_000 * HOUR, None);
    let before = files(folder.path());
    lose(folder.path(), &[flow_row(4)]);

    let told = told(folder.path(), 1_000 * HOUR, 3 * HOUR);

    assert!(told.contains("flow") && told.contains("of event 4 is lost"), "{told}");
    assert_eq!(files(folder.path()), before);
}

#[test]
fn an_event_of_a_long_flow_that_is_open_still_is_missed_too() {
    let folder = tempfile::tempdir().unwrap();
    let open = envelope("open").flow.clone();
    stopped_with(folder.path(), HOUR, |n| (n == 1).then_some(&open));
    let before = files(folder.path());
    lose(folder.path(), &[event_row(1)]);

    let told = told(folder.path(), HOUR, 3 * HOUR);

    assert!(told.contains("bookkeeping of event 1 is lost"), "{told}");
    assert_eq!(files(folder.path()), before);
}

#[test]
fn what_has_expired_is_not_missed_though_other_flows_are_there() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    let before = files(folder.path());

    let left = pass(folder.path(), HOUR, 3 * HOUR).unwrap();

    assert!(before > 2 && left == 1, "{left} of {before} files are left");
}

#[test]
fn a_file_goes_with_the_last_of_its_flows_though_one_behind_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    let mut store = SledStore::open(settings(folder.path(), HOUR), NOW).unwrap();
    let before = files(folder.path());
    let mut left_after = |time: Duration| {
        while store.maintain(NOW.plus(time)).unwrap() {}
        files(folder.path())
    };

    assert!(before > 2);
    assert_eq!([HOUR.saturating_sub(Duration::from_millis(1)), HOUR].map(&mut left_after), [before, 1]);
    assert!(!store.retention.has_asked(), "none of its events is read and asked for its flow");
}

#[test]
fn what_has_expired_is_on_disk_before_its_payloads_go() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    let before = files(folder.path());
    // A checkpoint would sync it.
    let without = StoreSettings { checkpoint_interval: 1_000 * HOUR, ..settings(folder.path(), HOUR) };
    let mut store = SledStore::open(without, NOW).unwrap();

    while store.maintain(NOW.plus(3 * HOUR)).unwrap() {}
    assert!(files(folder.path()) < before);
    // As a crash leaves it: nobody has asked for a sync.
    drop(store);

    let store = SledStore::open(settings(folder.path(), HOUR), NOW).unwrap();
    assert_eq!(store.reader().event(Seq(1)).unwrap(), None, "else it would be there, and its payload not");
}

#[test]
fn a_full_disk_keeps_no_file_that_may_go() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    // A checkpoint would meet the full disk first.
    let without = StoreSettings { checkpoint_interval: 1_000 * HOUR, ..settings(folder.path(), HOUR) };
    let mut store = SledStore::open(without, NOW).unwrap();
    for n in 0.. {
        if store.journal.room() < 500 {
            break;
        }
        store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("late{n}"), &[A])])]).unwrap();
        store.sync().unwrap();
    }
    let (before, durable) = (files(folder.path()), store.reader().durable());
    store.journal.find_no_room();

    store.maintain(NOW.plus(3 * HOUR)).unwrap();

    assert_eq!(store.reader().durable(), durable, "what has expired finds no room");
    assert!(files(folder.path()) < before);
}

#[test]
fn what_expires_while_a_fold_is_behind_is_on_disk_before_anybody_waits_for_the_fold() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    let small = StoreSettings { checkpoint_bytes: 1, ..settings(folder.path(), HOUR) };
    let mut store = SledStore::open(small, NOW).unwrap();
    let publish = |store: &mut SledStore, name: &str| {
        let events = (0..MANY).map(|n| routed(&format!("{name}{n}"), &[A])).collect();
        store.stage(NOW, &mut vec![Change::Publish(events)]).unwrap();
        store.sync().unwrap();
    };
    publish(&mut store, "one");
    store.checkpoint().unwrap();
    publish(&mut store, "two");
    assert!(store.is_stalled().unwrap());

    store.upkeep(NOW.plus(3 * HOUR)).unwrap();

    assert_eq!(store.reader().event(Seq(1)).unwrap(), None, "it has expired");
    assert_eq!(store.reader().durable(), store.staged);
}

#[test]
fn flows_expire_without_being_asked_for_by_name() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    let mut store = SledStore::open(settings(folder.path(), HOUR), NOW).unwrap();
    store.base.now().unwrap().looked_in();
    // Else retention asks whether what has expired is missed.
    let _held = store.hold.begin();

    while store.maintain(NOW.plus(90 * HOUR / 60)).unwrap() {}

    assert_eq!(store.reader().event(Seq(1)).unwrap(), None, "it has expired");
    assert!(!store.base.now().unwrap().looked_in().contains(&NAMES));
}

/// As [`stopped`], with the flows of events that are published without one.
fn stopped_with_own_flows(path: &Path, status_ttl: Duration) {
    let flows: Vec<String> = (1..=EVENTS).map(|n| flow_of("/test", &format!("e{n}"))).collect();
    stopped_with(path, status_ttl, |n| Some(flows.get(usize::try_from(n - 1).ok()?)?.as_str()));
}

#[test]
fn an_event_that_names_its_flow_is_missed_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    stopped_with_own_flows(folder.path(), 1_000 * HOUR);
    let before = files(folder.path());
    lose(folder.path(), &[event_row(3)]);

    let told = told(folder.path(), 1_000 * HOUR, 3 * HOUR);

    assert!(told.contains("bookkeeping of event 3 is lost"), "{told}");
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_flow_that_has_the_name_of_one_that_has_expired_misses_none_of_its_events() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, Some("again"));
    let mut store = SledStore::open(settings(folder.path(), HOUR), NOW).unwrap();
    let must =
        |store: &SledStore, seq| store.shared.view().unwrap().must_be_there(Seq(seq), "again").unwrap();
    assert!(must(&store, 1) && must(&store, EVENTS));
    let later = NOW.plus(3 * HOUR);
    while store.maintain(later).unwrap() {}

    let mut event = envelope("anew");
    event.flow = "again".to_owned();
    store.stage(later, &mut vec![Change::Publish(vec![Routed::new(Arc::new(event), vec![A])])]).unwrap();

    assert!(!must(&store, 1) && !must(&store, EVENTS));
    assert!(must(&store, EVENTS + 2), "the one before is open, of another flow");
}

/// A folder with settled events; of the one in the middle came `outcome`, or nothing yet.
fn with_another_in_the_middle(path: &Path, outcome: Option<&Outcome>) {
    let mut store = with_subscription(settings(path, 1_000 * HOUR));
    for n in 1..=EVENTS {
        store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("e{n}"), &[A])])]).unwrap();
        let came = if n == EVENTS / 2 { outcome.cloned() } else { Some(Outcome::Done) };
        if let Some(outcome) = came {
            store.stage(NOW, &mut vec![Change::Settle(settle(A, n, Seq(n), outcome))]).unwrap();
        }
        store.sync().unwrap();
    }
    Box::new(store).close().unwrap();
}

#[test]
fn what_is_open_and_a_dead_letter_that_waits_keep_their_data_and_that_of_all_behind_them() {
    for outcome in [None, Some(dead(false)), Some(dead(true))] {
        let folder = tempfile::tempdir().unwrap();
        with_another_in_the_middle(folder.path(), outcome.as_ref());

        pass(folder.path(), 1_000 * HOUR, 3 * HOUR).unwrap();

        let store = SledStore::open(settings(folder.path(), 1_000 * HOUR), NOW).unwrap();
        let has_data = |n: u64| store.reader().envelope(Seq(n)).unwrap().is_some();
        assert!(!has_data(1), "nothing has gone: {outcome:?}");
        assert!((EVENTS / 2..=EVENTS).all(has_data), "{outcome:?}");
    }
}

#[test]
fn data_is_kept_for_its_time_after_its_flow_has_come_to_rest() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), 1_000 * HOUR, None);
    let before = files(folder.path());

    let early = pass(folder.path(), 1_000 * HOUR, Duration::from_millis(2 * 3_600_000 - 1)).unwrap();
    let late = pass(folder.path(), 1_000 * HOUR, 2 * HOUR).unwrap();

    assert_eq!(early, before);
    assert!(late < before, "{late} of {before} files are left");
}

#[test]
fn nothing_goes_while_a_backup_is_copied_and_all_of_it_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), 1_000 * HOUR, None);
    let mut store = SledStore::open(settings(folder.path(), 1_000 * HOUR), NOW).unwrap();
    let before = files(folder.path());
    let later = NOW.plus(3 * HOUR);

    let held = store.hold.begin();
    while store.maintain(later).unwrap() {}
    assert_eq!(files(folder.path()), before);
    drop(held);
    while store.maintain(later).unwrap() {}

    let left = files(folder.path());
    assert!(left < before, "{left} of {before} files are left");
}

#[test]
fn a_flow_that_was_lost_from_sled_is_told_and_not_expired_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    stopped(folder.path(), HOUR, None);
    lose(folder.path(), &[flow_row(4)]);
    let mut store = SledStore::open(settings(folder.path(), HOUR), NOW).unwrap();
    let later = NOW.plus(90 * HOUR / 60);
    // Else retention meets it first.
    let _held = store.hold.begin();

    let slices = (0..1_000).take_while(|_| store.maintain(later).unwrap()).count();

    assert!(slices < 10, "{slices}");
    store.maintain(later).unwrap();
    let told = store.lost.as_ref().unwrap().to_string();
    assert!(told.contains("which is to expire, is lost"), "{told}");
    let staged = store.staged;
    store.maintain(later).unwrap();
    assert_eq!(store.staged, staged, "the journal grows");
}

#[test]
fn nothing_at_all_is_removed_once_a_row_is_missed() {
    // The first is missed when its id is due, when retention would find nothing missing in the first files yet.
    for lost in [event_row(EVENTS - 10), flow_row(4)] {
        let folder = tempfile::tempdir().unwrap();
        stopped(folder.path(), 1_000 * HOUR, None);
        let before = files(folder.path());
        lose(folder.path(), &[lost]);
        let forgetful = StoreSettings { dedupe_window: HOUR, ..settings(folder.path(), 1_000 * HOUR) };
        let mut store = SledStore::open(forgetful, NOW).unwrap();
        for time in [90 * HOUR / 60, 3 * HOUR] {
            while store.maintain(NOW.plus(time)).unwrap() {}
        }
        assert!(store.lost.is_some());
        let staged = store.staged;

        while store.maintain(NOW.plus(2_000 * HOUR)).unwrap() {}

        assert!(files(folder.path()) >= before);
        assert!(folder.path().join("journal/00000000000000000001.journal").exists());
        assert_eq!(store.staged, staged, "what has expired stays too");
    }
}
