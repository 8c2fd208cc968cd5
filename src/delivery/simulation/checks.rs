//! What the history allows: every start and every delivery that is given up is checked.

use super::super::{BreakerState, GiveUp, Order, Start, Verdict};
use super::World;
use super::model::{State, Write};
use crate::store::DeadReason;

impl World {
    pub(super) fn check_start(&mut self, start: &Start<()>) {
        let Start { ordinal, ref key, attempt, failures, .. } = *start;
        self.starts += 1;
        let row = &self.durable.0[&ordinal];
        assert!(!self.paused, "{ordinal:?} started while paused");
        assert!(!self.parked.contains(&**key), "{ordinal:?} started while {key} is parked by hand");
        assert!(
            self.probe.is_none() && !matches!(self.breaker, BreakerState::Open { .. }),
            "{ordinal:?} started in an outage"
        );
        if self.breaker == BreakerState::HalfOpen {
            self.probe = Some(ordinal);
        }
        assert_eq!(start.alone, self.core.is_solo());
        assert!(!start.alone || self.flights.is_empty(), "{ordinal:?} does not run alone");
        assert_ne!(self.convicted, Some(ordinal), "the process has died of {ordinal:?}");
        let is_expired = row.expires.is_some_and(|expires| expires <= self.now);
        assert!(!is_expired || row.reopened, "{ordinal:?} started after it had expired");
        if self.again.remove(&ordinal) {
            self.again_flights.insert(ordinal);
            let count = |number: usize| f64::from(u32::try_from(number).unwrap());
            let share = (count(self.settings.concurrency) * self.settings.retry_share).ceil();
            assert!(count(self.again_flights.len()) <= share, "{:?} come back at once", self.again_flights);
        }
        assert_eq!(*row.key, **key);
        assert!(!self.ended.contains(&ordinal), "{ordinal:?} started after its end");
        assert!(
            !matches!(row.state, State::Through | State::Dead { .. }),
            "{ordinal:?} started after its end on disk"
        );
        assert!(failures < self.settings.retry.max_attempts, "{ordinal:?} started once too often");
        assert!(attempt > row.attempts, "{ordinal:?}: attempt {attempt} after {}", row.attempts);
        let recorded = if let State::Waiting(due) = row.state { Some(due) } else { None };
        let due = self.due.get(&ordinal).copied().or(recorded);
        assert!(due.is_none_or(|due| due <= self.now), "{ordinal:?} started before its time");
        if self.settings.order == Order::Key {
            assert!(!self.flights.values().any(|other| **other == **key), "two of {key} at once");
            for (&earlier, row) in self.durable.0.range(..ordinal).filter(|(_, row)| *row.key == **key) {
                let is_over = match row.state {
                    State::Through | State::Dead { parks: false } => true,
                    State::Dead { parks: true } | State::Ready | State::Deferred | State::Waiting(_) => false,
                };
                let excused = row.reopened || is_over || self.ended.contains(&earlier);
                assert!(excused, "{ordinal:?} of {key} started before {earlier:?} was through");
            }
        }
        self.flights.insert(ordinal, key.to_string());
        assert!(self.flights.len() <= self.settings.concurrency, "too many at once");
    }

    pub(super) fn check_given_up(&mut self, given_up: &GiveUp<()>) {
        let GiveUp { start: Start { ordinal, ref key, failures, .. }, reason, parks } = *given_up;
        let row = &self.durable.0[&ordinal];
        assert_eq!(*row.key, **key);
        assert!(
            !self.flights.contains_key(&ordinal) && !self.ended.contains(&ordinal),
            "{ordinal:?} given up"
        );
        assert!(!self.paused || reason == DeadReason::Attempts, "{ordinal:?} was given up while paused");
        assert!(!matches!(row.state, State::Through | State::Dead { .. }), "{ordinal:?} was given up twice");
        match reason {
            DeadReason::Attempts => assert!(failures >= self.settings.retry.max_attempts),
            DeadReason::Expired => {
                assert!(row.expires.is_some_and(|expires| expires <= self.now) && !row.reopened && !parks);
            }
            DeadReason::Crash => assert_eq!(self.convicted.take(), Some(ordinal)),
            DeadReason::Fatal | DeadReason::Undecodable => panic!("{ordinal:?} given up as {reason:?}"),
        }
        self.again.remove(&ordinal);
        self.due.remove(&ordinal);
        if !parks {
            self.ended.insert(ordinal);
        }
        self.unstaged.push_back(Write::Settle(ordinal, Verdict::Dead { reason, parks }));
    }
}
