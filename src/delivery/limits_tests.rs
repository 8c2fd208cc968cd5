//! Breaker, share of the retries, limits that change, keys held by hand, suspects and expiry: one rule each, with
//! the desk of `desk.rs`.

use std::time::Duration;

use super::desk::{Desk, FAILED, settings};
use super::{BreakerSettings, BreakerState, Finish, Order, Settings, Verdict};
use crate::event::Timestamp;
use crate::retry::RetryPolicy;
use crate::store::{DeadReason, Ordinal, Pending, PendingState, Seq};

fn breaking(failures: u32) -> Settings {
    let breaker =
        BreakerSettings { failures, window: Duration::from_secs(1), probe: Duration::from_secs(10) };
    Settings { breaker: Some(breaker), ..settings() }
}

#[test]
fn while_the_breaker_is_open_nothing_starts_and_one_attempt_decides() {
    let mut desk = Desk::new(breaking(4));
    for n in 0..12 {
        desk.publish(&format!("k{n}"));
    }
    desk.run();
    for n in 1..=4 {
        desk.finish(Ordinal(n), FAILED);
    }
    desk.run();
    assert!(desk.running().is_empty() && matches!(desk.core.breaker(), BreakerState::Open { .. }));
    let until = desk.now.plus_millis(10_000);

    while desk.now < until {
        desk.sleep();
    }
    assert_eq!(desk.running().len(), 1, "one of all that could");
    let probe = Ordinal(desk.running()[0]);
    let verdict = desk.finish(probe, FAILED);
    assert!(matches!(verdict, Verdict::Spared { .. }) && !verdict.is_counted(), "{verdict:?}");
    desk.run();
    assert!(desk.running().is_empty());

    let until = desk.now.plus_millis(10_000);
    while desk.now < until {
        desk.sleep();
    }
    assert_ne!(Ordinal(desk.running()[0]), probe, "another one tries");
    desk.work(|_| Finish::Done);
    while desk.core.waiting() > 0 {
        desk.sleep();
        desk.work(|_| Finish::Done);
    }
    assert_eq!(desk.through(), 12);
    let words: Vec<_> = desk.turns.iter().map(|state| state.word()).collect();
    assert_eq!(words, ["open", "half_open", "open", "half_open", "closed"]);
    desk.assert_empty();
}

#[test]
fn a_retry_policy_of_one_try_is_spared_too_while_the_breaker_tries() {
    let retry = RetryPolicy { max_attempts: 1, ..settings().retry };
    let mut desk = Desk::new(Settings { retry, concurrency: 1, ..breaking(1) });
    desk.publish("a");
    desk.publish("b");
    desk.run();
    assert!(matches!(desk.finish(Ordinal(1), FAILED), Verdict::Dead { .. }));
    desk.run();
    desk.sleep();

    assert!(matches!(desk.finish(Ordinal(2), FAILED), Verdict::Spared { .. }));
    desk.run();
    desk.sleep();
    assert_eq!(desk.finish(Ordinal(2), Finish::Done), Verdict::Done);
}

#[test]
fn retries_take_no_more_than_their_share_of_the_permits() {
    for (share, most) in [(0.0, 1), (0.25, 2), (0.3, 3), (1.0, 8)] {
        let mut desk = Desk::new(Settings { concurrency: 8, retry_share: share, ..settings() });
        for n in 0..100 {
            desk.publish(&format!("k{n}"));
        }
        desk.run();
        desk.work(|start| if start.ordinal.0 <= 50 { FAILED } else { Finish::Done });
        desk.sleep();
        assert_eq!(desk.running().len(), most, "{share}: only retries are left");

        for n in 100..200 {
            desk.publish(&format!("k{n}"));
        }
        desk.run();
        let fresh = desk.running.values().filter(|start| start.attempt == 1).count();
        assert_eq!((desk.running().len(), fresh), (8, 8 - most), "{share}: the others have the rest");
        desk.work(|_| Finish::Done);
        desk.assert_empty();
    }
}

#[test]
fn what_is_over_a_lowered_limit_is_given_up_at_once() {
    let retry = RetryPolicy { max_attempts: 10, jitter: 0.0, ..RetryPolicy::default() };
    let mut desk = Desk::new(Settings { retry, ..settings() });
    for key in ["a", "a", "b", "c"] {
        desk.publish(key);
    }
    desk.run();
    desk.finish(Ordinal(1), FAILED);
    desk.run();
    desk.sleep();
    desk.finish(Ordinal(1), FAILED);
    desk.finish(Ordinal(3), FAILED);
    desk.run();
    assert_eq!(desk.given_up, []);

    let lowered = RetryPolicy { max_attempts: 2, ..retry };
    desk.core.set_settings(&Settings { retry: lowered, ..settings() });
    desk.run();

    assert_eq!(desk.given_up, [(Ordinal(1), DeadReason::Attempts)], "3 has failed once only");
    assert_eq!((desk.core.parked(), desk.core.waiting()), (1, 1));
    assert!(!desk.started().contains(&2), "its key waits behind it");
    desk.repair(Ordinal(1), false);
    desk.work(|_| Finish::Done);
    desk.sleep();
    desk.work(|_| Finish::Done);
    desk.assert_empty();
}

