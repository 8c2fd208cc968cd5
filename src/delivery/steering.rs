//! Steering: what a person or the config changes of a subscription that is at work, and what the actor does
//! with the core's decisions that run no step.

use std::sync::PoisonError;
use std::time::Duration;

use tracing::{error, info, warn};

use super::actor::UNRECORDED_MAX;
use super::attempt::{End, Finished};
use super::look::PortLook;
use super::port::{Input, Port};
use super::settle::{Meaning, Yield};
use super::states::Known;
use super::{BreakerState, Carried, Finish, GiveUp, Settings, Start, SubscriptionActor};
use crate::committer::Reply;
use crate::event::Fact;
use crate::store::{Change, DeadReason, Ordinal, Outcome, Shelf};

/// What is changed.
#[derive(Debug)]
pub(crate) enum Steer {
    /// A person paused or resumed it.
    Pause(bool),
    /// A person paused or resumed the whole bus.
    PauseBus(bool),
    /// A person parked a key, or resumed it.
    Key { key: String, parked: bool },
    /// The config has other limits.
    Settings(Box<Settings>),
    /// It is on disk that this attempt runs alone.
    Alone(Ordinal),
}

impl Port {
    /// Pauses or resumes the subscription in memory; the caller has made it durable.
    pub fn pause(&self, paused: bool) {
        self.tell(Input::Steer(Steer::Pause(paused)));
    }

    /// Pauses or resumes it with the whole bus.
    pub fn pause_bus(&self, paused: bool) {
        self.tell(Input::Steer(Steer::PauseBus(paused)));
    }

    /// Parks or resumes a key in memory; the caller has made it durable. Whoever looks from now on sees it so.
    pub fn park_key(&self, key: &str, parked: bool) {
        self.show_parked(key, parked);
        self.tell(Input::Steer(Steer::Key { key: key.to_owned(), parked }));
    }

    /// Shows a key as parked by hand, or not.
    pub(crate) fn show_parked(&self, key: &str, parked: bool) {
        let mut hands = self.shared.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if parked {
            hands.insert(key.to_owned());
        } else {
            hands.remove(key);
        }
    }

    /// Changes the limits in place: concurrency, rate, retries and their share, what becomes of a key, the
    /// breaker. The order cannot be changed so, and the time-out is not part of it.
    ///
    /// # Guarantees
    /// What has failed as often as it may now becomes a dead letter at once; while the subscription is paused,
    /// when it is resumed.
    pub fn set_settings(&self, settings: Settings) {
        self.tell(Input::Steer(Steer::Settings(Box::new(settings))));
    }
}

