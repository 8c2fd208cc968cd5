//! Where values lie on the upright axis of a panel, and where its lines stand: at round values.

/// About so many lines across a panel.
const LINES: f64 = 4.0;

/// How values lie on the upright axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From 0.
    Linear,
    /// By powers of ten.
    Log,
}

/// Where values lie in a panel.
#[derive(Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Where lines stand.
    pub(super) lines: Vec<f64>,
}

impl Axis {
    /// One on which these lie; those that are no number do not count.
    pub(super) fn of(scale: Scale, values: &[f64]) -> Self {
        let sound = || values.iter().copied().filter(|value| value.is_finite() && *value > 0.0);
        let most = sound().fold(f64::MIN_POSITIVE, f64::max);
        match scale {
            Scale::Linear => {
                let step = step(most / LINES);
                let high = (most / step).ceil() * step;
                Self { scale: Scale::Linear, low: 0.0, high, lines: every(step, 0.0, high) }
            }
            Scale::Log => {
                let low = sound().fold(most, f64::min).log10().floor();
                let high = most.log10().ceil().max(low + 1.0);
                let lines = every(1.0, low, high).into_iter().map(|power| 10_f64.powf(power)).collect();
                Self { scale: Scale::Log, low, high, lines }
            }
        }
    }

    /// How high `value` lies: 0 is the bottom, 1 the top.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Log { value.log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// The next of 1, 2, 5, 10, 20 … that is not below `least`.
pub(super) fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(f64::MIN_POSITIVE).log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// The multiples of `step` between the two.
pub(super) fn every(step: f64, low: f64, high: f64) -> Vec<f64> {
    let first = (low / step).ceil();
    (0..100).map(|n| (first + f64::from(n)) * step).take_while(|value| *value <= high + step / 1e6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_round_values() {
        let written =
            |values: Vec<f64>| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(" ");

        let steps = [0.03, 0.9, 12.0, 20.0, 51.0].map(step);
        assert_eq!(written(steps.to_vec()), "0.05 1.00 20.00 20.00 100.00");
        assert_eq!(written(every(2.0, -3.0, 5.0)), "-2.00 0.00 2.00 4.00");
    }
}
