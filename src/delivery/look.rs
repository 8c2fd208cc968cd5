//! Look: how a subscription stands, for whoever shows or explains it.

use std::sync::PoisonError;

use super::{BreakerState, Order, Port};
use crate::event::Timestamp;
use crate::store::{Ordinal, Seq};

/// An attempt that runs; it counts as running until its outcome is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningAttempt {
    /// The event.
    pub seq: Seq,
    /// Number of the attempt, from one.
    pub number: u32,
    /// When it started.
    pub since: Timestamp,
}

/// How a subscription stands, as its actor saw it last. What the bus has asked for and the actor has not
/// taken up yet is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct PortLook {
    /// Whether deliveries of one key wait for each other.
    pub order: Order,
    /// Attempts that may run at once.
    pub concurrency: usize,
    /// Attempts that hold a permit: those whose step has not returned.
    pub running: usize,
    /// Of the permits, those that deliveries which come back may take and have taken.
    pub retries: (usize, usize),
    /// All tries that a delivery has.
    pub max_attempts: u32,
    /// Deliveries that wait for a retry, a snooze, or their turn after it.
    pub waiting: usize,
    /// When the next attempt may start, if only the rate is in its way.
    pub next_start: Option<Timestamp>,
    /// Where the breaker stands; closed when there is none.
    pub breaker: BreakerState,
    /// A person has paused it.
    pub paused: bool,
    /// A person has paused the whole bus.
    pub bus_paused: bool,
    /// It starts nothing any more: the process ends, or the store could not be read.
    pub draining: bool,
    /// So many outcomes wait for the disk that nothing is started.
    pub disk_behind: bool,
    /// One attempt runs at a time, because the process may have died of one.
    pub solo: bool,
}

/// What holds a key back that waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// A person has parked it.
    Hand,
    /// The dead letter at this place of the queue, the first of its key.
    DeadLetter(Ordinal),
}

impl Port {
    /// How the subscription stands. Costs one short lock.
    pub fn look(&self) -> PortLook {
        self.shared.look.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The attempt of `seq` that runs now.
    pub fn attempt(&self, seq: Seq) -> Option<RunningAttempt> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner).get(&seq).copied()
    }

    /// All attempts that run now, the longest first.
    pub fn attempts(&self) -> Vec<RunningAttempt> {
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempts: Vec<RunningAttempt> = running.values().copied().collect();
        drop(running);
        attempts.sort_unstable_by_key(|attempt| (attempt.since, attempt.seq));
        attempts
    }

    /// What holds `key` back until a person acts: a hand before a dead letter.
    pub fn holder_of(&self, key: &str) -> Option<Holder> {
        if self.shared.hands.lock().unwrap_or_else(PoisonError::into_inner).contains(key) {
            return Some(Holder::Hand);
        }
        self.letter_of(key).map(Holder::DeadLetter)
    }

    /// The place of the first dead letter that `key` waits behind.
    pub fn letter_of(&self, key: &str) -> Option<Ordinal> {
        let parked = self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.get(key).and_then(|letters| letters.first()).copied()
    }

    /// The keys that wait behind a dead letter, with the first of their dead letters, in order.
    pub fn keys_behind_letters(&self) -> Vec<(String, Ordinal)> {
        let parked = self.shared.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let first = |(key, letters): (&String, &std::collections::BTreeSet<Ordinal>)| {
            letters.first().map(|letter| (key.clone(), *letter))
        };
        let mut keys: Vec<(String, Ordinal)> = parked.iter().filter_map(first).collect();
        drop(parked);
        keys.sort_unstable();
        keys
    }

    /// Resolves when the subscription is paused and no attempt of it runs. Cancel-safe.
    pub async fn drained(&self) {
        loop {
            let moved = self.shared.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let look = self.look();
            let is_still = look.paused || look.bus_paused || look.draining || self.is_broken();
            if is_still && look.running == 0 && self.inflight() == 0 {
                return;
            }
            moved.await;
        }
    }
}
