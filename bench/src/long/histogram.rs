//! Times in buckets: a long run has more of them than should be kept, and a percentile of a tenth of it is one of all
//! times in it, not a mean of percentiles.

/// Milliseconds below which no time is told apart.
const LEAST: f64 = 0.01;
/// Each bucket ends so much later than the one before: a percentile is at most 2 % too high.
const STEP: f64 = 1.02;

/// How often each time was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// One more time, in milliseconds.
    pub(super) fn record(&mut self, millis: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the logarithm of a time, not negative and far below 2^32"
        )]
        let at = ((millis.max(LEAST) / LEAST).ln() / STEP.ln()) as usize;
        if self.counts.len() <= at {
            self.counts.resize(at + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The milliseconds that `share` of them take at most; no number when there are none.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).max(1.0);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return LEAST * STEP.powf(at as f64 + 1.0);
            }
        }
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_bucket_of_the_truth() {
        let mut times = Histogram::default();
        for n in 1..=10_000 {
            times.record(f64::from(n) / 100.0);
        }

        for (share, truth) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let told = times.percentile(share);
            assert!((truth * 0.999..truth * STEP * 1.001).contains(&told), "{share}: {told}");
        }
    }

    #[test]
    fn a_merge_is_as_if_all_had_been_seen_by_one() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(0.001);
        other.record(70.0);

        one.merge(&other);

        assert_eq!(one.count(), 2);
        assert!(one.percentile(0.5) < 0.02 && one.percentile(0.99) > 69.0);
        assert!(Histogram::default().percentile(0.5).is_nan());
    }
}
