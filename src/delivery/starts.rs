//! What a subscription actor does with what the core wants started.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::Attempt;
use super::{Carried, Start, SubscriptionActor};
use crate::step::Cancellation;

impl SubscriptionActor {
    pub(super) fn start(&mut self, start: Start<Carried>) {
        let Start { ordinal, seq, key, attempt, ready, item, failures: _, alone: _ } = start;
        let Carried { event, decoded, generation } = item;
        let cancelled = Cancellation::default();
        self.running.insert(ordinal, cancelled.clone());
        let waited = Duration::from_millis(self.clock.now().millis_since(ready));
        self.starting_now.push(Attempt {
            ordinal,
            seq,
            event,
            decoded,
            generation,
            number: attempt,
            waited,
            timeout: self.wired.timeout,
            state: self.states.get(&key),
            is_read: false,
            key,
            cancelled,
            at: Arc::clone(&self.at),
        });
    }

    /// Notes what starts now as running. What belongs to a flow that is being undone has ended with that: it is noted
    /// before it is looked at (see [`Compensations`](super::Compensations)).
    pub(super) fn note_started(&mut self) {
        if self.starting_now.is_empty() {
            return;
        }
        self.port.started(self.clock.now(), self.starting_now.iter().map(Attempt::tried));
        let compensations = &self.compensations;
        for attempt in self.starting_now.extract_if(.., |attempt| compensations.hold(&attempt.event)) {
            self.at.ended(attempt.held());
        }
    }
}
