//! What a subscription actor makes of an attempt's end: a verdict, a change, a word in the log.

use std::sync::Arc;

use tracing::{debug, error, warn};

use super::attempt::{End, Finished};
use super::facts::Died;
use super::port::{Ended, Input, Recorded};
use super::settle::{Emitting, Meaning, Record, Yield, meaning, word};
use super::states::Known;
use super::{Finish, SubscriptionActor, Verdict};
use crate::committer::Reply;
use crate::event::{Fact, Timestamp};
use crate::store::{Change, Compensate, DeadReason, Emit, Outcome, Receipt};

impl SubscriptionActor {
    /// Takes what has ended since it was told of.
    pub(super) fn take_ended(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        self.at.takers.take_ended(&mut ended);
        for finished in ended.drain(..) {
            self.finished(finished);
        }
        self.ended = ended;
    }

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
            return self.port.ended(std::iter::once(finished.attempt().tried()));
        };
        self.tell(&finished, &outcome, &yielded.text);
        let undone_for = self.undone_for(meaning, &finished, &outcome, &yielded.text, now);
        let change = self.record(&finished, outcome, verdict.is_counted(), yielded, now);
        self.outgoing.push(change);
        self.outgoing.extend(undone_for);
    }

    /// Hands this batch's changes to the bus; their outcomes count as running until they are on disk.
    pub(super) fn hand_in(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        self.handed_in += 1;
        self.unrecorded += self.outgoing.len();
        let (changes, recorded): (Vec<_>, Vec<_>) = self.outgoing.drain(..).unzip();
        let (port, compensations) = (self.port.clone(), self.compensations.clone());
        let reply = Reply::call(move |answer| {
            let Ok(receipts) = answer else { return };
            for (receipt, recorded) in receipts.iter().zip(&recorded) {
                if let (Some(flow), Receipt::Applied { .. }) = (&recorded.undone, receipt) {
                    compensations.begin(flow);
                }
                if let (Some(Ended { event, .. }), Receipt::Stale) = (&recorded.attempt, receipt) {
                    warn!(
                        subscription = &*port.name,
                        event = event.id,
                        "an outcome came too late; it is dropped"
                    );
                }
            }
            port.ended(recorded.iter().filter_map(|recorded| recorded.attempt.as_ref()).map(Ended::tried));
            port.tell(Input::Settled(recorded));
        });
        if !self.at.submitter.submit(changes, Some(reply)) {
            self.core.drain();
        }
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
        let emitting = Emitting {
            cause: &finished.event,
            subscription: &self.wired.name,
            source: &self.source,
            routing: &self.routing,
            now,
            generation: finished.generation,
        };
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
            emits.extend(self.facts(finished, &outcome, now));
            if *parks {
                self.port.park(&finished.key, finished.ordinal);
            }
        }
        let undos = emitting.undos(yielded.undos);
        if yielded.is_pivot && !finished.event.is_undo() {
            // Before what it emits is handed on: past the point of no return it must run.
            self.compensations.end(&finished.event.flow);
        }
        let wrote = yielded.state.as_ref().map(|state| {
            self.states.written(&finished.key, state.clone());
            Arc::clone(&finished.key)
        });
        let record = Record {
            subscription: self.port.id,
            finished,
            outcome,
            counted,
            emits,
            state: yielded.state,
            result: yielded.result,
            undos,
            is_pivot: yielded.is_pivot,
            keep_states: self.wired.keep_states,
        };
        let attempt = Some(finished.attempt());
        (
            Change::Settle(record.settle()),
            Recorded { ordinal: finished.ordinal, wrote, attempt, undone: None },
        )
    }

    /// The beginning of the flow's undoing, when this end asks for it; in the same commit as the dead letter.
    pub(super) fn undone_for(
        &self,
        meaning: Meaning,
        finished: &Finished,
        outcome: &Outcome,
        error: &str,
        now: Timestamp,
    ) -> Option<(Change, Recorded)> {
        let is_wanted = self.wired.compensate || meaning == Meaning::Aborted;
        let event = &finished.event;
        if !is_wanted || !matches!(outcome, Outcome::Dead { .. }) || event.is_undo() {
            return None;
        }
        let reason = format!("{}: {error}", self.wired.name);
        let data = serde_json::json!({
            "flow": event.flow, "event": event.id, "subscription": self.wired.name, "by": "", "reason": reason,
        });
        let identity = [event.source.as_str(), &event.id, &self.wired.name, &finished.number.to_string()];
        let fact = Fact::new("tidegate.flow.cancelled", &identity, &data)
            .map(|fact| fact.about(&event.flow, &event.flow).caused_by(&event.id));
        let facts = fact.and_then(|fact| self.routing.fact(fact, now)).into_iter().collect();
        let begin = Compensate::Begin { flow: event.flow.clone(), by: String::new(), reason };
        let change = Change::With { change: Box::new(Change::Compensate(begin)), facts };
        Some((
            change,
            Recorded {
                ordinal: finished.ordinal,
                wrote: None,
                attempt: None,
                undone: Some(event.flow.clone()),
            },
        ))
    }

    /// The facts that tell of a dead letter; stored with the settle that makes it.
    fn facts(&self, finished: &Finished, outcome: &Outcome, now: Timestamp) -> Vec<Emit> {
        let Outcome::Dead { reason, error, parks } = outcome else { return Vec::new() };
        let died = Died {
            subscription: &self.wired.name,
            event: &finished.event,
            seq: finished.seq,
            ordinal: finished.ordinal,
            key: &finished.key,
            reason: *reason,
            error,
            attempts: finished.number,
            parks: *parks && !self.port.is_parked(Some(&finished.key)),
        };
        died.facts().into_iter().filter_map(|fact| self.routing.fact(fact, now)).collect()
    }

    pub(super) fn tell(&mut self, finished: &Finished, outcome: &Outcome, text: &str) {
        self.meters.ended(word(outcome), finished.waited, finished.ran);
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
        Meaning::Held => Finish::Held,
        Meaning::Failed { after } => Finish::Failed { retry_after: after },
        Meaning::Fatal | Meaning::Aborted => Finish::Dead(DeadReason::Fatal),
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
