//! What a subscription actor does with the store's answers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering as Atomic;

use tracing::error;

use super::reads::{Answer, Found, PENDING_PAGE, Question};
use super::{Arrival, Carried, Subscription, SubscriptionActor};
use crate::event::Envelope;
use crate::step::Lane;
use crate::store::{Pending, PendingState, Queued, StoreError};

impl SubscriptionActor {
    pub(super) fn read(&mut self, Answer { question, found }: Answer) {
        let found = match found {
            Ok(found) => found,
            Err(failure) => return self.broken(&failure),
        };
        match (question, found) {
            (Question::Pending { .. }, Found::Pending(pending)) => self.restore(pending),
            (Question::Queue { after, .. }, Found::Deliveries(found)) => {
                let arrivals = self.arrivals(found);
                self.core.fetched(after, arrivals);
            }
            (Question::Deferred { key, .. }, Found::Deliveries(found)) => {
                let arrivals = self.arrivals(found);
                self.core.fetched_deferred(&key, arrivals);
            }
            (Question::One { ordinal }, Found::Deliveries(found)) => {
                let arrival = self.arrivals(found).pop();
                self.core.loaded(ordinal, arrival);
            }
            // A question gets its own kind of answer (see `reads::find`).
            (_, Found::Pending(_)) | (Question::Pending { .. }, Found::Deliveries(_)) => {}
        }
    }

    /// Takes a page of what was pending; the last page opens the queue.
    pub(super) fn restore(&mut self, pending: Vec<Pending>) {
        let last = pending.last().map(|pending| pending.ordinal);
        let is_last_page = pending.len() < PENDING_PAGE;
        for Pending { ordinal, key, state, .. } in &pending {
            if matches!(state, PendingState::Dead { parks: true }) {
                self.port.park(key, *ordinal);
            }
        }
        self.core.restore(pending);
        match last {
            Some(after) if !is_last_page => self.ask(Question::Pending { after }),
            _ => {
                self.is_restored = true;
                // Only what is known to exist: the core takes an empty answer as proof that all it was told
                // of is through. That there may be more before the first read it knows by itself.
                self.noticed();
                for repaired in std::mem::take(&mut self.early_repairs) {
                    self.repaired(repaired);
                }
                for (ordinal, key) in std::mem::take(&mut self.early_hastes) {
                    self.core.hasten(ordinal, &key);
                }
            }
        }
    }

    pub(super) fn broken(&mut self, failure: &StoreError) {
        error!(subscription = self.wired.name, error = %failure, "cannot read the store; the subscription stops");
        self.port.shared.broken.store(true, Atomic::Release);
        self.core.drain();
    }

    pub(super) fn arrivals(&self, found: Vec<Queued>) -> Vec<Arrival<Carried>> {
        let arrival = |Queued { ordinal, seq, event, ready, failures, attempts, retried, generation }| {
            let Lane { key, decoded } = self.wired.lane(&event);
            // A person who has it tried again after its time wants it to run.
            let expires = event.expires().filter(|_| !retried && generation == 0);
            let item = Carried { event, decoded, generation };
            Arrival { ordinal, seq, key, ready, failures, attempts, retried, expires, item }
        };
        found.into_iter().map(arrival).collect()
    }
}

impl Subscription {
    /// The lane as the step tells it. Where the step cannot (the payload is not what it expects),
    /// the event's own key has to do; the attempt will say what is wrong.
    pub(crate) fn lane(&self, event: &Envelope) -> Lane {
        let told = catch_unwind(AssertUnwindSafe(|| self.step.lane(event)));
        match told {
            Ok(Ok(lane)) => return lane,
            Ok(Err(_)) => {}
            Err(_) => error!(step = self.step.name(), event = event.id, "the step's key() panicked"),
        }
        Lane { key: event.key.clone(), decoded: None }
    }
}
