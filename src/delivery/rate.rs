//! A token bucket in whole numbers: so many starts in so long, with a burst, without drift.
//!
//! The level is kept in units of which one start costs `per` (in milliseconds) and each millisecond
//! brings `count`: no fraction is ever rounded, so no start is gained or lost over any length of time.

use std::time::Duration;

use crate::event::Timestamp;

/// At most `count` starts in every `per`, and up to `burst` at once after a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Starts; zero is read as one.
    pub count: u32,
    /// In this long, to the millisecond; shorter than one is read as one.
    pub per: Duration,
    /// Starts that may come at once after a quiet time; read as at least one, and as at least what the rate
    /// brings in a millisecond, the resolution of the bus clock.
    pub burst: u32,
}

/// The bucket: what is left to start with.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Units that a millisecond brings.
    gain: u64,
    /// Units that a start costs.
    cost: u64,
    /// The most units it holds.
    brim: u64,
    level: u64,
    at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        let cost = u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX).max(1);
        let gain = u64::from(rate.count.max(1));
        let brim = cost.saturating_mul(u64::from(rate.burst.max(1))).max(gain);
        Self { gain, cost, brim, level: brim, at: Timestamp(0) }
    }

    /// Adds what the time since the last call has brought.
    pub(super) fn refill(&mut self, now: Timestamp) {
        let gained = now.millis_since(self.at).saturating_mul(self.gain);
        self.level = self.level.saturating_add(gained).min(self.brim);
        self.at = self.at.max(now);
    }

    /// Whether a start's worth is there.
    pub(super) fn has_start(&self) -> bool {
        self.level >= self.cost
    }

    /// Takes a start's worth.
    pub(super) fn take(&mut self) {
        self.level = self.level.saturating_sub(self.cost);
    }

    /// When the next start's worth will be there.
    pub(super) fn next(&self) -> Timestamp {
        self.at.plus_millis(self.cost.saturating_sub(self.level).div_ceil(self.gain))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate_allow_in_any_span(
            count in 1..50u32, per in 1..5_000u64, burst in 1..20u32, steps in prop::collection::vec(0..500u64, 1..200),
        ) {
            let mut bucket = Bucket::new(Rate { count, per: Duration::from_millis(per), burst });
            let mut now = Timestamp(1_000_000);
            let mut starts: Vec<u64> = Vec::new();

            for step in steps {
                now = now.plus_millis(step);
                bucket.refill(now);
                while bucket.has_start() {
                    bucket.take();
                    starts.push(now.0);
                }
                prop_assert!(bucket.next() > now);
            }

            for (from, &first) in starts.iter().enumerate() {
                for (to, &last) in starts.iter().enumerate().skip(from) {
                    let brim = (u64::from(burst) * per).max(u64::from(count));
                    let allowed = (brim + (last - first) * u64::from(count)) / per;
                    prop_assert!((to - from + 1) as u64 <= allowed, "{} in {} ms", to - from + 1, last - first);
                }
            }
        }
    }

    #[test]
    fn a_third_of_a_start_is_not_lost_to_rounding() {
        let mut bucket = Bucket::new(Rate { count: 1, per: Duration::from_millis(3), burst: 1 });
        let mut started = 0;

        for now in 1..=30_000 {
            bucket.refill(Timestamp(now));
            if bucket.has_start() {
                bucket.take();
                started += 1;
            }
        }

        assert_eq!(started, 10_000);
    }

    #[test]
    fn the_time_told_for_the_next_start_is_exact() {
        let mut bucket = Bucket::new(Rate { count: 7, per: Duration::from_secs(1), burst: 1 });
        bucket.refill(Timestamp(1));
        bucket.take();

        let next = bucket.next();

        bucket.refill(Timestamp(next.0 - 1));
        assert!(!bucket.has_start());
        bucket.refill(next);
        assert!(bucket.has_start());
    }
}
