//! What forgetting promises beside what both engines are held to (`conformance/keeping.rs`).

use std::sync::Arc;

use super::dedupe::KEPT;
use super::entry::{EventEntry, EventRest, RestMore};
use super::oldest::tests::World;
use super::*;
use crate::event::Identity;
use crate::store::conformance::envelope;
use crate::store::rows::{Base, Rows};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const A: SubscriptionId = SubscriptionId(1);
/// Ids in a full bucket: more than are looked at first.
const FULL: u64 = 400;

/// A view in which six full buckets of ids are allowed, with one subscription.
pub(super) fn view() -> View {
    with_buckets_of(FULL)
}

fn with_buckets_of(ids: u64) -> View {
    let settings = StoreSettings { dedupe_max_bytes: 6 * 64 * ids, ..StoreSettings::default() };
    let mut view = View::load(Rows::default(), &settings, "here".into()).unwrap();
    view.subscriptions.insert(A, Subscription::default());
    view
}

/// Stores events, all of which are open or all at rest.
pub(super) fn publish(view: &mut View, events: std::ops::Range<u64>, is_open: bool) {
    publish_at(view, events, is_open, NOW);
}

fn publish_at(view: &mut View, events: std::ops::Range<u64>, is_open: bool, at: Timestamp) {
    for n in events {
        let (commit, seq) = (Commit(n), Seq(view.head.seqs + 1));
        view.begin(commit, at);
        let routes = if is_open { vec![A] } else { Vec::new() };
        let bucket = view.bucket_at(at);
        let rest = EventRest { seq, at, bucket, routes, due: None, more: RestMore::default() };
        let entry = EventEntry::new(Arc::new(envelope(&format!("e{n}"))), rest);
        view.apply(&Entry::Event(entry)).unwrap();
    }
}

/// Forgets what is due; tells how many acts that took.
fn forget(view: &mut View, now: Timestamp) -> usize {
    let mut acts = 0;
    while let Some(due) = view.next_forgotten(now).unwrap() {
        let due = due.check(usize::MAX, |_| Ok(())).unwrap();
        let (done, has_more) = view.upkeep(view.commit(), now, ids_alone(due)).unwrap();
        assert!(has_more, "upkeep would take it for all there is to do");
        acts += done.len();
    }
    acts
}

fn ids_alone(ids: Forgetting) -> Outlived {
    Outlived { ids: Some(ids), flows: Vec::new() }
}

fn identity(n: u64) -> Identity {
    Identity::of("/test", &format!("e{n}"))
}

fn is_known(view: &View, n: u64) -> bool {
    view.seen(identity(n)).unwrap().is_some()
}

#[test]
fn a_flood_of_which_nothing_rests_is_not_looked_through() {
    let mut view = view();
    publish(&mut view, 0..20 * FULL, true);

    let acts = forget(&mut view, NOW);

    assert_eq!(acts, 14, "one for each bucket that is too many, and as many allowed as ever");
    assert!((0..20 * FULL).all(|n| is_known(&view, n)));
    assert_eq!(view.dedupe_reach_ms(), view.limits.dedupe_window_ms, "the window is as long as it was");
}

#[test]
fn under_pressure_those_at_rest_go_and_the_needed_ones_stay_where_they_are() {
    let mut view = view();
    for half in (0..20 * FULL).step_by(20) {
        publish(&mut view, half..half + 10, true);
        publish(&mut view, half + 10..half + 20, false);
    }

    forget(&mut view, NOW);

    let is_open = |n: u64| n % 20 < 10;
    assert!((0..20 * FULL).filter(|n| is_open(*n)).all(|n| is_known(&view, n)));
    let at_rest = (0..20 * FULL).filter(|n| !is_open(*n) && is_known(&view, *n)).count() as u64;
    assert!(at_rest <= 7 * FULL / 2, "{at_rest} are left");
    assert!(
        view.ids_in(KEPT, 9).unwrap().is_empty(),
        "each would be written anew, and asked for by every id that comes"
    );
    assert!(forget(&mut view, NOW) == 0, "nothing is looked through twice");
}

#[test]
fn a_stretch_of_which_all_is_needed_does_not_hold_up_what_is_behind_it() {
    let mut view = with_buckets_of(10_000);
    publish(&mut view, 0..5_000, true);
    publish(&mut view, 5_000..10_000, false);
    publish(&mut view, 10_000..65_000, true);

    let acts = forget(&mut view, NOW);

    assert!(acts > 4, "{acts}: a slice is smaller than what is needed in front");
    assert!((0..5_000).all(|n| is_known(&view, n)) && (5_000..10_000).all(|n| !is_known(&view, n)));
}

#[test]
fn what_is_needed_outlives_the_window_and_its_bucket() {
    let mut view = view();
    publish(&mut view, 0..3, true);
    let later = NOW.plus(std::time::Duration::from_hours(40));

    forget(&mut view, later);

    assert!((0..3).all(|n| is_known(&view, n)));
    assert_eq!(view.head.dedupe.numbers().count(), 0);
    assert_eq!((view.kept, view.sieves.count(KEPT)), (3, 1));
    for n in 0..3 {
        view.release_kept(Identity::of("/test", &format!("e{n}"))).unwrap();
        assert!(!is_known(&view, n));
    }
    assert_eq!((view.kept, view.sieves.count(KEPT)), (0, 0), "nobody asks an empty bucket");
}

