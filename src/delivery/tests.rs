//! Lanes and permits: what may run beside what, one rule each.

use std::collections::BTreeSet;
use std::time::Duration;

use super::desk::{Desk, FAILED, settings};
use super::simulation::{State, Write};
use super::{Action, Finish, Order, Rate, Settings, Verdict};
use crate::retry::RetryPolicy;
use crate::store::{DeadReason, Ordinal, Pending, PendingState, Seq};

#[test]
fn one_of_a_key_runs_at_a_time_and_different_keys_up_to_the_concurrency() {
    let mut desk = Desk::new(settings());
    for key in ["a", "a", "b", "b", "c", "d", "e"] {
        desk.publish(key);
    }

    desk.run();
    assert_eq!(desk.running(), [1, 3, 5, 6], "one of each of four keys");

    desk.work(|_| Finish::Done);
    let (started, at) =
        (desk.started(), |ordinal| desk.started().iter().position(|&o| o == ordinal).unwrap());
    assert_eq!(started.len(), 7);
    assert!(at(1) < at(2) && at(3) < at(4), "{started:?}");
    desk.assert_empty();
}

#[test]
fn without_order_only_the_concurrency_limits() {
    let mut desk = Desk::new(Settings { order: Order::None, ..settings() });
    for _ in 0..10 {
        desk.publish("a");
    }

    desk.run();
    assert_eq!(desk.running(), [1, 2, 3, 4]);
    desk.finish(Ordinal(2), Finish::Dead(DeadReason::Fatal));
    desk.work(|_| Finish::Done);

    assert_eq!(desk.through(), 9);
    desk.assert_empty();
}

#[test]
fn the_next_of_a_key_starts_when_its_predecessor_is_finished_not_when_that_is_durable() {
    let mut desk = Desk::new(settings());
    desk.publish("a");
    desk.publish("a");
    desk.run();

    desk.core.finished(Ordinal(1), Finish::Done, desk.now);
    desk.run();

    assert_eq!(desk.started(), [1, 2]);
}

#[test]
fn a_delivery_that_waits_holds_its_key_only_and_no_permit() {
    let mut desk = Desk::new(Settings { concurrency: 1, ..settings() });
    for key in ["a", "a", "b", "c"] {
        desk.publish(key);
    }
    desk.run();

    let verdict = desk.finish(Ordinal(1), FAILED);
    assert_eq!(verdict, Verdict::Retry { due: desk.now.plus_millis(500) });
    desk.work(|_| Finish::Done);
    assert_eq!(desk.started(), [1, 3, 4], "others pass, the next of the key does not");
    assert_eq!(desk.core.inflight(), 0);
    assert_eq!(desk.core.blocked_by("a"), Some(Ordinal(1)));

    desk.sleep();
    desk.work(|_| Finish::Done);
    assert_eq!(desk.started(), [1, 3, 4, 1, 2]);
    desk.assert_empty();
}

#[test]
fn a_blocked_lane_does_not_fill_the_window() {
    let mut desk = Desk::new(Settings { window: 16, lane_max: 4, ..settings() });
    for _ in 0..1_000 {
        desk.publish("sick");
    }
    let other = desk.publish("well");
    desk.run();

    desk.finish(Ordinal(1), FAILED);
    desk.run();
    assert!(desk.running.contains_key(&other), "a thousand of another key are in its way");
    assert!(desk.held_most <= 16);
    assert_eq!(desk.core.held(), 1, "nothing of the blocked lane is in memory");

    desk.finish(other, Finish::Done);
    desk.sleep();
    desk.work(|_| Finish::Done);
    let sick: Vec<u64> = desk.started().into_iter().filter(|&ordinal| ordinal != other.0).collect();
    assert_eq!(sick[0..2], [1, 1]);
    assert!(sick[1..].is_sorted(), "back in order");
    assert!(desk.held_most <= 16);
    desk.assert_empty();
}

#[test]
fn reading_waits_when_the_store_does_not_keep_up_with_what_is_put_aside() {
    let mut desk = Desk::new(Settings { window: 16, ..settings() });
    for _ in 0..10_000 {
        desk.store_only("sick");
    }
    let dead = PendingState::Dead { parks: true };
    desk.core.restore(vec![Pending {
        ordinal: Ordinal(1),
        seq: Seq(1),
        key: "sick".to_owned(),
        failures: 0,
        state: dead,
    }]);

    let mut unconfirmed = Vec::new();
    let mut out = Vec::new();
    loop {
        desk.core.poll(desk.now, &mut out);
        if out.is_empty() {
            break;
        }
        for action in out.drain(..) {
            if let Action::Defer { ordinal, .. } = action {
                unconfirmed.push(ordinal);
                desk.store.apply(&Write::Defer(ordinal));
            } else if let Action::Fetch { after, limit } = action {
                let found = desk.find(limit, |ordinal, _, _| ordinal > after);
                desk.core.fetched(after, found);
            }
        }
    }
    assert!((16..32).contains(&unconfirmed.len()), "{} at once", unconfirmed.len());

    for ordinal in unconfirmed {
        desk.core.settled(ordinal);
    }
    desk.run();
    let ready = desk.store.0.values().filter(|row| row.state == State::Ready).count();
    assert_eq!(ready, 1, "all but the dead one are put aside in the end");
}

