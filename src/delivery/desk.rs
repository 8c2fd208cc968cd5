//! A desk for the tests of the core: the store behind it answers at once and loses nothing; what happens when it does
//! not is the simulation's part.

use std::collections::BTreeMap;

use super::simulation::{Model, State, Write};
use super::{Action, Arrival, BreakerState, Core, Finish, GiveUp, Mended, Settings, Start, Verdict};
use crate::event::Timestamp;
use crate::retry::RetryPolicy;
use crate::store::{DeadReason, Ordinal};

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

    pub(super) fn mend(&mut self, ordinal: Ordinal, how: Mended) {
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