#[test]
fn the_kept_bucket_is_asked_for_after_a_start_too() {
    let mut view = view();
    publish(&mut view, 0..3, true);
    forget(&mut view, NOW.plus(std::time::Duration::from_hours(40)));

    let view = flow_index::tests::again(view);

    assert!((0..3).all(|n| is_known(&view, n)));
    assert_eq!(view.kept, 3);
}

#[test]
fn what_version_2_forgot_is_forgotten_as_it_did() {
    let mut view = view();
    publish(&mut view, 0..10, false);
    publish(&mut view, 10..20, true);
    // The kind, the variant, bucket 1, 100 ids, under pressure.
    let entry = Entry::decode(&[2, 10, 1, 100, 1]).unwrap();

    view.apply(&entry).unwrap();

    assert!((0..10).all(|n| !is_known(&view, n)) && (10..20).all(|n| is_known(&view, n)));
    assert_eq!(view.ids_in(KEPT, 99).unwrap().len(), 10);
    assert_eq!(view.head.dedupe.numbers().count(), 0);
}

#[test]
fn an_id_that_is_kept_may_have_been_kept_before_and_counts_as_new_in_no_checkpoint() {
    let mut view = view();
    publish(&mut view, 0..2, true);
    let seen = view.seen(Identity::of("/test", "e1")).unwrap().unwrap();
    view.keep_id(Identity::of("/test", "e1"), seen).unwrap();

    let frozen = view.freeze().unwrap();

    let mut ids = Vec::new();
    let mut visit = |key: &[u8], _: Option<&[u8]>, is_new| {
        ids.extend((key[0] == keys::DEDUPE).then(|| (key[4], is_new)));
        Ok(())
    };
    frozen.each(std::path::Path::new(""), None, &mut visit).unwrap();
    assert_eq!(ids, [(0, false), (1, true), (1, true)], "bucket, and whether it is new");
}

/// Lets events go without their flows, so that they are missed.
fn lose_bookkeeping(view: &mut View, events: std::ops::Range<u64>) {
    for n in events {
        let seen = view.seen(Identity::of("/test", &format!("e{n}"))).unwrap().unwrap();
        view.delete_event(seen.seq);
    }
}

#[test]
fn more_missed_events_than_a_slice_may_ask_for_go_in_several() {
    let mut view = view();
    publish(&mut view, 0..10, true);
    lose_bookkeeping(&mut view, 0..10);
    let (later, mut asked) = (NOW.plus(std::time::Duration::from_hours(40)), Vec::new());

    while let Some(due) = view.next_forgotten(later).unwrap() {
        let due = due
            .check(4, |seqs| {
                asked.push(seqs.to_vec());
                Ok(())
            })
            .unwrap();
        view.upkeep(view.commit(), later, ids_alone(due)).unwrap();
    }

    let slices = [1..=4, 5..=8, 9..=10].map(|slice| slice.map(Seq).collect::<Vec<_>>());
    assert_eq!(asked, slices);
    assert!((0..10).all(|n| !is_known(&view, n)));
}

#[test]
fn ids_wait_a_while_for_the_flows_around_them_and_no_longer() {
    let mut view = view();
    publish(&mut view, 0..10, true);
    let closed = NOW.plus_millis(view.limits.bucket_ms());
    let due = closed.plus_millis(view.limits.dedupe_window_ms);

    for early in [0, view.patience_ms() - 1] {
        assert!(view.next_forgotten(due.plus_millis(early)).unwrap().is_none());
    }
    assert!(view.next_forgotten(due.plus_millis(view.patience_ms())).unwrap().is_some());
}

#[test]
fn nothing_waits_for_flows_while_there_are_too_many_ids() {
    let mut view = view();
    publish(&mut view, 0..FULL, true);
    // Looked through, it stays for the window, in front of those that come.
    publish(&mut view, FULL..8 * FULL, false);
    forget(&mut view, NOW);
    assert!(is_known(&view, 0) && !is_known(&view, FULL));
    let due = NOW.plus_millis(view.limits.bucket_ms() + view.limits.dedupe_window_ms);
    publish_at(&mut view, 8 * FULL..16 * FULL, false, due);

    forget(&mut view, due);

    let left = (8 * FULL..16 * FULL).filter(|n| is_known(&view, *n)).count() as u64;
    assert!(left <= 6 * FULL, "{left} are left");
    assert!(is_known(&view, 0), "its flow is open");
}

