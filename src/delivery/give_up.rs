//! What becomes a dead letter without another attempt: it takes no permit and no start of the rate.

use std::sync::Arc;

use super::core::Core;
use super::lanes::{Blocker, Held, LaneId, Why};
use super::{Action, GiveUp, Start};
use crate::store::DeadReason;

impl<T> Held<T> {
    /// As it starts, alone or not.
    pub(super) fn into_start(self, key: Arc<str>) -> Start<T> {
        let Self { ordinal, seq, ready, failures, attempts, class: _, expires: _, item } = self;
        let attempt = attempts.saturating_add(1);
        Start { ordinal, seq, key, attempt, failures, ready, alone: false, item }
    }
}

impl<T> Core<T> {
    /// Gives up a delivery that was taken out of its lane; [`Core::advance`] the lane after that.
    pub(super) fn give_up(&mut self, id: LaneId, held: Held<T>, reason: DeadReason) {
        let Some(lane) = self.lanes.get(id) else { return };
        // Who comes behind one that came too late is not to blame, and loses nothing by going on.
        let parks = self.parks() && reason != DeadReason::Expired;
        let (key, ordinal) = (Arc::clone(&lane.key), held.ordinal);
        if parks {
            self.park(id, Blocker::known(ordinal, Why::Dead));
        }
        self.outbox.push(Action::GiveUp(GiveUp { start: held.into_start(key), reason, parks }));
    }
}
