//! The breaker: tells an outage from poison, and starts nothing while the outage lasts.
//!
//! It opens when the last `failures` failures lie within `window` and no more attempts than that ended well
//! in between. A plain count would take the one percent of a fast subscription that always fails for an
//! outage; a plain share would open on two attempts. After `probe` it lets one attempt through: when that one
//! ends well it closes, when it fails it stays open for `probe` more.
//!
//! It is in memory only: after a restart it is closed, and an outage that lasts opens it again.

use std::collections::VecDeque;
use std::time::Duration;

use super::Finish;
use crate::event::Timestamp;
use crate::store::Ordinal;

/// When a breaker opens, and how long it stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// So many failed attempts; zero is read as one.
    pub failures: u32,
    /// Within this long.
    pub window: Duration,
    /// After this long one attempt is let through.
    pub probe: Duration,
}

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Attempts start.
    #[default]
    Closed,
    /// Nothing starts.
    Open {
        /// Until then.
        until: Timestamp,
    },
    /// One attempt may start or runs; it decides.
    HalfOpen,
}

impl BreakerState {
    /// The word for it in metrics and views: `closed`, `open`, `half_open`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// What the end of an attempt says of the world behind the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Well,
    Failed,
    /// The event's own fault, or no end at all.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: BreakerState,
    /// The attempt that decides.
    probe: Option<Ordinal>,
    /// The last failures: when, and how many attempts had ended well by then.
    failures: VecDeque<(Timestamp, u64)>,
    well: u64,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: BreakerState::Closed, probe: None, failures: VecDeque::new(), well: 0 }
    }

    /// New settings; the state stays.
    pub(super) fn set(&mut self, settings: BreakerSettings) {
        self.settings = settings;
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether an attempt may start now.
    pub(super) fn may_start(&self) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open { .. } => false,
            BreakerState::HalfOpen => self.probe.is_none(),
        }
    }

    /// Notes that an attempt starts.
    pub(super) fn started(&mut self, ordinal: Ordinal) {
        if self.state == BreakerState::HalfOpen {
            self.probe = Some(ordinal);
        }
    }

    /// When it has to be looked at again.
    pub(super) fn next(&self) -> Option<Timestamp> {
        if let BreakerState::Open { until } = self.state { Some(until) } else { None }
    }

    /// Half-opens it when its time has come; `true` when it did.
    pub(super) fn turn(&mut self, now: Timestamp) -> bool {
        let is_over = self.next().is_some_and(|until| until <= now);
        if is_over {
            self.state = BreakerState::HalfOpen;
        }
        is_over
    }

    /// Whether the attempt is the one that decides.
    pub(super) fn is_probe(&self, ordinal: Ordinal) -> bool {
        self.probe == Some(ordinal)
    }

    /// How long it stays open.
    pub(super) fn probe_interval(&self) -> Duration {
        self.settings.probe
    }

    /// An attempt has ended; `true` when that changed the state.
    pub(super) fn ended(&mut self, ordinal: Ordinal, how: Finish, now: Timestamp) -> bool {
        let sign = sign(how);
        if self.probe == Some(ordinal) {
            self.probe = None;
            match sign {
                Sign::Well => self.close(),
                Sign::Failed => self.open(now),
                // It said nothing of the world: the next one decides.
                Sign::Nothing => return false,
            }
            return true;
        }
        // What was under way when it opened, and ends after that, tells of the time before.
        if self.state != BreakerState::Closed {
            return false;
        }
        match sign {
            Sign::Well => self.well += 1,
            Sign::Failed => self.failures.push_back((now, self.well)),
            Sign::Nothing => return false,
        }
        let is_outage = sign == Sign::Failed && self.is_outage(now);
        if is_outage {
            self.open(now);
        }
        is_outage
    }

    fn is_outage(&mut self, now: Timestamp) -> bool {
        let most = usize::try_from(self.settings.failures.max(1)).unwrap_or(usize::MAX);
        while self.failures.len() > most {
            self.failures.pop_front();
        }
        let Some(&(first, well)) = self.failures.front() else { return false };
        let is_in_time = now.millis_since(first) <= millis(self.settings.window);
        let is_most = self.well - well <= u64::from(self.settings.failures.max(1));
        self.failures.len() == most && is_in_time && is_most
    }

    fn open(&mut self, now: Timestamp) {
        // At least a tick, or it would be half-open at once.
        let until = now.plus_millis(millis(self.settings.probe).max(1));
        self.state = BreakerState::Open { until };
    }

    fn close(&mut self) {
        self.state = BreakerState::Closed;
        self.failures.clear();
        self.well = 0;
    }
}