#[test]
fn what_is_over_the_limit_at_a_start_is_given_up_before_its_time() {
    for order in [Order::Key, Order::None] {
        let mut desk = Desk::new(Settings { order, ..settings() });
        let due = desk.now.plus_millis(1_000_000);
        let mut pending = Vec::new();
        for failures in 1..=5 {
            let ordinal = desk.store_only(&failures.to_string());
            let row = desk.store.0.get_mut(&ordinal).unwrap();
            (row.state, row.failures, row.attempts) =
                (super::simulation::State::Waiting(due), failures, failures);
            let (seq, key, state) = (Seq(ordinal.0), row.key.clone(), PendingState::Waiting { due });
            pending.push(Pending { ordinal, seq, key, failures, state });
        }

        desk.core.restore(pending);
        desk.run();

        let given_up: Vec<u64> = desk.given_up.iter().map(|(ordinal, _)| ordinal.0).collect();
        assert_eq!((given_up, desk.started().len()), (vec![3, 4, 5], 0), "{order:?}");
        assert_eq!(desk.core.waiting(), 2);
    }
}

#[test]
fn other_limits_hold_from_the_next_start_on() {
    let mut desk = Desk::new(Settings { concurrency: 1, ..breaking(1) });
    for n in 0..20 {
        desk.publish(&format!("k{n}"));
    }
    desk.run();
    desk.finish(Ordinal(1), FAILED);
    desk.run();
    assert!(desk.running().is_empty());

    desk.core.set_settings(&Settings { concurrency: 5, order: Order::None, ..settings() });
    desk.run();

    assert_eq!(desk.running().len(), 5, "without a breaker nothing holds it");
    assert_eq!(desk.turns.last(), Some(&BreakerState::Closed));
    assert_eq!(desk.core.blocked_by("k0"), Some(Ordinal(1)), "the order stays");
}

#[test]
fn a_key_held_by_hand_takes_no_room_and_comes_back_in_order() {
    let mut desk = Desk::new(Settings { window: 16, lane_max: 4, ..settings() });
    desk.core.park_key("held");
    for _ in 0..1_000 {
        desk.publish("held");
    }
    let other = desk.publish("other");
    desk.run();
    assert_eq!(desk.running(), [other.0]);
    desk.work(|_| Finish::Done);
    assert_eq!((desk.core.held(), desk.core.keys_parked(), desk.core.parked()), (0, 1, 0));

    desk.core.resume_key("held");
    desk.core.resume_key("held");
    desk.work(|_| Finish::Done);

    let held: Vec<u64> = desk.started().into_iter().filter(|&ordinal| ordinal != other.0).collect();
    assert!(held.len() == 1_000 && held.is_sorted());
    assert!(desk.held_most <= 16);
    desk.assert_empty();
}

#[test]
fn what_runs_when_its_key_is_parked_runs_to_its_end() {
    let mut desk = Desk::new(settings());
    for _ in 0..3 {
        desk.publish("a");
    }
    desk.run();
    desk.core.park_key("a");
    desk.finish(Ordinal(1), FAILED);
    desk.run();
    desk.now = desk.now.plus_millis(60_000);
    desk.run();
    assert_eq!(desk.started(), [1]);

    desk.core.resume_key("a");
    desk.work(|_| Finish::Done);

    assert_eq!(desk.started(), [1, 1, 2, 3]);
    desk.assert_empty();
}

#[test]
fn suspects_run_one_by_one_and_the_convicted_one_not_at_all() {
    let mut desk = Desk::new(settings());
    desk.core.suspect([Ordinal(1), Ordinal(2)]);
    desk.core.convict(Ordinal(3));
    for key in ["a", "b", "c", "d", "e", "c"] {
        desk.publish(key);
    }

    desk.run();
    assert_eq!((desk.running(), desk.core.is_solo()), (vec![1], true));
    desk.finish(Ordinal(1), FAILED);
    desk.run();
    assert_eq!(desk.running(), [2]);
    assert!(desk.running[&Ordinal(2)].alone);
    desk.finish(Ordinal(2), Finish::Interrupted);
    desk.run();
    assert!(desk.core.is_solo(), "one that was interrupted has not survived");
    while desk.core.is_solo() {
        let ordinal = Ordinal(desk.running()[0]);
        assert_eq!(desk.running().len(), 1);
        desk.finish(ordinal, Finish::Done);
        desk.run();
    }

    assert_eq!(desk.given_up, [(Ordinal(3), DeadReason::Crash)]);
    assert_eq!(desk.core.blocked_by("c"), Some(Ordinal(3)), "its key waits for a person");
}

#[test]
fn suspects_that_cannot_run_do_not_keep_the_others_alone_for_ever() {
    let mut desk = Desk::new(settings());
    desk.core.suspect([Ordinal(1)]);
    desk.core.park_key("held");
    desk.publish("held");
    for n in 0..100 {
        desk.publish(&format!("k{n}"));
    }

    desk.run();
    for _ in 0..4 {
        assert_eq!(desk.running().len(), 1);
        let ordinal = Ordinal(desk.running()[0]);
        desk.finish(ordinal, Finish::Done);
        desk.run();
    }

    assert_eq!((desk.running().len(), desk.core.is_solo()), (4, false));
}

#[test]
fn what_has_expired_takes_no_permit_and_no_start_of_the_rate() {
    let rate = super::Rate { count: 1, per: Duration::from_secs(10), burst: 1 };
    let mut desk = Desk::new(Settings { concurrency: 1, rate: Some(rate), ..settings() });
    for n in 0..100 {
        let expires = (n != 50).then_some(Timestamp(1));
        let ordinal = desk.store_only("a");
        desk.store.expire(ordinal, expires);
        let arrival = desk.store.arrival(ordinal);
        desk.core.appended(arrival);
    }

    desk.run();

    assert_eq!(
        (desk.running(), desk.given_up.len()),
        (vec![51], 50),
        "those behind it are not looked at yet"
    );
    desk.work(|_| Finish::Done);
    desk.sleep();
    assert_eq!(desk.given_up.len(), 99);
    assert!(desk.given_up.iter().all(|(_, reason)| *reason == DeadReason::Expired));
    desk.assert_empty();
}
