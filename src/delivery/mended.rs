//! Dead letters that a person has repaired, and deliveries that need not wait any more.
//!
//! A repair is told when its commit is on disk, and what it changed can be read before. So a core that has just
//! started may have read a repaired delivery, and even have attempted it, when it is told of the repair. What
//! comes of an attempt is recorded in a later commit than the repair and told after it: until then the core
//! knows such a delivery by its ordinal, and is not told anything new.

use super::core::Core;
use super::lanes::{Blocker, Lane, LaneId, Why};
use super::{Arrival, Mended, Order};
use crate::store::Ordinal;

impl<T> Core<T> {
    /// Notes a delivery that is taken in hand, if a person has had it tried again.
    pub(super) fn note_mended(&mut self, arrival: &Arrival<T>) {
        if arrival.retried {
            self.mended.insert(arrival.ordinal);
        }
    }

    /// What came of a delivery is recorded: what is told of it from now on is new.
    pub(super) fn forget_mended(&mut self, ordinal: Ordinal) {
        // Nearly always nothing was repaired, and this is asked for each delivery.
        if !self.mended.is_empty() {
            self.mended.remove(&ordinal);
        }
    }

    /// An operator's act on a dead letter: call it when the receipt of its
    /// [`Change::Repair`](crate::store::Change::Repair) is in. What takes the place of the dead letter comes
    /// before the later ones of its key, also when it waits for its time. Returns `false` when the core has it in
    /// hand already, as the repair left it.
    pub fn repaired(&mut self, ordinal: Ordinal, key: &str, mended: Mended) -> bool {
        if self.mended.contains(&ordinal) {
            return false;
        }
        let found = self.lane_at(ordinal, key);
        if let Some(lane) = found.and_then(|id| self.lanes.get_mut(id)) {
            let is_dead = |blocker: &Blocker| blocker.ordinal == ordinal && blocker.why == Why::Dead;
            if lane.blockers.iter().any(is_dead) {
                lane.unblock(ordinal);
                self.parked -= 1;
            }
        }
        let is_back = |lane: &Lane<T>| lane.blockers.iter().any(|blocker| blocker.ordinal == ordinal);
        let is_known = self.loading.contains_key(&ordinal)
            || found.and_then(|id| self.lanes.get(id)).is_some_and(is_back);
        let why = match mended {
            Mended::Released => None,
            Mended::Again => Some(Why::Due),
            Mended::AgainAt(due) => Some(Why::Waiting(due)),
        };
        if let Some(why) = why.filter(|_| !is_known) {
            self.reading.note_recorded(ordinal);
            let id = found.unwrap_or_else(|| self.lane_for(key));
            self.wait(id, Blocker::known(ordinal, why));
            self.advance(id);
        } else if let Some(id) = found {
            self.advance(id);
        }
        true
    }

    /// A delivery that waits for its time need not wait any more: it is read again when it is its turn. Without
    /// effect when it does not wait.
    pub fn hasten(&mut self, ordinal: Ordinal, key: &str) {
        let Some(id) = self.lane_at(ordinal, key) else { return };
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let waiting = lane.blockers.iter_mut().find(|blocker| blocker.ordinal == ordinal);
        if let Some(blocker) = waiting.filter(|blocker| matches!(blocker.why, Why::Waiting(_))) {
            blocker.why = Why::Due;
            self.advance(id);
        }
    }

    /// The lane of `key`; without an order by key that in which the delivery waits for its time.
    fn lane_at(&self, ordinal: Ordinal, key: &str) -> Option<LaneId> {
        match self.settings.order {
            Order::Key => self.lanes.find(key),
            Order::None => self.schedule.lane_of(ordinal),
        }
    }
}