const fn sign(how: Finish) -> Sign {
    match how {
        Finish::Done | Finish::Skipped => Sign::Well,
        Finish::Failed { .. } => Sign::Failed,
        Finish::Dead(_) | Finish::Snoozed(_) | Finish::Interrupted | Finish::Held => Sign::Nothing,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Finish = Finish::Failed { retry_after: None };

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(BreakerSettings {
            failures,
            window: Duration::from_secs(10),
            probe: Duration::from_secs(30),
        })
    }

    #[test]
    fn so_many_failures_in_the_window_open_it() {
        let mut breaker = breaker(3);

        assert!(!breaker.ended(Ordinal(1), FAILED, Timestamp(0)));
        assert!(!breaker.ended(Ordinal(2), FAILED, Timestamp(11_000)));
        assert!(!breaker.ended(Ordinal(3), FAILED, Timestamp(12_000)), "the first is too long ago");
        assert!(breaker.ended(Ordinal(4), FAILED, Timestamp(13_000)));

        assert_eq!(breaker.state(), BreakerState::Open { until: Timestamp(43_000) });
        assert!(!breaker.may_start());
    }

    #[test]
    fn a_few_that_fail_among_many_that_do_not_are_no_outage() {
        let mut breaker = breaker(5);

        for n in 0..10_000 {
            let how = if n % 20 == 0 { FAILED } else { Finish::Done };
            assert!(!breaker.ended(Ordinal(n), how, Timestamp(n / 100)), "{n}");
        }
        for n in 0..4 {
            assert!(!breaker.ended(Ordinal(n), FAILED, Timestamp(101)));
        }
        assert!(breaker.ended(Ordinal(5), FAILED, Timestamp(101)), "now nothing else comes");
    }

    #[test]
    fn what_is_the_events_own_fault_does_not_count() {
        let mut breaker = breaker(1);

        for how in [
            Finish::Dead(crate::store::DeadReason::Fatal),
            Finish::Snoozed(Duration::ZERO),
            Finish::Interrupted,
            Finish::Skipped,
        ] {
            assert!(!breaker.ended(Ordinal(1), how, Timestamp(0)));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn one_attempt_decides_when_the_time_is_over() {
        let mut breaker = breaker(1);
        breaker.ended(Ordinal(1), FAILED, Timestamp(0));
        assert!(!breaker.turn(Timestamp(29_999)));
        assert!(breaker.turn(Timestamp(30_000)) && breaker.may_start());

        breaker.started(Ordinal(2));
        assert!(!breaker.may_start(), "one");
        assert!(!breaker.ended(Ordinal(9), FAILED, Timestamp(30_001)), "an old one decides nothing");
        assert!(!breaker.ended(Ordinal(2), Finish::Interrupted, Timestamp(30_002)));
        assert!(breaker.may_start(), "another one instead");
        breaker.started(Ordinal(3));
        assert!(breaker.ended(Ordinal(3), FAILED, Timestamp(31_000)));
        assert_eq!(breaker.state(), BreakerState::Open { until: Timestamp(61_000) });

        assert!(breaker.turn(Timestamp(61_000)));
        breaker.started(Ordinal(4));
        assert!(breaker.ended(Ordinal(4), Finish::Done, Timestamp(61_001)));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
