//! Retry: given the policy and how often a delivery has failed, say *again after this long* or *give up*.
//!
//! Pure arithmetic without a clock and without chance: what spreads retries that failed together is a
//! number that the caller derives from the delivery, so that the same failure waits equally long on every
//! run. Jitter only lengthens a wait; a step that asks for a wait gets at least that.

use std::time::Duration;

/// How often and when a failed delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// All tries that count, the first included; zero is read as one. `u32::MAX` is practically for ever.
    pub max_attempts: u32,
    /// The wait after the first failure.
    pub first: Duration,
    /// What each further failure multiplies the wait by; below one (or no number) it is read as one.
    pub factor: f64,
    /// The longest wait, before jitter.
    pub max: Duration,
    /// The largest share of the wait that is added to it, `0.2` for up to a fifth; negative is read as zero.
    pub jitter: f64,
}

/// What becomes of a delivery whose tries are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// It is a dead letter, and later events of its key wait behind it for a person.
    #[default]
    Park,
    /// It is a dead letter, and its key goes on.
    Skip,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after this long.
    After(Duration),
    /// All tries are used up.
    GiveUp,
}

impl Default for RetryPolicy {
    /// Twelve tries, 500 ms doubling up to 10 minutes, up to a fifth of jitter.
    fn default() -> Self {
        Self {
            max_attempts: 12,
            first: Duration::from_millis(500),
            factor: 2.0,
            max: Duration::from_mins(10),
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// Decides after the `failures`-th failure (counted from one, this one included).
    ///
    /// `asked` is the wait that the step asked for; it takes the place of the backoff. `draw` spreads
    /// deliveries that failed together: the same draw gives the same wait.
    ///
    /// # Guarantees
    /// Exactly `max_attempts` tries are made in all. The wait is never shorter than `asked`, or than
    /// [`RetryPolicy::backoff`] when nothing was asked, and longer by at most the jitter.
    pub fn next(&self, failures: u32, asked: Option<Duration>, draw: u64) -> Next {
        if failures >= self.max_attempts.max(1) {
            return Next::GiveUp;
        }
        Next::After(self.lengthen(asked.unwrap_or_else(|| self.backoff(failures)), draw))
    }

    /// The wait after the `failures`-th failure without jitter: `first * factor^(failures - 1)`, at most `max`.
    ///
    /// # Guarantees
    /// Never decreases with `failures`, never exceeds `max`.
    pub fn backoff(&self, failures: u32) -> Duration {
        let factor = if self.factor >= 1.0 { self.factor } else { 1.0 };
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * factor.powi(exponent);
        // Not a number comes only of zero times infinity: a first wait of zero stays zero.
        if seconds.is_nan() {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).min(self.max)
    }

    /// Adds `draw`'s part of the jitter to `wait`.
    fn lengthen(&self, wait: Duration, draw: u64) -> Duration {
        let [_, _, _, _, a, b, c, d] = mix(draw).to_be_bytes();
        let part = f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX);
        let extra = wait.as_secs_f64() * self.jitter.max(0.0) * part;
        wait.saturating_add(Duration::try_from_secs_f64(extra).unwrap_or(Duration::ZERO))
    }
}

/// A number that looks random, the same for the same parts: what jitter is drawn with.
pub fn draw(seed: u64, seq: u64, failures: u32) -> u64 {
    mix(mix(seed ^ mix(seq)) ^ u64::from(failures))
}

/// The finalizer of `SplitMix64`: every bit of the input changes about half of the output.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ODD: RetryPolicy = RetryPolicy {
        max_attempts: 0,
        first: Duration::ZERO,
        factor: f64::INFINITY,
        max: Duration::from_secs(1),
        jitter: f64::NAN,
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy { max: Duration::from_secs(3), ..RetryPolicy::default() };

        let waits: Vec<u128> = (1..=5).map(|failures| policy.backoff(failures).as_millis()).collect();

        assert_eq!(waits, [500, 1_000, 2_000, 3_000, 3_000]);
    }

    #[test]
    fn max_attempts_counts_the_first_try_too() {
        let policy = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };

        assert!(matches!(policy.next(2, None, 7), Next::After(_)));
        assert_eq!(policy.next(3, None, 7), Next::GiveUp);
    }

    #[test]
    fn odd_figures_give_up_or_wait_nothing_instead_of_failing() {
        assert_eq!(ODD.next(1, None, 7), Next::GiveUp);
        let patient = RetryPolicy { max_attempts: u32::MAX, ..ODD };
        assert_eq!(patient.next(9, None, 7), Next::After(Duration::ZERO));
        assert_eq!(
            patient.next(9, Some(Duration::from_secs(5)), 7),
            Next::After(Duration::from_secs(5)),
            "a wait that was asked for is not cut to `max`"
        );
    }

    #[test]
    fn jitter_spreads_deliveries_that_failed_together() {
        let policy = RetryPolicy::default();

        let waits: std::collections::BTreeSet<Duration> = (0..1_000)
            .filter_map(|seq| match policy.next(1, None, draw(1, seq, 1)) {
                Next::After(wait) => Some(Duration::from_millis(u64::try_from(wait.as_millis()).unwrap())),
                Next::GiveUp => None,
            })
            .collect();

        assert!(waits.len() > 90, "only {} different waits of 500..=600 ms", waits.len());
    }

    prop_compose! {
        fn policies()(
            max_attempts in 1..40u32, first in 0..100_000u64, factor in 0.0..8.0f64, max in 0..10_000_000u64,
            jitter in 0.0..2.0f64,
        ) -> RetryPolicy {
            RetryPolicy {
                max_attempts,
                first: Duration::from_millis(first),
                factor,
                max: Duration::from_millis(max),
                jitter,
            }
        }
    }

    proptest! {
        #[test]
        fn backoff_never_shrinks_and_never_exceeds_its_bound(policy in policies(), failures in 1..u32::MAX) {
            let wait = policy.backoff(failures);

            prop_assert!(wait <= policy.max);
            prop_assert!(policy.backoff(failures.saturating_add(1)) >= wait);
        }

        #[test]
        fn jitter_only_lengthens(
            policy in policies(), failures in 1..60u32, seed: u64, asked in proptest::option::of(0..1_000_000u64),
        ) {
            let asked = asked.map(Duration::from_millis);
            let base = asked.unwrap_or_else(|| policy.backoff(failures));

            match policy.next(failures, asked, seed) {
                Next::GiveUp => prop_assert!(failures >= policy.max_attempts),
                Next::After(wait) => {
                    prop_assert!(failures < policy.max_attempts);
                    prop_assert!(wait >= base);
                    let longest = base.as_secs_f64() * (1.0 + policy.jitter) + 1e-6;
                    prop_assert!(wait.as_secs_f64() <= longest, "{wait:?} over {longest}");
                    prop_assert_eq!(policy.next(failures, asked, seed), Next::After(wait));
                }
            }
        }
    }
}
