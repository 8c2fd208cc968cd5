//! What a subscription actor makes of an attempt's end: a verdict, a change, a word in the log.

use std::sync::Arc;

use tracing::{debug, error, warn};

use super::attempt::{End, Finished};
use super::port::{Ended, Recorded};
use super::settle::{Emitting, Meaning, Record, Yield, meaning, word};
use super::states::Known;
use super::{Finish, SubscriptionActor, Verdict};
use crate::event::Timestamp;
use crate::store::{Change, DeadReason, Outcome};

impl SubscriptionActor {
    pub(super) fn finished(&mut self, mut finished: Finished) {
        self.running.remove(&finished.ordinal);
        if let Known::Read(state) = std::mem::replace(&mut finished.loaded, Known::Unread) {
            self.states.loaded(&finished.key, state);
        }
        let end = finished.take_end();
        if matches!(end, End::TimedOut(_)) {
            self.metrics.overran(&self.wired.name);
        }
        let now = self.clock.now();
        let (meaning, yielded) = meaning(end);
        let verdict = self.core.finished(finished.ordinal, finish(meaning), now);
        let Some(outcome) = outcome(verdict, &yielded.text) else {
            debug!(event = finished.event.id, "attempt interrupted; it counts as nothing");
            self.port.ended(finished.seq, finished.number, &finished.event.flow);
            return;
        };
        self.tell(&finished, &outcome, &yielded.text);
        let change = self.record(&finished, outcome, verdict.is_counted(), yielded, now);
        self.outgoing.push(change);
    }

    /// Turns an attempt's end into the change that records it.
    pub(super) fn record(
        &mut self,
        finished: &Finished,
        outcome: Outcome,
        counted: bool,
        yielded: Yield,
        now: Timestamp,
    ) -> (Change, Recorded) {
        let emitting =
            Emitting { cause: &finished.event, subscription: &self.wired.name, routing: &self.routing, now };
        let mut emits = emitting.events(yielded.emits);
        if let (Outcome::Dead { parks, .. }, on_dead) = (&outcome, &self.wired.on_dead) {
            if let Some(name) = on_dead {
                match emitting.on_dead(name, &yielded.text, &self.wired.registry) {
                    Ok(emit) => emits.push(emit),
                    Err(why) => error!(
                        subscription = self.wired.name, event = finished.event.id, on_dead = %name, why,
                        "the on_dead event cannot be made from the dead event; nothing is emitted"
                    ),
                }
            }
            if *parks {
                self.port.park(&finished.key, finished.ordinal);
            }
        }
        let wrote = yielded.state.as_ref().map(|state| {
            self.states.written(&finished.key, state.clone());
            finished.key.clone()
        });
        let record = Record {
            subscription: self.port.id,
            finished,
            outcome,
            counted,
            emits,
            state: yielded.state,
            result: yielded.result,
        };
        let attempt =
            Some(Ended { seq: finished.seq, number: finished.number, event: Arc::clone(&finished.event) });
        (Change::Settle(record.settle()), Recorded { ordinal: finished.ordinal, wrote, attempt })
    }

    pub(super) fn tell(&self, finished: &Finished, outcome: &Outcome, text: &str) {
        self.metrics.attempted(&self.wired.name, word(outcome), finished.waited, finished.ran);
        let (subscription, event, flow) = (&self.wired.name, &finished.event.id, &finished.event.flow);
        match outcome {
            Outcome::Retry { due, .. } => {
                warn!(subscription, event, flow, error = text, due = %due, "step failed, will retry");
            }
            Outcome::Dead { reason, .. } => {
                error!(
                    subscription,
                    event,
                    flow,
                    error = text,
                    ?reason,
                    "step failed for good: a dead letter"
                );
            }
            Outcome::Done | Outcome::Skipped { .. } | Outcome::Snooze { .. } => {
                debug!(subscription, event, flow, outcome = word(outcome), "attempt ended");
            }
        }
    }
}

fn finish(meaning: Meaning) -> Finish {
    match meaning {
        Meaning::Done => Finish::Done,
        Meaning::Skipped => Finish::Skipped,
        Meaning::Failed { after } => Finish::Failed { retry_after: after },
        Meaning::Fatal => Finish::Dead(DeadReason::Fatal),
        Meaning::Undecodable => Finish::Dead(DeadReason::Undecodable),
        Meaning::Snoozed(after) => Finish::Snoozed(after),
        Meaning::Interrupted => Finish::Interrupted,
    }
}

fn outcome(verdict: Verdict, text: &str) -> Option<Outcome> {
    let text = text.to_owned();
    Some(match verdict {
        Verdict::Done => Outcome::Done,
        Verdict::Skipped => Outcome::Skipped { reason: text },
        Verdict::Retry { due } | Verdict::Spared { due } => Outcome::Retry { due, error: text },
        Verdict::Snooze { due } => Outcome::Snooze { due },
        Verdict::Dead { reason, parks } => Outcome::Dead { reason, error: text, parks },
        Verdict::Nothing => return None,
    })
}
