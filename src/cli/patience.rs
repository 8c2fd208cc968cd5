//! Patience: asking again, a bounded number of times, in the rhythm that the server wants.
//!
//! A busy or draining server says when to come back; a broken connection leaves the outcome open. Both are
//! asked again with the same body, so with the same ids: that is always safe. When one thread gives up, all
//! threads that wait are woken and end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::failure::Failure;

/// Most times that one call is made.
const TRIES: u32 = 20;
const FIRST_DELAY: Duration = Duration::from_millis(250);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Shared by the threads of one command.
#[derive(Debug, Default)]
pub(super) struct Patience {
    is_stopped: Mutex<bool>,
    bell: Condvar,
    was_reached: AtomicBool,
}

impl Patience {
    /// Makes a call until it succeeds or waiting does not help; `told` hears before each wait why and how long.
    ///
    /// A server that was never reached is not waited for: most likely the address is wrong.
    ///
    /// # Errors
    /// The last failure.
    pub(super) fn insist<T>(
        &self,
        mut told: impl FnMut(&Failure, Duration),
        mut call: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut delay = FIRST_DELAY;
        let mut tries = 1;
        loop {
            let failure = match call() {
                Ok(done) => {
                    self.was_reached.store(true, Ordering::Relaxed);
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            if tries == TRIES || !self.is_worth_waiting(&failure) {
                return Err(failure);
            }
            let wanted = failure.refusal().and_then(|problem| problem.retry_after);
            let wait = wanted.unwrap_or(delay).min(LONGEST_DELAY);
            told(&failure, wait);
            if !self.wait(wait) {
                return Err(failure);
            }
            delay = delay.saturating_mul(2);
            tries += 1;
        }
    }

    /// Waits; false as soon as somebody has called [`Patience::stop`].
    pub(super) fn wait(&self, time: Duration) -> bool {
        let is_stopped = self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.bell.wait_timeout_while(is_stopped, time, |is_stopped| !*is_stopped);
        !*outcome.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends all waiting, now and later.
    pub(super) fn stop(&self) {
        *self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Whether somebody has called [`Patience::stop`].
    pub(super) fn is_stopped(&self) -> bool {
        *self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_worth_waiting(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Refused(problem) => {
                self.was_reached.store(true, Ordering::Relaxed);
                problem.is_passing()
            }
            Failure::Broken { .. } => true,
            Failure::Unreachable { .. } => self.was_reached.load(Ordering::Relaxed),
            Failure::Usage(_) | Failure::No(_) | Failure::Strange { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Problem;

    fn refused(status: u16) -> Failure {
        let retry_after = Some(Duration::ZERO);
        Failure::Refused(Box::new(Problem { status: Some(status), retry_after, ..Problem::default() }))
    }

    fn unreachable() -> Failure {
        Failure::Unreachable { url: "http://bus".to_owned(), cause: "refused".to_owned(), offline: None }
    }

    fn calls_until_it_gives_up(patience: &Patience, failure: impl Fn() -> Failure) -> u32 {
        let mut calls = 0;
        let outcome: Result<(), Failure> = patience.insist(
            |_, _| {},
            || {
                calls += 1;
                Err(failure())
            },
        );
        assert!(outcome.is_err());
        calls
    }

    #[test]
    fn a_busy_server_is_asked_again_but_not_for_ever() {
        let patience = Patience::default();

        assert_eq!(calls_until_it_gives_up(&patience, || refused(503)), TRIES);
        assert_eq!(calls_until_it_gives_up(&patience, || refused(429)), TRIES);
    }

    #[test]
    fn what_waiting_does_not_mend_is_told_at_once() {
        for status in [400, 404, 422, 500, 507] {
            assert_eq!(calls_until_it_gives_up(&Patience::default(), || refused(status)), 1, "{status}");
        }
        assert_eq!(calls_until_it_gives_up(&Patience::default(), unreachable), 1);
    }

    #[test]
    fn a_server_that_answers_in_the_end_has_answered() {
        let mut answers = vec![Ok(7), Err(refused(503)), Err(refused(503))];
        let mut waits = 0;

        let outcome = Patience::default().insist(|_, _| waits += 1, || answers.pop().unwrap());

        assert_eq!((outcome.unwrap(), waits), (7, 2));
    }

    #[test]
    fn one_that_stops_wakes_all_that_wait() {
        let patience = Patience::default();

        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patience.wait(Duration::from_hours(1)));
            patience.stop();
            assert!(!waiting.join().unwrap());
        });

        assert!(patience.is_stopped());
        assert_eq!(calls_until_it_gives_up(&patience, || refused(503)), 1);
    }
}
