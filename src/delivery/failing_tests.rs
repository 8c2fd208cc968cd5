//! What fails, waits and comes back, one rule each.

use std::time::Duration;

use super::desk::{Desk, FAILED, settings};
use super::simulation::State;
use super::{Action, Core, Finish, Mended, Order, Settings, Start, Verdict};
use crate::event::Timestamp;
use crate::retry::{Exhausted, RetryPolicy};
use crate::store::{DeadReason, Ordinal, Pending, PendingState, Seq};

#[test]
fn a_dead_letter_parks_its_key_until_it_is_repaired() {
    for retry in [true, false] {
        let mut desk = Desk::new(settings());
        for key in ["a", "a", "b"] {
            desk.publish(key);
        }
        desk.run();

        let verdict = desk.finish(Ordinal(1), Finish::Dead(DeadReason::Fatal));
        assert_eq!(verdict, Verdict::Dead { reason: DeadReason::Fatal, parks: true });
        desk.work(|_| Finish::Done);
        assert_eq!((desk.started(), desk.core.parked()), (vec![1, 3], 1));

        desk.repair(Ordinal(1), retry);
        desk.work(|_| Finish::Done);
        assert_eq!(desk.started(), if retry { vec![1, 3, 1, 2] } else { vec![1, 3, 2] });
        desk.assert_empty();
    }
}

#[test]
fn a_dead_letter_that_is_retried_later_holds_its_key_and_no_permit_until_then() {
    for exhausted in [Exhausted::Park, Exhausted::Skip] {
        let mut desk = Desk::new(Settings { concurrency: 1, exhausted, ..settings() });
        desk.publish("a");
        desk.run();
        desk.finish(Ordinal(1), Finish::Dead(DeadReason::Fatal));
        desk.run();

        let due = desk.now.plus_millis(700);
        desk.mend(Ordinal(1), Mended::AgainAt(due));
        for key in ["a", "b"] {
            desk.publish(key);
        }
        desk.work(|_| Finish::Done);
        assert_eq!((desk.started(), desk.core.waiting(), desk.core.parked()), (vec![1, 3], 1, 0));
        assert_eq!(desk.core.next_due(), Some(due));

        desk.sleep();
        desk.work(|_| Finish::Done);
        assert_eq!((desk.started(), desk.now), (vec![1, 3, 1, 2], due));
        desk.assert_empty();
    }
}

#[test]
fn a_dead_letter_frees_its_key_when_the_policy_is_to_skip() {
    let mut desk = Desk::new(Settings { exhausted: Exhausted::Skip, ..settings() });
    desk.publish("a");
    desk.publish("a");
    desk.run();

    desk.finish(Ordinal(1), Finish::Dead(DeadReason::Undecodable));
    desk.run();
    assert_eq!(desk.started(), [1, 2]);

    desk.repair(Ordinal(1), true);
    desk.run();
    assert_eq!(desk.running(), [2], "also a repaired one does not run beside another of its key");
    desk.work(|_| Finish::Done);
    assert_eq!(desk.started(), [1, 2, 1]);
    desk.assert_empty();
}

#[test]
fn one_poison_event_in_ten_thousand_is_tried_exactly_max_attempts_times() {
    for exhausted in [Exhausted::Park, Exhausted::Skip] {
        let mut desk = Desk::new(Settings { exhausted, ..settings() });
        for number in 0..10_000 {
            desk.publish(&format!("k{}", number % 100));
            desk.run();
        }

        let poison = |start: &Start<()>| if start.ordinal == Ordinal(5_000) { FAILED } else { Finish::Done };
        desk.work(poison);
        while desk.core.waiting() > 0 {
            desk.sleep();
            desk.work(poison);
        }

        let tries = desk.started().iter().filter(|&&ordinal| ordinal == 5_000).count();
        assert_eq!(tries, 3);
        let parked = if exhausted == Exhausted::Park { 50 } else { 0 };
        assert_eq!(desk.through(), 9_999 - parked, "only the later ones of its key wait, and only if parked");
        assert!(desk.held_most <= desk.core.window());
    }
}

#[test]
fn a_snooze_and_a_shutdown_do_not_count_and_a_fatal_error_does_not_wait_for_the_count() {
    let mut desk = Desk::new(settings());
    let ordinal = desk.publish("a");
    desk.run();

    for attempt in 1..=20 {
        assert_eq!(desk.running[&ordinal].attempt, attempt);
        let verdict = desk.finish(ordinal, Finish::Snoozed(Duration::from_secs(1)));
        assert_eq!(verdict, Verdict::Snooze { due: desk.now.plus_millis(1_000) });
        assert!(!verdict.is_counted());
        desk.run();
        desk.sleep();
    }
    assert_eq!(desk.finish(ordinal, Finish::Interrupted), Verdict::Nothing);
    desk.run();
    assert_eq!((desk.running[&ordinal].attempt, desk.running[&ordinal].failures), (21, 0));

    for _ in 0..2 {
        assert!(matches!(desk.finish(ordinal, FAILED), Verdict::Retry { .. }));
        desk.run();
        desk.sleep();
    }
    assert_eq!(desk.finish(ordinal, FAILED), Verdict::Dead { reason: DeadReason::Attempts, parks: true });
}

#[test]
fn a_wait_that_the_step_asked_for_comes_before_the_backoff() {
    let mut desk = Desk::new(settings());
    let ordinal = desk.publish("a");
    desk.run();

    let verdict = desk.finish(ordinal, Finish::Failed { retry_after: Some(Duration::from_secs(90)) });

    assert_eq!(verdict, Verdict::Retry { due: desk.now.plus_millis(90_000) });
}

