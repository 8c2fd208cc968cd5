//! Medians, percentiles and the spread of runs.

/// What several runs gave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    /// The value of one more run.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; of an even number the lower of the two, so that it is a run that took place.
    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// The lowest.
    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The highest.
    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    /// Whether there was none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Median and spread, each written by `show`.
    pub(crate) fn told(&self, show: impl Fn(f64) -> String) -> String {
        if self.is_empty() {
            return "-".to_owned();
        }
        if self.0.len() == 1 {
            return show(self.median());
        }
        format!("{} ({} to {})", show(self.median()), show(self.min()), show(self.max()))
    }
}

impl FromIterator<f64> for Runs {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

/// The value below which `share` of them lie. Sorts them.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index below the length of a slice"
    )]
    let at = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// A rate as a person reads it.
pub(crate) fn rate(value: f64) -> String {
    match value {
        v if v >= 100_000.0 => format!("{:.0}k/s", v / 1e3),
        v if v >= 1_000.0 => format!("{:.1}k/s", v / 1e3),
        v => format!("{v:.0}/s"),
    }
}

/// A share as a percentage.
pub(crate) fn percent(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}

/// A ratio.
pub(crate) fn times(value: f64) -> String {
    format!("{value:.2}x")
}

/// Milliseconds.
pub(crate) fn millis(value: f64) -> String {
    format!("{value:.2} ms")
}

/// Bytes in MiB.
pub(crate) fn mebibytes(value: f64) -> String {
    format!("{:.0} MiB", value / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_a_run_that_took_place() {
        let runs: Runs = [3.0, 1.0, 2.0, 10.0].into_iter().collect();

        assert_eq!((runs.min(), runs.median(), runs.max()), (1.0, 2.0, 10.0));
        assert_eq!(runs.told(rate), "2/s (1/s to 10/s)");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut values: Vec<f64> = (1..=101).map(f64::from).collect();

        assert!((percentile(&mut values, 0.5) - 51.0).abs() < f64::EPSILON);
        assert!((percentile(&mut values, 0.99) - 100.0).abs() < f64::EPSILON);
        assert!(percentile(&mut [], 0.5).is_nan());
    }
}
