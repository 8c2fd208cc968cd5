//! Why one delivery stands where it stands.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::json;

use super::cause::{Cause, CauseView, reason};
use crate::bus::QueryError;
use crate::bus::handle::Inner;
use crate::bus::render::{dead_letter_id, reason as dead_reason, timestamp};
use crate::delivery::{BreakerState, Holder, Order, Port};
use crate::store::{
    DeadReason, DeliveryRecord, DeliveryState, EventRecord, Pending, PendingState, Seq, SubscriptionRecord,
};

/// Deliveries of a key that are looked at for the one in the way.
const LOOKED_AT: usize = 8;

/// A delivery with what is known around it.
struct Case<'a> {
    inner: &'a Inner,
    event: &'a EventRecord,
    delivery: &'a DeliveryRecord,
    name: String,
}

impl Inner {
    pub(super) fn explain_delivery(
        &self,
        event: &EventRecord,
        delivery: &DeliveryRecord,
    ) -> Result<CauseView, QueryError> {
        let case = Case { inner: self, event, delivery, name: self.name_of(delivery.subscription) };
        case.explain()
    }

    /// The subscriptions that would have got the event but for their `where`.
    pub(super) fn explain_filtered(&self, event: &EventRecord) -> Vec<CauseView> {
        let filtered = event.filtered.iter().map(|id| {
            let name = self.name_of(*id);
            let sentence = format!("the `where` of {name} kept it out when it was acknowledged");
            reason(Cause::Filtered, Some(&name), sentence, json!({}))
        });
        filtered.collect()
    }
}

