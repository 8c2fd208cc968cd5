//! What the core asks the store for, at a start and later, one rule each.

use super::desk::{Desk, FAILED, settings};
use super::simulation::Write;
use super::{Action, Finish, Settings, Verdict};
use crate::store::{Ordinal, Pending, PendingState, Seq};

#[test]
fn a_drain_starts_nothing_any_more_and_what_it_interrupts_is_not_counted() {
    let mut desk = Desk::new(settings());
    for key in ["a", "b", "a"] {
        desk.publish(key);
    }
    desk.run();

    desk.core.drain();
    assert_eq!(desk.finish(Ordinal(1), Finish::Done), Verdict::Done);
    assert_eq!(desk.finish(Ordinal(2), Finish::Interrupted), Verdict::Nothing);
    desk.run();

    assert_eq!(desk.started(), [1, 2]);
    assert_eq!(desk.store.0[&Ordinal(2)].attempts, 0);
    assert!(desk.core.is_idle());
}

#[test]
fn the_store_is_asked_only_while_it_may_have_more() {
    let mut desk = Desk::new(settings());
    desk.run();
    assert_eq!(desk.fetches, 1, "once, to learn that it is empty");

    for number in 0..1_000 {
        desk.publish(&format!("k{number}"));
        desk.work(|_| Finish::Done);
    }
    assert_eq!(desk.fetches, 1, "what is handed over need not be read");

    for number in 0..3_000 {
        desk.publish(&format!("k{number}"));
    }
    desk.work(|_| Finish::Done);
    assert_eq!(desk.through(), 4_000);
    assert!(desk.fetches <= 15, "{} questions for 3,000 events", desk.fetches);
    desk.assert_empty();
}

#[test]
fn nothing_need_be_handed_over_while_it_is_paused_or_has_more_to_read_than_it_holds() {
    let mut desk = Desk::new(settings());
    desk.run();
    assert!(!desk.core.is_deaf());

    desk.core.pause(true);
    assert!(desk.core.is_deaf());
    desk.core.pause(false);
    assert!(!desk.core.is_deaf());

    let first_for_nothing = (0..4_000).find(|n| {
        desk.publish(&format!("k{n}"));
        desk.core.is_deaf()
    });
    assert_eq!(first_for_nothing, Some(desk.core.held() + desk.core.window()));
    desk.work(|_| Finish::Done);
    assert!(!desk.core.is_deaf());
    desk.assert_empty();
}

#[test]
fn counts_that_the_store_does_not_know_yet_are_kept() {
    let mut desk = Desk::new(settings());
    let ordinal = desk.publish("a");
    desk.run();
    desk.core.finished(ordinal, FAILED, desk.now);
    let stale = desk.store.arrival(ordinal);

    desk.now = desk.now.plus_millis(500);
    let mut out = Vec::new();
    desk.core.poll(desk.now, &mut out);
    assert!(matches!(out[..], [Action::Load { ordinal: Ordinal(1) }]), "{out:?}");
    desk.core.loaded(ordinal, Some(stale));
    desk.run();

    let start = &desk.started;
    assert_eq!(start.len(), 2);
    assert_eq!(desk.running[&ordinal].attempt, 2);
    assert_eq!(desk.running[&ordinal].failures, 1);
}

#[test]
fn a_delivery_that_is_gone_from_the_store_frees_its_key() {
    let mut desk = Desk::new(settings());
    desk.publish("a");
    desk.publish("a");
    desk.run();
    desk.finish(Ordinal(1), FAILED);
    desk.run();

    desk.now = desk.now.plus_millis(500);
    let mut out = Vec::new();
    desk.core.poll(desk.now, &mut out);
    desk.store.apply(&Write::Settle(Ordinal(1), Verdict::Done));
    desk.core.loaded(Ordinal(1), None);
    desk.run();

    assert_eq!(desk.running(), [2]);
}

#[test]
fn after_a_start_nothing_put_aside_passes_what_is_still_unread() {
    let mut desk = Desk::new(settings());
    desk.page = 2;
    for key in ["a", "b", "a", "c", "d", "a", "a", "e"] {
        desk.store_only(key);
    }
    for aside in [3, 7] {
        desk.store.apply(&Write::Defer(Ordinal(aside)));
    }
    let state = PendingState::Deferred;
    desk.core.restore(vec![Pending {
        ordinal: Ordinal(3),
        seq: Seq(3),
        key: "a".to_owned(),
        failures: 0,
        state,
    }]);

    desk.work(|_| Finish::Done);

    let of_a: Vec<u64> =
        desk.started().into_iter().filter(|ordinal| [1, 3, 6, 7].contains(ordinal)).collect();
    assert_eq!(of_a, [1, 3, 6, 7]);
    assert_eq!(desk.through(), 8);
    desk.assert_empty();
}

#[test]
fn what_was_put_aside_before_a_start_waits_for_the_cursor() {
    let mut desk = Desk::new(settings());
    for key in ["b", "b", "a", "c", "d", "a", "a"] {
        desk.store_only(key);
    }
    let state = PendingState::Deferred;
    desk.core.restore(vec![Pending {
        ordinal: Ordinal(3),
        seq: Seq(3),
        key: "a".to_owned(),
        failures: 0,
        state,
    }]);
    let poll = |desk: &mut Desk| {
        let mut out = Vec::new();
        desk.core.poll(desk.now, &mut out);
        out
    };
    let starts = |out: &[Action<()>]| {
        let ordinal = |action: &Action<()>| {
            if let Action::Start(start) = action { Some(start.ordinal.0) } else { None }
        };
        out.iter().filter_map(ordinal).collect::<Vec<_>>()
    };

    let out = poll(&mut desk);
    assert!(
        matches!(out[..], [Action::Fetch { after: Ordinal(0), .. }]),
        "unread ones may come first: {out:?}"
    );
    desk.core.fetched(Ordinal(0), vec![desk.store.arrival(Ordinal(4))]);
    let out = poll(&mut desk);
    assert!(out.iter().any(|action| matches!(action, Action::FetchDeferred { .. })), "{out:?}");
    desk.core.fetched_deferred("a", vec![desk.store.arrival(Ordinal(3)), desk.store.arrival(Ordinal(7))]);
    assert_eq!(starts(&poll(&mut desk)), [3]);
    desk.core.finished(Ordinal(3), Finish::Done, desk.now);
    desk.core.settled(Ordinal(3));
    assert_eq!(starts(&poll(&mut desk)), [0; 0], "the sixth is not read yet");

    desk.core.fetched(Ordinal(4), vec![desk.store.arrival(Ordinal(6))]);

    assert_eq!(starts(&poll(&mut desk)), [6]);
}

#[test]
fn a_delivery_that_was_brought_back_and_is_gone_leaves_no_lane() {
    let mut desk = Desk::new(Settings { lane_max: 1, ..settings() });
    for _ in 0..2 {
        desk.publish("a");
    }
    desk.run();
    assert_eq!(desk.deferred, 1);
    desk.finish(Ordinal(1), Finish::Done);
    desk.run();
    assert_eq!(desk.running(), [2], "brought back");

    desk.running.clear();
    desk.core.finished(Ordinal(2), Finish::Interrupted, desk.now);
    let mut out = Vec::new();
    desk.core.poll(desk.now, &mut out);
    desk.core.loaded(Ordinal(2), None);
    desk.run();

    desk.assert_empty();
}