#[test]
fn what_is_over_the_limit_of_a_busy_lane_waits_in_the_store_and_all_after_it_too() {
    let mut desk = Desk::new(Settings { lane_max: 2, ..settings() });
    for _ in 0..4 {
        desk.publish("a");
        desk.run();
    }
    assert_eq!((desk.core.held(), desk.deferred), (3, 1), "one runs, two are held, the fourth is put aside");

    desk.finish(Ordinal(1), Finish::Done);
    desk.publish("a");

    desk.run();
    assert_eq!(desk.deferred, 2, "there is room, but the fourth comes before it");
    desk.work(|_| Finish::Done);
    assert_eq!(desk.started(), [1, 2, 3, 4, 5]);
    desk.publish("a");
    desk.work(|_| Finish::Done);
    assert_eq!(desk.deferred, 2, "with all of them back the lane is as it was");
    desk.assert_empty();
}

#[test]
fn long_lanes_stay_in_memory_while_every_permit_is_taken() {
    let mut desk = Desk::new(Settings { concurrency: 2, window: 64, lane_max: 4, ..settings() });
    for number in 0..1_000 {
        desk.store_only(if number % 2 == 0 { "a" } else { "b" });
    }
    desk.core.noticed(Ordinal(1_000));

    desk.run();
    for _ in 0..400 {
        let running: Vec<Ordinal> = desk.running.keys().copied().collect();
        for ordinal in running {
            desk.finish(ordinal, Finish::Done);
        }
        desk.run();
    }

    assert_eq!(desk.deferred, 0, "two keys keep two permits busy: nothing else could run");
    assert!(desk.held_most <= 64);
}

#[test]
fn a_long_lane_gives_way_when_a_permit_is_free() {
    let mut desk = Desk::new(Settings { concurrency: 2, window: 64, lane_max: 4, ..settings() });
    for _ in 0..1_000 {
        desk.store_only("long");
    }
    let other = desk.store_only("other");
    desk.core.noticed(other);

    desk.run();

    assert!(desk.running.contains_key(&other), "a thousand of another key are in its way");
    assert!(desk.held_most <= 64);
    desk.work(|_| Finish::Done);
    let long: Vec<u64> = desk.started().into_iter().filter(|&ordinal| ordinal != other.0).collect();
    assert!(long.is_sorted() && long.len() == 1_000);
    desk.assert_empty();
}

#[test]
fn a_hundred_thousand_keys_that_pass_leave_nothing_behind() {
    let mut desk = Desk::new(settings());
    for number in 0..100_000 {
        let ordinal = desk.publish(&format!("k{number}"));
        desk.run();
        desk.finish(ordinal, Finish::Done);
    }
    desk.run();

    assert!(desk.lanes_most <= 4, "{} lanes at once", desk.lanes_most);
    assert_eq!(desk.started.len(), 100_000);
    desk.assert_empty();
}

#[test]
fn the_same_calls_give_the_same_actions() {
    let play = || {
        let retry = RetryPolicy { jitter: 1.0, ..settings().retry };
        let mut desk = Desk::new(Settings { retry, ..settings() });
        for number in 0..300 {
            desk.publish(&format!("k{}", number % 7));
        }
        desk.work(|start| if start.ordinal.0.is_multiple_of(5) { FAILED } else { Finish::Done });
        while desk.core.waiting() > 0 {
            desk.sleep();
            desk.work(|_| Finish::Done);
        }
        desk.started
    };

    let first = play();

    assert_eq!(first.iter().map(|(ordinal, _)| ordinal).collect::<BTreeSet<_>>().len(), 300);
    assert_eq!(first, play());
}

#[test]
fn limits_can_change_while_it_runs() {
    let mut desk = Desk::new(Settings { concurrency: 1, ..settings() });
    for number in 0..10 {
        desk.publish(&format!("k{number}"));
    }
    desk.run();
    assert_eq!(desk.running().len(), 1);

    desk.core.set_limits(3, None);
    desk.run();
    assert_eq!(desk.running().len(), 3);

    desk.core.set_limits(1, None);
    desk.finish(Ordinal(1), Finish::Done);
    desk.run();
    assert_eq!(desk.running().len(), 2, "nothing new until there are fewer than allowed");
}

#[test]
fn while_paused_nothing_starts_and_arrivals_stay_in_the_store() {
    let mut desk = Desk::new(settings());
    desk.core.pause(true);
    for number in 0..100 {
        desk.publish(&format!("k{number}"));
    }

    desk.run();
    assert_eq!((desk.started.len(), desk.core.held(), desk.fetches), (0, 0, 0));
    assert!(desk.core.is_idle());

    desk.core.pause(false);
    desk.work(|_| Finish::Done);
    assert_eq!(desk.through(), 100);
    desk.assert_empty();
}

#[test]
fn never_more_starts_than_the_burst_and_the_rate_allow() {
    let rate = Rate { count: 50, per: Duration::from_secs(1), burst: 5 };
    let mut desk = Desk::new(Settings { rate: Some(rate), ..settings() });
    let begin = desk.now;
    for number in 0..200 {
        desk.publish(&format!("k{number}"));
    }

    desk.work(|_| Finish::Done);
    while desk.started.len() < 200 {
        assert!(desk.core.inflight() == 0, "who waits for the rate holds no permit");
        desk.sleep();
        desk.work(|_| Finish::Done);
    }

    for (number, (_, at)) in desk.started.iter().enumerate() {
        let allowed = 5 + at.millis_since(begin) * 50 / 1_000;
        assert!((number as u64) < allowed, "{number} starts at {at:?}");
    }
    assert_eq!(desk.now.millis_since(begin), 195 * 20, "and not slower either");
}
