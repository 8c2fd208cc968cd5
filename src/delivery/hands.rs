//! Keys that a person has parked: everything of such a key waits, in order, until a person resumes it.
//!
//! A parked key has a blocker before the first place of the queue. So all of it is treated as behind a dead
//! letter: it is put aside, takes no room in the window, and is brought back in order.

use super::Order;
use super::core::Core;
use super::lanes::{Blocker, Why};
use crate::store::Ordinal;

/// Before every place there is: queues count from one.
const BEFORE_ALL: Ordinal = Ordinal(0);

impl<T> Core<T> {
    /// Lets everything of `key` wait until [`Core::resume_key`]. What runs, runs to its end. Does nothing
    /// without an order by key, or when it is parked already.
    pub fn park_key(&mut self, key: &str) {
        if self.settings.order != Order::Key || self.is_key_parked(key) {
            return;
        }
        let id = self.lanes.of(key);
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.block(Blocker::known(BEFORE_ALL, Why::Hand));
            self.hands += 1;
        }
        self.advance(id);
    }

    /// Lets `key` go on where it stood; what else holds it goes on holding it.
    pub fn resume_key(&mut self, key: &str) {
        if !self.is_key_parked(key) {
            return;
        }
        let Some(id) = self.lanes.find(key) else { return };
        if self.lanes.get_mut(id).and_then(|lane| lane.unblock(BEFORE_ALL)).is_some() {
            self.hands -= 1;
        }
        self.advance(id);
    }

    /// Whether a person has parked `key`.
    pub fn is_key_parked(&self, key: &str) -> bool {
        let lane = self.lanes.find(key).and_then(|id| self.lanes.get(id));
        lane.is_some_and(|lane| lane.blockers.first().is_some_and(|blocker| blocker.why == Why::Hand))
    }

    /// Keys that a person has parked.
    pub fn keys_parked(&self) -> usize {
        self.hands
    }
}
