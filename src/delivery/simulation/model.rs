//! The plain model of a store: what is written, and what a question finds.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Arrival, Mended, Verdict};
use crate::event::Timestamp;
use crate::store::{Ordinal, Pending, PendingState, Seq};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::delivery) enum State {
    Ready,
    Deferred,
    Waiting(Timestamp),
    Through,
    Dead { parks: bool },
}

#[derive(Debug, Clone)]
pub(in crate::delivery) struct Row {
    pub(in crate::delivery) key: String,
    pub(in crate::delivery) state: State,
    pub(in crate::delivery) failures: u32,
    pub(in crate::delivery) attempts: u32,
    pub(super) expires: Option<Timestamp>,
    /// It was repaired: later ones of its key may have been handled before.
    pub(super) reopened: bool,
}

#[derive(Debug, Clone)]
pub(in crate::delivery) enum Write {
    Publish(String, Option<Timestamp>),
    Settle(Ordinal, Verdict),
    Defer(Ordinal),
    Repair(Ordinal, Mended),
}

/// What a store keeps for one subscription, in the plainest form.
#[derive(Debug, Clone, Default)]
pub(in crate::delivery) struct Model(pub(in crate::delivery) BTreeMap<Ordinal, Row>);

impl Model {
    pub(in crate::delivery) fn apply(&mut self, write: &Write) {
        match write {
            Write::Publish(key, expires) => {
                let ordinal = Ordinal(self.0.len() as u64 + 1);
                let state = State::Ready;
                let (key, expires) = (key.clone(), *expires);
                self.0
                    .insert(ordinal, Row { key, state, failures: 0, attempts: 0, expires, reopened: false });
            }
            Write::Settle(ordinal, verdict) => self.settle(*ordinal, *verdict),
            Write::Defer(ordinal) => {
                let row = self.0.get_mut(ordinal).expect("deferred what there is");
                assert_eq!(row.state, State::Ready, "{ordinal:?} was put aside");
                row.state = State::Deferred;
            }
            Write::Repair(ordinal, how) => {
                let row = self.0.get_mut(ordinal).expect("repaired what there is");
                if matches!(row.state, State::Dead { .. }) {
                    row.state = match how {
                        Mended::Released => State::Through,
                        Mended::Again => State::Ready,
                        Mended::AgainAt(due) => State::Waiting(*due),
                    };
                    row.failures = 0;
                    row.reopened = true;
                }
            }
        }
    }

    /// Gives a delivery a time after which it is of no use.
    pub(in crate::delivery) fn expire(&mut self, ordinal: Ordinal, expires: Option<Timestamp>) {
        self.0.get_mut(&ordinal).expect("expires what there is").expires = expires;
    }

    pub(super) fn settle(&mut self, ordinal: Ordinal, verdict: Verdict) {
        let row = self.0.get_mut(&ordinal).expect("settled what there is");
        assert!(!matches!(row.state, State::Through | State::Dead { .. }), "{ordinal:?} was settled twice");
        row.attempts += 1;
        row.failures += u32::from(verdict.is_counted());
        row.state = match verdict {
            Verdict::Done | Verdict::Skipped => State::Through,
            Verdict::Retry { due } | Verdict::Spared { due } | Verdict::Snooze { due } => State::Waiting(due),
            Verdict::Dead { parks, .. } => State::Dead { parks },
            Verdict::Nothing => row.state,
        };
    }

    /// What is put aside of `key`, also behind one that waits or is dead: whose turn it is, the core knows.
    pub(in crate::delivery) fn deferred(&self, key: &str) -> Vec<Ordinal> {
        let is_aside = |row: &Row| row.key == key && row.state == State::Deferred;
        self.0.iter().filter(|(_, row)| is_aside(row)).map(|(&ordinal, _)| ordinal).collect()
    }

    pub(in crate::delivery) fn arrival(&self, ordinal: Ordinal) -> Arrival<()> {
        let row = &self.0[&ordinal];
        Arrival {
            ordinal,
            seq: Seq(ordinal.0),
            key: row.key.clone(),
            ready: Timestamp(0),
            failures: row.failures,
            attempts: row.attempts,
            retried: row.reopened,
            expires: row.expires.filter(|_| !row.reopened),
            item: (),
        }
    }

    pub(in crate::delivery) fn pending(&self, lists_all: bool) -> Vec<Pending> {
        let mut keys = BTreeSet::new();
        let mut pending = Vec::new();
        for (&ordinal, row) in &self.0 {
            let state = match row.state {
                State::Deferred if keys.insert(&row.key) || lists_all => PendingState::Deferred,
                State::Ready | State::Through | State::Deferred => continue,
                State::Waiting(due) => PendingState::Waiting { due },
                State::Dead { parks } => PendingState::Dead { parks },
            };
            let failures = if matches!(state, PendingState::Waiting { .. }) { row.failures } else { 0 };
            pending.push(Pending { ordinal, seq: Seq(ordinal.0), key: row.key.clone(), failures, state });
        }
        pending
    }
}
