//! The rules of the core, one test each. The store behind it answers at once and loses nothing; what happens
//! when it does not is the simulation's part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::simulation::{Model, State, Write};
use super::{
    Action, Arrival, BreakerState, Core, Finish, GiveUp, Mended, Order, Rate, Settings, Start, Verdict,
};
use crate::event::Timestamp;
use crate::retry::{Exhausted, RetryPolicy};
use crate::store::{DeadReason, Ordinal, Pending, PendingState, Seq};

/// A core with a store that answers at once.
pub(super) struct Desk {
    pub(super) core: Core<()>,
    pub(super) store: Model,
    pub(super) now: Timestamp,
    pub(super) running: BTreeMap<Ordinal, Start<()>>,
    /// In the order of starting.
    pub(super) started: Vec<(Ordinal, Timestamp)>,
    pub(super) wake: Option<Timestamp>,
    pub(super) given_up: Vec<(Ordinal, DeadReason)>,
    pub(super) turns: Vec<BreakerState>,
    pub(super) deferred: usize,
    pub(super) fetches: usize,
    /// The most that one answer has.
    pub(super) page: usize,
    pub(super) held_most: usize,
    pub(super) inflight_most: usize,
    pub(super) lanes_most: usize,
}

impl Desk {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            core: Core::new(settings, 7),
            store: Model::default(),
            now: Timestamp(1_000_000),
            running: BTreeMap::new(),
            started: Vec::new(),
            wake: None,
            given_up: Vec::new(),
            turns: Vec::new(),
            deferred: 0,
            fetches: 0,
            page: usize::MAX,
            held_most: 0,
            inflight_most: 0,
            lanes_most: 0,
        }
    }

    /// Publishes one event and hands it over.
    pub(super) fn publish(&mut self, key: &str) -> Ordinal {
        let ordinal = self.store_only(key);
        self.core.appended(self.store.arrival(ordinal));
        ordinal
    }

    /// Publishes one event; the core knows nothing of it.
    pub(super) fn store_only(&mut self, key: &str) -> Ordinal {
        self.store.apply(&Write::Publish(key.to_owned(), None));
        Ordinal(self.store.0.len() as u64)
    }

    /// Polls and answers until nothing more comes out.
    pub(super) fn run(&mut self) {
        let mut out = Vec::new();
        loop {
            self.core.poll(self.now, &mut out);
            if out.is_empty() {
                return;
            }
            for action in std::mem::take(&mut out) {
                self.carry_out(action);
            }
            self.held_most = self.held_most.max(self.core.held());
            self.inflight_most = self.inflight_most.max(self.core.inflight());
            self.lanes_most = self.lanes_most.max(self.core.lanes());
        }
    }

    pub(super) fn carry_out(&mut self, action: Action<()>) {
        match action {
            Action::Fetch { after, limit } => {
                self.fetches += 1;
                let found = self.find(limit, |ordinal, state, _| ordinal > after && state == State::Ready);
                self.core.fetched(after, found);
            }
            Action::FetchDeferred { key, limit } => {
                let listed = self.store.deferred(&key).into_iter().take(limit.min(self.page));
                let found = listed.map(|ordinal| self.store.arrival(ordinal)).collect();
                self.core.fetched_deferred(&key, found);
            }
            Action::Load { ordinal } => {
                let arrival = self.store.arrival(ordinal);
                self.core.loaded(ordinal, Some(arrival));
            }
            Action::Start(start) => {
                self.started.push((start.ordinal, self.now));
                self.running.insert(start.ordinal, start);
            }
            Action::GiveUp(given_up) => {
                let GiveUp { start, reason, parks } = given_up;
                self.given_up.push((start.ordinal, reason));
                self.store.apply(&Write::Settle(start.ordinal, Verdict::Dead { reason, parks }));
                self.core.settled(start.ordinal);
            }
            Action::Breaker(state) => self.turns.push(state),
            Action::Defer { ordinal, .. } => {
                self.deferred += 1;
                self.store.apply(&Write::Defer(ordinal));
                self.core.settled(ordinal);
            }
            Action::WakeAt(at) => self.wake = Some(at),
        }
    }

    pub(super) fn find(&self, limit: usize, fits: impl Fn(Ordinal, State, &str) -> bool) -> Vec<Arrival<()>> {
        let found = self.store.0.iter().filter(|&(&ordinal, row)| fits(ordinal, row.state, &row.key));
        found.map(|(&ordinal, _)| self.store.arrival(ordinal)).take(limit.min(self.page)).collect()
    }

    pub(super) fn finish(&mut self, ordinal: Ordinal, how: Finish) -> Verdict {
        assert!(self.running.remove(&ordinal).is_some(), "{ordinal:?} does not run");
        let verdict = self.core.finished(ordinal, how, self.now);
        if verdict != Verdict::Nothing {
            self.store.apply(&Write::Settle(ordinal, verdict));
            self.core.settled(ordinal);
        }
        verdict
    }

    /// Finishes what runs, again and again, as `how` says, until nothing runs.
    pub(super) fn work(&mut self, mut how: impl FnMut(&Start<()>) -> Finish) {
        self.run();
        while let Some(start) = self.running.values().next().cloned() {
            self.finish(start.ordinal, how(&start));
            self.run();
        }
    }

    pub(super) fn repair(&mut self, ordinal: Ordinal, retry: bool) {
        self.mend(ordinal, if retry { Mended::Again } else { Mended::Released });
    }

    fn mend(&mut self, ordinal: Ordinal, how: Mended) {
        self.store.apply(&Write::Repair(ordinal, how));
        let key = self.store.0[&ordinal].key.clone();
        self.core.repaired(ordinal, &key, how);
    }

    /// Moves the time to the timer that was asked for.
    pub(super) fn sleep(&mut self) {
        self.now = self.wake.take().expect("a timer was asked for").max(self.now);
        self.run();
    }

    pub(super) fn running(&self) -> Vec<u64> {
        self.running.keys().map(|ordinal| ordinal.0).collect()
    }

    pub(super) fn started(&self) -> Vec<u64> {
        self.started.iter().map(|(ordinal, _)| ordinal.0).collect()
    }

    pub(super) fn through(&self) -> usize {
        self.store.0.values().filter(|row| row.state == State::Through).count()
    }

    pub(super) fn assert_empty(&self) {
        let core = &self.core;
        assert_eq!((core.lanes(), core.held(), core.waiting(), core.parked()), (0, 0, 0, 0));
        assert!(core.is_idle());
    }
}

pub(super) const FAILED: Finish = Finish::Failed { retry_after: None };

pub(super) fn settings() -> Settings {
    let retry = RetryPolicy { max_attempts: 3, jitter: 0.0, ..RetryPolicy::default() };
    Settings { concurrency: 4, retry, ..Settings::default() }
}

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
