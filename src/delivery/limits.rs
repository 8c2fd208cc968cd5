//! New limits for a core that is at work, and the bounds that every setting is brought into.

use super::breaker::Breaker;
use super::core::{Core, Flight};
use super::lanes::Why;
use super::rate::Bucket;
use super::shares::Class;
use super::{Action, BreakerState, Finish, Order, PortLook, Rate, Settings};
use crate::event::Timestamp;
use crate::retry::{Exhausted, Next, draw};
use crate::store::{DeadReason, Ordinal};

impl<T> Core<T> {
    /// New limits; what runs is not touched. The window grows by what the concurrency grows over its highest
    /// value so far.
    pub fn set_limits(&mut self, concurrency: usize, rate: Option<Rate>) {
        self.settings.concurrency = concurrency.max(1);
        self.again_most = share_of(&self.settings);
        let more = self.settings.concurrency.saturating_sub(self.places);
        self.places += more;
        self.settings.window += more;
        if self.settings.rate != rate {
            self.settings.rate = rate;
            self.bucket = rate.map(Bucket::new);
        }
    }

    /// New settings in place: concurrency, rate, retries, their share, what becomes of a key, breaker. The
    /// order, the window and the length of lanes stay as they are.
    ///
    /// # Guarantees
    /// What has failed as often as it may now is given up at once, as far as it waits for nothing but its time.
    pub fn set_settings(&mut self, new: &Settings) {
        self.settings.retry_share = new.retry_share;
        self.set_limits(new.concurrency, new.rate);
        self.settings.exhausted = new.exhausted;
        self.set_breaker(new);
        let is_lowered = new.retry.max_attempts < self.settings.retry.max_attempts;
        self.settings.retry = new.retry;
        make_sane(&mut self.settings);
        if is_lowered {
            self.give_up_over();
        }
    }

    fn set_breaker(&mut self, new: &Settings) {
        let before = self.breaker();
        match (&mut self.breaker, new.breaker) {
            (Some(breaker), Some(settings)) => breaker.set(settings),
            (None, Some(settings)) => self.breaker = Some(Breaker::new(settings)),
            (_, None) => self.breaker = None,
        }
        self.settings.breaker = new.breaker;
        if before != self.breaker() {
            self.outbox.push(Action::Breaker(self.breaker()));
        }
    }

    /// Gives up what has failed as often as it may.
    fn give_up_over(&mut self) {
        let most = self.settings.retry.max_attempts;
        for id in self.lanes.ids() {
            let Some(lane) = self.lanes.get_mut(id) else { continue };
            let mut is_changed = false;
            for blocker in &mut lane.blockers {
                // Read again at once; the answer finds it over the limit.
                if let Why::Waiting(due) = blocker.why
                    && blocker.failures >= most
                {
                    blocker.why = Why::Over(due);
                    is_changed = true;
                }
            }
            let is_over = |class, failures: u32| class == Class::Again && failures >= most;
            while let Some(lane) = self.lanes.get_mut(id)
                && let Some(at) = lane.queue.iter().position(|held| is_over(held.class, held.failures))
                && let Some(held) = lane.queue.remove(at)
            {
                self.shares.again.held -= 1;
                self.give_up(id, held, DeadReason::Attempts);
                is_changed = true;
            }
            if is_changed {
                self.advance(id);
            }
        }
    }

    /// Tells the breaker how an attempt ended; whether it was the one that decides.
    pub(super) fn heed(&mut self, ordinal: Ordinal, how: Finish, now: Timestamp) -> bool {
        let Some(breaker) = &mut self.breaker else { return false };
        let is_probe = breaker.is_probe(ordinal);
        if breaker.ended(ordinal, how, now) {
            let state = breaker.state();
            self.outbox.push(Action::Breaker(state));
        }
        is_probe
    }

    /// Half-opens the breaker when its time has come.
    pub(super) fn turn_breaker(&mut self, now: Timestamp) {
        if self.breaker.as_mut().is_some_and(|breaker| breaker.turn(now)) {
            self.outbox.push(Action::Breaker(BreakerState::HalfOpen));
        }
    }

    /// When a delivery comes back whose attempt found that the outage lasts: an hour of probes must not use
    /// up anybody's attempts.
    pub(super) fn spared(
        &self,
        flight: &Flight,
        retry_after: Option<std::time::Duration>,
        now: Timestamp,
    ) -> Timestamp {
        let failures = flight.failures.max(1);
        let wait =
            match self.settings.retry.next(failures, retry_after, draw(self.seed, flight.seq.0, failures)) {
                Next::After(wait) => wait,
                Next::GiveUp => std::time::Duration::ZERO,
            };
        let probe = self.breaker.as_ref().map(Breaker::probe_interval).unwrap_or_default();
        now.plus(wait.max(probe))
    }

    /// How it stands, as far as the core knows.
    pub(crate) fn look(&self) -> PortLook {
        PortLook {
            order: self.settings.order,
            concurrency: self.settings.concurrency,
            running: self.flights.len(),
            retries: (self.again_most, self.again_flights),
            max_attempts: self.settings.retry.max_attempts,
            waiting: self.recalls,
            next_start: self.next_token(),
            breaker: self.breaker(),
            paused: self.is_paused(),
            solo: self.is_solo(),
            ..PortLook::default()
        }
    }

    /// Whether a dead letter holds its key.
    pub(super) fn parks(&self) -> bool {
        self.settings.exhausted == Exhausted::Park && self.settings.order == Order::Key
    }
}

/// Brings settings into the bounds that the arithmetic stands on.
pub(super) fn make_sane(settings: &mut Settings) {
    settings.concurrency = settings.concurrency.max(1);
    settings.lane_max = settings.lane_max.max(1);
    settings.retry.max_attempts = settings.retry.max_attempts.max(1);
    let least = settings.concurrency.saturating_mul(2).max(settings.concurrency.saturating_add(4));
    settings.window = settings.window.max(least);
}

/// The most attempts at once of deliveries that come back.
pub(super) fn share_of(settings: &Settings) -> usize {
    let share = if settings.retry_share > 0.0 { settings.retry_share.min(1.0) } else { 0.0 };
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of at most some thousands, not negative"
    )]
    let most = (settings.concurrency as f64 * share).ceil() as usize;
    most.clamp(1, settings.concurrency.max(1))
}