#[test]
fn ten_thousand_retries_due_at_one_instant_stay_under_the_limit() {
    for order in [Order::Key, Order::None] {
        let mut desk = Desk::new(Settings { order, ..settings() });
        let due = desk.now.plus_millis(60_000);
        let mut pending = Vec::new();
        for number in 0..10_000 {
            let key = format!("k{number}");
            let ordinal = desk.store_only(&key);
            desk.store.0.get_mut(&ordinal).unwrap().state = State::Waiting(due);
            pending.push(Pending {
                ordinal,
                seq: Seq(ordinal.0),
                key,
                failures: 1,
                state: PendingState::Waiting { due },
            });
        }
        desk.core.restore(pending);
        desk.run();
        assert_eq!((desk.core.held(), desk.core.waiting()), (0, 10_000), "none of them is in memory");

        desk.sleep();
        assert_eq!(desk.now, due);
        desk.work(|_| Finish::Done);

        assert_eq!(desk.started.len(), 10_000);
        assert_eq!(desk.inflight_most, 2, "retries may take half of the permits");
        assert!(desk.held_most <= desk.core.window());
        desk.assert_empty();
    }
}

#[test]
fn retries_and_fresh_deliveries_take_turns() {
    let mut desk = Desk::new(Settings { concurrency: 1, window: 64, ..settings() });
    let due = desk.now;
    let mut pending = Vec::new();
    for number in 0..2_000 {
        let ordinal = desk.store_only(&format!("k{number}"));
        if number < 1_000 {
            let key = format!("k{number}");
            desk.store.0.get_mut(&ordinal).unwrap().state = State::Waiting(due);
            pending.push(Pending {
                ordinal,
                seq: Seq(ordinal.0),
                key,
                failures: 1,
                state: PendingState::Waiting { due },
            });
        }
    }
    desk.core.restore(pending);

    desk.run();
    for _ in 0..500 {
        let ordinal = *desk.running.keys().next().unwrap();
        desk.finish(ordinal, Finish::Done);
        desk.run();
    }

    let again = desk.started().iter().filter(|&&ordinal| ordinal <= 1_000).count();
    assert!((240..=260).contains(&again), "{again} of 500 starts were retries");
}

#[test]
fn endless_failures_of_some_do_not_hold_up_the_rest() {
    let retry = RetryPolicy { max_attempts: u32::MAX, first: Duration::ZERO, ..settings().retry };
    let mut desk = Desk::new(Settings { concurrency: 2, window: 32, retry, ..settings() });
    for number in 0..5_000 {
        desk.store_only(&format!("k{number}"));
    }
    let mut rounds = 0;

    desk.run();
    while desk.through() < 4_950 {
        let start = desk.running.values().next().cloned().unwrap();
        let how = if start.ordinal.0 % 100 == 0 { FAILED } else { Finish::Done };
        desk.finish(start.ordinal, how);
        desk.run();
        rounds += 1;
    }

    assert!(rounds < 10_000, "{rounds} attempts for 4,950 events: fresh ones get every second turn");
    assert!(desk.held_most <= 32);
}

#[test]
fn an_earlier_time_replaces_the_timer_and_a_later_one_does_not() {
    let mut core = Core::new(settings(), 7);
    let at = |due| PendingState::Waiting { due: Timestamp(due) };
    let waiting = |number, due| {
        vec![Pending {
            ordinal: Ordinal(number),
            seq: Seq(number),
            key: number.to_string(),
            failures: 0,
            state: at(due),
        }]
    };
    let timer = |core: &mut Core<()>, now| {
        let mut out = Vec::new();
        core.poll(Timestamp(now), &mut out);
        out.into_iter().find_map(|action| if let Action::WakeAt(at) = action { Some(at.0) } else { None })
    };

    core.restore(waiting(1, 500));
    assert_eq!(timer(&mut core, 0), Some(500));
    core.restore(waiting(2, 900));
    assert_eq!(timer(&mut core, 1), None, "the timer that runs comes first");
    core.restore(waiting(3, 300));
    assert_eq!(timer(&mut core, 2), Some(300));

    core.woken();
    assert_eq!(timer(&mut core, 299), Some(300), "the clock stood behind the timer: once more");
    assert_eq!(timer(&mut core, 300), Some(500));
}

#[test]
fn what_waits_for_its_time_can_be_had_at_once_and_nothing_else_is_moved_by_that() {
    for order in [Order::Key, Order::None] {
        let mut desk = Desk::new(Settings { order, ..settings() });
        let (waits, runs) = (desk.publish("a"), desk.publish("b"));
        desk.run();
        desk.finish(waits, FAILED);
        desk.run();

        for (ordinal, key) in [(runs, "b"), (waits, "other"), (Ordinal(9), "a")] {
            if order == Order::Key || ordinal != waits {
                desk.core.hasten(ordinal, key);
            }
        }
        desk.run();
        assert_eq!(desk.running(), [2]);
        desk.core.hasten(waits, "a");
        desk.core.hasten(waits, "a");
        desk.run();

        assert_eq!((desk.running(), desk.now), (vec![1, 2], Timestamp(1_000_000)));
        desk.work(|_| Finish::Done);
        desk.assert_empty();
    }
}

#[test]
fn a_repaired_delivery_comes_before_the_later_ones_of_its_key_that_could_start() {
    let mut desk = Desk::new(Settings { concurrency: 1, exhausted: Exhausted::Skip, ..settings() });
    for key in ["a", "b", "a"] {
        desk.publish(key);
    }
    desk.run();
    desk.finish(Ordinal(1), Finish::Dead(DeadReason::Fatal));
    desk.run();
    assert_eq!(desk.running(), [2], "the third has no permit yet");

    desk.repair(Ordinal(1), true);
    desk.work(|_| Finish::Done);

    assert_eq!(desk.started(), [1, 2, 1, 3]);
    desk.assert_empty();
}
