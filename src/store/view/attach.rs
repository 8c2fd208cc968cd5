//! Attach: a subscription that comes, or changes its patterns, while events are on their way.
//!
//! The routes of an event are decided before its change gets here. For a moment after a subscription was
//! attached there still come events that were routed by the wiring of before: without help it would have a
//! gap between what it looked back on and what is routed to it. So for that moment the patterns are asked
//! here as well, and what is found is stored as a route like any other: nothing of this is on disk.

use super::View;
use crate::event::{Filter, PatternSet, Timestamp};
use crate::store::{Routed, SubscriptionId};

/// How long events may still come that were routed by the wiring of before. Between an event's routing and
/// its stage there is one hand-over and at most the group before it.
const GRACE_MS: u64 = 2_000;

/// A subscription that was attached a moment ago.
#[derive(Debug)]
pub(super) struct Attached {
    id: SubscriptionId,
    on: PatternSet,
    filter: Filter,
    until: Timestamp,
}

impl View {
    /// Notes that a subscription was attached while others publish.
    pub(super) fn note_attached(&mut self, id: SubscriptionId, on: &[String], filter: Filter) {
        self.forget_attached(id);
        // Patterns are checked where the config is read; one that is malformed belongs to no event.
        let on = PatternSet::parse(on).unwrap_or_default();
        let until = self.head.at.plus_millis(GRACE_MS);
        self.attached.push(Attached { id, on, filter, until });
    }

    pub(super) fn forget_attached(&mut self, id: SubscriptionId) {
        self.attached.retain(|attached| attached.id != id);
    }

    /// Adds the routes that the wiring of before could not know.
    pub(super) fn complete_routes(&mut self, routed: &mut Routed) {
        if self.attached.is_empty() {
            return;
        }
        let now = self.head.at;
        self.attached.retain(|attached| now <= attached.until);
        for Attached { id, on, filter, until: _ } in &self.attached {
            let is_decided = routed.routes.contains(id) || routed.filtered.contains(id);
            if is_decided || !on.matches(&routed.event.name) {
                continue;
            }
            let into = if filter.takes(&routed.event) { &mut routed.routes } else { &mut routed.filtered };
            into.push(*id);
            into.sort_unstable();
        }
    }
}