#[test]
fn the_filter_of_the_kept_bucket_is_made_anew_when_most_of_it_has_gone() {
    let mut view = view();
    publish(&mut view, 0..1, true);
    let kept = view.seen(Identity::of("/test", "e0")).unwrap().unwrap();
    // Five filters' worth of ids that came and went.
    (0..5 * u64::from(sieve::IDS_MAX))
        .for_each(|n| view.sieves.put(KEPT, Identity::of("/gone", &n.to_string())));
    assert_eq!(view.sieves.count(KEPT), 5);

    view.keep_id(Identity::of("/test", "e0"), kept).unwrap();

    assert_eq!((view.kept, view.sieves.count(KEPT)), (1, 1));
    assert!(view.sieves.may_hold(KEPT, Identity::of("/test", "e0")));
    assert!(!view.sieves.may_hold(KEPT, Identity::of("/gone", "0")));
}

/// The filters of ids that a checkpoint has stored, by kind and number.
fn stored_sieves(rows: &Rows) -> Vec<(u8, u8)> {
    rows.scan(&[0x12], &[0x13], 99).unwrap().iter().map(|(key, _)| (key[1], key[5])).collect()
}

#[test]
fn buckets_that_share_a_filter_go_one_by_one_and_are_known_after_a_start() {
    let mut view = with_buckets_of(2);
    publish(&mut view, 0..20, true);
    assert_eq!(view.head.dedupe.numbers().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert_eq!((1..=4).map(|sieve| view.sieves.count(sieve)).collect::<Vec<_>>(), [1, 1, 1, 0]);
    view.drop_bucket(2);
    for bucket in 5..=8 {
        view.drop_bucket(bucket);
    }
    let is_left = |n| !matches!(n, 2..4 | 8..16);

    let mut rows = Rows::default();
    // As an earlier build has left it, for one bucket alone.
    rows.put(keys::sieve(5, 3).bytes(), Bytes::from_static(&[0; 8]));
    for (key, value) in view.freeze().unwrap().rows() {
        if let Some(value) = value {
            rows.put(key, value);
        }
    }
    assert_eq!(
        stored_sieves(&rows),
        [(5, 3), (sieve::IDS, 1)],
        "the last one takes more, the second has gone"
    );
    let settings = StoreSettings { dedupe_max_bytes: 6 * 64 * 2, ..StoreSettings::default() };
    let mut again = View::load(rows, &settings, "here".into()).unwrap();

    for view in [&view, &again] {
        assert!((0..20).filter(|n| is_left(*n)).all(|n| is_known(view, n)));
    }
    assert_eq!(stored_sieves(&again.rows), [(sieve::IDS, 1)]);
    assert_eq!(again.sieves.count(2), 0);
}

#[test]
fn a_checkpoint_closes_a_bucket_of_ids_unless_it_is_small() {
    let mut view = with_buckets_of(1 << 20);
    publish(&mut view, 0..10, true);
    drop(view.freeze().unwrap());
    publish(&mut view, 10..16_384, true);
    assert_eq!(view.head.dedupe.numbers().collect::<Vec<_>>(), [1], "ten were few");

    publish(&mut view, 16_384..16_385, true);

    assert_eq!(view.head.dedupe.numbers().collect::<Vec<_>>(), [1, 2]);
    assert!([0, 16_383, 16_384].iter().all(|n| is_known(&view, *n)));
    publish(&mut view, 16_385..30_000, true);
    assert_eq!(view.head.dedupe.numbers().count(), 2, "no checkpoint has met it");
}

/// The rows of ids that are folded.
fn ids_folded(world: &World) -> usize {
    world.base.scan(&[keys::DEDUPE], &[keys::DEDUPE + 1], usize::MAX).unwrap().len()
}

#[test]
fn ids_of_a_bucket_that_goes_while_a_checkpoint_takes_them_go_with_the_next_one() {
    let mut world = World::with(3);
    assert_eq!(ids_folded(&world), 3);
    publish(&mut world.view, 3..6, false);
    let frozen = world.view.freeze().unwrap();
    publish(&mut world.view, 6..9, false);
    world.expire(1..=9);

    forget(&mut world.view, NOW.plus(std::time::Duration::from_hours(40)));
    assert!((0..9).all(|n| !is_known(&world.view, n)));
    publish_at(&mut world.view, 9..10, false, NOW.plus(std::time::Duration::from_hours(40)));
    world.fold(&frozen);
    assert_eq!(ids_folded(&world), 6, "it was about to take them");
    world.checkpoint();

    assert_eq!(ids_folded(&world), 1, "the one that has come since");
    assert!(is_known(&world.view, 9));
}

#[test]
fn a_bucket_that_is_being_forgotten_goes_though_an_event_comes_in_the_middle() {
    let mut world = World::with(2_000);
    world.expire(1..=2_000);
    let (view, later) = (&mut world.view, NOW.plus(std::time::Duration::from_hours(40)));
    let is_begun = |view: &View| view.forgetting.is_some();
    while !is_begun(view) {
        let due = view.next_forgotten(later).unwrap().unwrap();
        view.upkeep(Commit(2_000), later, ids_alone(due)).unwrap();
    }

    // It closes the bucket, which was due because it would have been full by time.
    publish_at(view, 2_000..2_001, false, later);
    forget(view, later);

    assert!((0..2_000).all(|n| !is_known(view, n)), "they would wait for another window");
    assert!(is_known(view, 2_000));
}