impl SubscriptionActor {
    pub(super) fn steer(&mut self, steer: Steer) {
        match steer {
            Steer::Pause(is_paused) => self.paused.0 = is_paused,
            Steer::PauseBus(is_paused) => self.paused.1 = is_paused,
            Steer::Key { key, parked: true } => self.core.park_key(&key),
            Steer::Key { key, parked: false } => self.core.resume_key(&key),
            Steer::Settings(settings) => {
                self.core.set_settings(&settings);
                self.wired.limits = *settings;
            }
            Steer::Alone(ordinal) => self.alone_now(ordinal),
        }
        self.core.pause(self.paused.0 || self.paused.1);
    }

    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        self.core.drain();
    }

    /// Shows how it stands now.
    pub(super) fn show(&self) {
        let look = PortLook {
            order: self.wired.limits.order,
            paused: self.paused.0,
            bus_paused: self.paused.1,
            draining: self.is_draining || self.port.is_broken(),
            disk_behind: self.unrecorded >= UNRECORDED_MAX,
            ..self.core.look()
        };
        let mut shown = self.port.shared.look.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != look {
            *shown = look;
            drop(shown);
            self.port.shared.moved.notify_waiters();
        }
    }

    /// Settles a delivery as dead that no attempt is made for any more.
    pub(super) fn give_up(&mut self, given_up: GiveUp<Carried>) {
        let GiveUp { start, reason, parks } = given_up;
        let now = self.clock.now();
        let text = match reason {
            DeadReason::Expired => {
                let expired = start.item.event.expires().map(|at| at.to_string()).unwrap_or_default();
                format!("expired at {expired}, before an attempt started")
            }
            DeadReason::Crash => {
                "the process died twice while this attempt ran alone, after it had died before with \
                it under way"
                    .to_owned()
            }
            DeadReason::Attempts | DeadReason::Fatal | DeadReason::Undecodable => format!(
                "given up without another attempt: {} attempts have failed, and max_attempts is {} now",
                start.failures, self.wired.limits.retry.max_attempts
            ),
        };
        let finished = Finished {
            ordinal: start.ordinal,
            seq: start.seq,
            key: start.key,
            number: start.attempt,
            waited: Duration::from_millis(now.millis_since(start.ready)),
            event: start.item.event,
            generation: start.item.generation,
            end: End::Interrupted,
            loaded: Known::Unread,
            ran: Duration::ZERO,
        };
        let outcome = Outcome::Dead { reason, error: text.clone(), parks };
        self.tell(&finished, &outcome, &text);
        let undone_for = self.undone_for(Meaning::Fatal, &finished, &outcome, &text, now);
        let yielded = Yield { text, ..Yield::default() };
        let change = self.record(&finished, outcome, false, yielded, now);
        self.outgoing.push(change);
        self.outgoing.extend(undone_for);
    }

    /// Shows, counts and tells that the breaker stands differently.
    pub(super) fn breaker_turned(&mut self, state: BreakerState) {
        let name = &self.wired.name;
        let was = self.port.look().breaker;
        self.metrics.breaker_turned(name, state.word());
        let now = self.clock.now();
        // Each turn is one of its own, also when a restart comes in between and the clock has not moved.
        let turn = uuid::Uuid::now_v7().to_string();
        let fact = match (was, state) {
            (BreakerState::Closed, BreakerState::Open { until }) => {
                error!(subscription = name, until = %until, "the breaker has opened: nothing starts");
                let data = serde_json::json!({ "subscription": name, "until": until.to_string() });
                Fact::new("tidegate.breaker.opened", &[name, &turn], &data)
            }
            (_, BreakerState::Open { until }) => {
                warn!(subscription = name, until = %until, "the attempt that tried has failed: still open");
                None
            }
            (_, BreakerState::HalfOpen) => {
                info!(subscription = name, "the breaker lets one attempt try");
                None
            }
            (_, BreakerState::Closed) => {
                info!(subscription = name, "the breaker has closed");
                let data = serde_json::json!({ "subscription": name });
                Fact::new("tidegate.breaker.closed", &[name, &turn], &data)
            }
        };
        self.port.shared.look.lock().unwrap_or_else(PoisonError::into_inner).breaker = state;
        let fact = fact.and_then(|fact| self.routing.fact(fact.about(name, name), now));
        if let Some(fact) = fact
            && !self.at.submitter.submit(Change::Publish(vec![fact]), None)
        {
            self.drain();
        }
    }

    /// Starts an attempt when it is on disk that it runs alone.
    pub(super) fn start_alone(&mut self, start: Start<Carried>) {
        let record = self.wired.at_start.suspicion.alone(start.seq, start.attempt);
        warn!(
            subscription = self.wired.name,
            event = start.item.event.id,
            "runs alone: the process has died with it under way, or beside what was"
        );
        let value = Some(record);
        let change = Change::Keep { shelf: Shelf::Suspect, name: self.wired.name.clone(), value };
        let (port, ordinal) = (self.port.clone(), start.ordinal);
        self.alone = Some(start);
        let reply = Reply::call(move |answer| {
            if answer.is_ok() {
                port.tell(Input::Steer(Steer::Alone(ordinal)));
            }
        });
        if !self.at.submitter.submit(change, Some(reply)) {
            self.drain();
        }
    }

    fn alone_now(&mut self, ordinal: Ordinal) {
        let Some(start) = self.alone.take_if(|start| start.ordinal == ordinal) else { return };
        if self.is_draining || self.leaving.is_some() {
            self.core.finished(ordinal, Finish::Interrupted, self.clock.now());
        } else {
            self.start(start);
        }
    }
}