impl Case<'_> {
    fn because(&self, cause: Cause, sentence: String, facts: serde_json::Value) -> CauseView {
        reason(cause, Some(&self.name), sentence, facts)
    }

    fn explain(&self) -> Result<CauseView, QueryError> {
        match &self.delivery.state {
            DeliveryState::Done => Ok(self.done()),
            DeliveryState::Skipped => Ok(self.skipped()),
            DeliveryState::Dead { reason } => self.dead(*reason),
            DeliveryState::Ready | DeliveryState::Deferred | DeliveryState::Waiting { .. } => self.open(),
        }
    }

    fn done(&self) -> CauseView {
        let last = self.delivery.history.last();
        let facts = json!({
            "attempts": self.delivery.attempts,
            "at": last.map(|attempt| timestamp(attempt.at)),
            "ran_ms": last.map(|attempt| attempt.ran_ms),
        });
        self.because(Cause::Done, format!("{} has handled it", self.name), facts)
    }

    fn skipped(&self) -> CauseView {
        let last = self.delivery.history.last();
        let why = last.and_then(|attempt| attempt.error.clone()).unwrap_or_default();
        let how = last.map(|attempt| attempt.outcome.clone()).unwrap_or_default();
        let sentence = format!("{} was skipped ({how}): {why}", self.name);
        self.because(Cause::Skipped, sentence, json!({ "how": how, "reason": why }))
    }

    fn dead(&self, why: DeadReason) -> Result<CauseView, QueryError> {
        let letter = dead_letter_id(&self.name, self.event.seq);
        let found = self.inner.reader.dead_letter(self.delivery.subscription, self.event.seq)?;
        let error = self.delivery.error.clone().unwrap_or_default();
        let facts = json!({
            "dead_letter": letter,
            "reason": dead_reason(why),
            "attempts": self.delivery.attempts,
            "error": error,
            "since": found.as_ref().map(|found| timestamp(found.since)),
            "key": found.as_ref().map(|found| found.key.as_str()),
            "parks_its_key": found.as_ref().map(|found| found.parks),
        });
        let (cause, sentence) = match why {
            DeadReason::Expired => {
                (Cause::Expired, format!("its time was over before {} could handle it: {letter}", self.name))
            }
            DeadReason::Attempts | DeadReason::Fatal | DeadReason::Undecodable | DeadReason::Crash => {
                let attempts = self.delivery.attempts;
                let sentence = format!(
                    "{} failed for good after {attempts} attempts ({}): {error}; repair dead letter {letter}",
                    self.name,
                    dead_reason(why)
                );
                (Cause::Dead, sentence)
            }
        };
        Ok(self.because(cause, sentence, facts))
    }

    /// What is in the way of a delivery that is not through, the first thing first.
    fn open(&self) -> Result<CauseView, QueryError> {
        let records = self.inner.reader.subscriptions()?;
        let record = records.iter().find(|record| record.id == self.delivery.subscription);
        let Some(port) = self.inner.ports.get(&self.delivery.subscription) else {
            return Ok(self.unwired(record));
        };
        if let Some(attempt) = port.attempt(self.event.seq) {
            let seconds = self.inner.clock.now().millis_since(attempt.since) / 1_000;
            let sentence =
                format!("attempt {} of {} runs, for {seconds} s so far", attempt.number, self.name);
            let facts =
                json!({ "attempt": attempt.number, "since": timestamp(attempt.since), "seconds": seconds });
            return Ok(self.because(Cause::Running, sentence, facts));
        }
        if record.is_some_and(|record| record.orphaned) {
            return Ok(self.unwired(record));
        }
        if let Some(stopped) = self.stopped(&port, record) {
            return Ok(stopped);
        }
        if let DeliveryState::Waiting { due } = self.delivery.state
            && self.delivery.ordinal.is_none()
        {
            let sentence = format!("it is delayed until {}", timestamp(due));
            return Ok(self.because(Cause::Delayed, sentence, json!({ "due": timestamp(due) })));
        }
        let key = self.key();
        if let Some(held) = self.held(&port, key.as_deref())? {
            return Ok(held);
        }
        if let Some(breaker) = self.breaker(&port) {
            return Ok(breaker);
        }
        if let DeliveryState::Waiting { due } = self.delivery.state
            && due > self.inner.clock.now()
        {
            return Ok(self.waiting(&port, due));
        }
        if let Some(busy) = self.key_busy(&port, key.as_deref())? {
            return Ok(busy);
        }
        Ok(self.in_the_queue(&port, record))
    }

    fn unwired(&self, record: Option<&SubscriptionRecord>) -> CauseView {
        let sentence = format!(
            "the config names subscription {} no more; wire it again, or skip what waits for it",
            self.name
        );
        let facts = json!({ "backlog": record.map(|record| record.backlog) });
        self.because(Cause::Orphaned, sentence, facts)
    }

    /// What stops the whole subscription.
    fn stopped(&self, port: &Port, record: Option<&SubscriptionRecord>) -> Option<CauseView> {
        let (look, name) = (port.look(), &self.name);
        let backlog = record.map(|record| record.backlog);
        let facts = json!({ "backlog": backlog });
        if let Some(failure) = self.inner.health.failure() {
            let sentence = format!("the store failed, nothing moves before a restart: {failure}");
            return Some(self.because(Cause::StoreFailed, sentence, json!({ "cause": failure.to_string() })));
        }
        if port.is_broken() {
            let sentence = format!("{name} could not read the store and has stopped; the log says more");
            return Some(self.because(Cause::Broken, sentence, facts));
        }
        if look.bus_paused {
            return Some(self.because(
                Cause::BusPaused,
                "a person has paused the whole bus".to_owned(),
                facts,
            ));
        }
        if look.paused {
            let sentence = format!("a person has paused {name}; resume it");
            return Some(self.because(Cause::Paused, sentence, facts));
        }
        if look.draining {
            return Some(self.because(Cause::Draining, "the process ends".to_owned(), facts));
        }
        None
    }

    /// The lane's key, as it is recorded or as the step tells it.
    fn key(&self) -> Option<String> {
        if let Some(key) = &self.delivery.key {
            return Some(key.to_string());
        }
        self.lane_key(self.event.seq)
    }

    fn lane_key(&self, seq: Seq) -> Option<String> {
        let step = self.inner.reader.subscriptions().ok()?;
        let step = step.into_iter().find(|record| record.id == self.delivery.subscription)?.step;
        let step = self.inner.registry.get(&step)?;
        let event = self.inner.reader.envelope(seq).ok().flatten()?;
        // An author's code, outside of an attempt.
        let told = catch_unwind(AssertUnwindSafe(|| step.lane_key(&event)));
        Some(told.ok().and_then(Result::ok).unwrap_or_else(|| event.key.clone()))
    }

    /// Its key waits for a person.
    fn held(&self, port: &Port, key: Option<&str>) -> Result<Option<CauseView>, QueryError> {
        let Some(key) = key else { return Ok(None) };
        Ok(match port.holder_of(key) {
            None => None,
            Some(Holder::Hand) => {
                let sentence = format!("a person has parked key {key:?} of {}; resume it", self.name);
                Some(self.because(Cause::ParkedByHand, sentence, json!({ "key": key })))
            }
            Some(Holder::DeadLetter(ordinal)) => {
                let found = self.inner.reader.delivery(self.delivery.subscription, ordinal)?;
                let letter = found.map(|queued| dead_letter_id(&self.name, queued.seq));
                let sentence = format!(
                    "key {key:?} of {} waits behind dead letter {}; repair that one",
                    self.name,
                    letter.as_deref().unwrap_or("of its own")
                );
                Some(self.because(Cause::Parked, sentence, json!({ "key": key, "dead_letter": letter })))
            }
        })
    }

    fn breaker(&self, port: &Port) -> Option<CauseView> {
        let (name, breaker) = (&self.name, port.look().breaker);
        match breaker {
            BreakerState::Closed => None,
            BreakerState::Open { until } => {
                let until = timestamp(until);
                let sentence =
                    format!("the breaker of {name} is open until {until}: too many attempts failed");
                Some(self.because(
                    Cause::BreakerOpen,
                    sentence,
                    json!({ "state": breaker.word(), "until": until }),
                ))
            }
            BreakerState::HalfOpen => {
                let sentence =
                    format!("the breaker of {name} lets one attempt through to see whether it works again");
                Some(self.because(Cause::BreakerOpen, sentence, json!({ "state": breaker.word() })))
            }
        }
    }

    fn waiting(&self, port: &Port, due: crate::event::Timestamp) -> CauseView {
        let (next, most) = (self.delivery.attempts.saturating_add(1), port.look().max_attempts);
        let error = self.delivery.error.clone();
        let is_snooze = self.delivery.history.last().is_some_and(|attempt| attempt.outcome == "snooze");
        let due = timestamp(due);
        let why = match &error {
            Some(error) if !is_snooze => format!("; the last one failed: {error}"),
            _ => String::new(),
        };
        let failures = self.delivery.failures;
        let sentence = format!(
            "{} waits for attempt {next}, due at {due} ({failures} of {most} have failed){why}",
            self.name
        );
        let facts = json!({
            "attempt": next, "max_attempts": most, "failures": failures, "due": due,
            "error": error, "snoozed": is_snooze,
        });
        self.because(Cause::Waiting, sentence, facts)
    }

    /// An earlier delivery of its key waits or runs.
    fn key_busy(&self, port: &Port, key: Option<&str>) -> Result<Option<CauseView>, QueryError> {
        let (Some(key), Some(own)) = (key, self.delivery.ordinal) else { return Ok(None) };
        if port.look().order != Order::Key {
            return Ok(None);
        }
        let before = self.inner.reader.holders(self.delivery.subscription, key, LOOKED_AT)?;
        let before = before.into_iter().find(|pending| pending.ordinal < own);
        let running = port.attempts().into_iter().find(|attempt| {
            attempt.seq != self.event.seq && self.lane_key(attempt.seq).as_deref() == Some(key)
        });
        let (seq, how, due) = match (before, running) {
            (Some(Pending { seq, state: PendingState::Waiting { due }, .. }), None) => {
                (seq, "waits for its next attempt", Some(timestamp(due)))
            }
            (_, Some(attempt)) => (attempt.seq, "runs", None),
            (Some(pending), None) => (pending.seq, "is about to start", None),
            (None, None) => return Ok(None),
        };
        let other = self.inner.reader.event(seq)?.map(|event| event.id.clone()).unwrap_or_default();
        let sentence = format!("an earlier event of key {key:?}, {other}, {how} in {}", self.name);
        let facts = json!({ "key": key, "behind": other, "due": due });
        Ok(Some(self.because(Cause::KeyBusy, sentence, facts)))
    }

    /// Only the subscription's own limits are in its way, or nothing.
    fn in_the_queue(&self, port: &Port, record: Option<&SubscriptionRecord>) -> CauseView {
        let (look, name) = (port.look(), &self.name);
        let backlog = record.map(|record| record.backlog);
        let (running, permits) = (look.running, look.concurrency);
        if look.solo {
            let sentence = format!("{name} runs one attempt at a time, for the process may have died of one");
            return self.because(Cause::RunsAlone, sentence, json!({ "running": running }));
        }
        let (share, returning) = look.retries;
        if self.delivery.attempts > 0 && returning >= share && running < permits {
            let sentence = format!("the {share} permits of {name} for what comes back are taken");
            let facts = json!({ "returning": returning, "share": share, "concurrency": permits });
            return self.because(Cause::PermitsBusy, sentence, facts);
        }
        if running >= permits {
            let sentence =
                format!("all {permits} permits of {name} are taken; {} wait", backlog.unwrap_or_default());
            let facts = json!({ "running": running, "concurrency": permits, "backlog": backlog });
            return self.because(Cause::PermitsBusy, sentence, facts);
        }
        if let Some(next) = look.next_start.filter(|next| *next > self.inner.clock.now()) {
            let next = timestamp(next);
            let sentence = format!("the rate of {name} allows the next attempt at {next}");
            return self.because(Cause::Rate, sentence, json!({ "next_start": next, "backlog": backlog }));
        }
        if look.disk_behind {
            let sentence =
                format!("outcomes of {name} wait for the disk; nothing new starts before they are on it");
            return self.because(Cause::DiskBehind, sentence, json!({ "backlog": backlog }));
        }
        let sentence = format!("nothing is in its way in {name}: its attempt is about to start");
        self.because(Cause::Starting, sentence, json!({ "backlog": backlog, "concurrency": permits }))
    }
}
