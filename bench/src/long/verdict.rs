//! The beginning of a long run against its end: what is flat, and what is not. And what came in between, which both may hide.

use super::histogram::Histogram;
use super::watch::Sample;
use crate::stats::{mebibytes, millis, rate, times};
use crate::table::{Bound, Row};

const ROW: &str = "long";
/// What is within this share of the beginning is flat.
const FLAT: f64 = 0.2;
/// Less than this is not compared: a checkpoint is due each half minute.
const LEAST: f64 = 60.0;

/// A sample of which one event of a hundred has waited for longer, in milliseconds, is one in which clients give up: none may.
const SLOW: f64 = 1_000.0;

/// A part of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Events accepted a second, on average.
    pub(super) accepted: f64,
    /// Events handled a second.
    pub(super) handled: f64,
    /// The median of all times in it, in milliseconds.
    pub(super) p50: f64,
    /// What 99 of 100 of them are below.
    pub(super) p99: f64,
    /// Memory in bytes, on average.
    pub(super) resident: f64,
    /// Bytes on disk, on average.
    pub(super) disk: f64,
}

/// Both ends of the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// How long each is, in seconds.
    pub(super) long: f64,
    /// The beginning, after the warming up.
    pub(super) first: Part,
    /// The end.
    pub(super) last: Part,
    /// Samples in which events waited for long, of how many.
    slow: (usize, usize),
}

impl Part {
    fn of(samples: &[&Sample]) -> Self {
        let mean = |value: fn(&Sample) -> f64| {
            samples.iter().map(|sample| value(sample)).sum::<f64>() / samples.len() as f64
        };
        let mut all = Histogram::default();
        for sample in samples {
            all.merge(&sample.times);
        }
        Self {
            accepted: mean(|sample| sample.accepted),
            handled: mean(|sample| sample.handled),
            p50: all.percentile(0.5),
            p99: all.percentile(0.99),
            resident: mean(|sample| sample.resident as f64),
            disk: mean(|sample| sample.disk() as f64),
        }
    }
}

impl Ends {
    /// The first and the last tenth of what is judged, a minute at least.
    pub(super) fn of(samples: &[Sample]) -> Self {
        let judged: Vec<&Sample> = samples.iter().filter(|sample| sample.at > 0.0).collect();
        let end = judged.last().map_or(0.0, |sample| sample.at);
        let long = (end / 10.0).max(LEAST).min(end / 2.0);
        let slow = judged.iter().filter(|sample| sample.times.percentile(0.99) > SLOW).count();
        let slow = (slow, judged.len());
        let (first, last): (Vec<&Sample>, Vec<&Sample>) = judged
            .into_iter()
            .filter(|sample| sample.at <= long || sample.at > end - long)
            .partition(|sample| sample.at <= long);
        Self { long, first: Part::of(&first), last: Part::of(&last), slow }
    }

    /// What both ends say of one value.
    pub(super) fn told(&self, value: fn(&Part) -> f64, show: fn(f64) -> String) -> String {
        let long = if self.long < 120.0 {
            format!("{:.0} s", self.long)
        } else {
            format!("{:.0} min", self.long / 60.0)
        };
        let (first, last) = (show(value(&self.first)), show(value(&self.last)));
        format!("first {long} {first}, last {long} {last}")
    }

    /// A line for each value, judged.
    pub(super) fn rows(&self) -> Vec<Row> {
        let least = Bound::AtLeast { floor: 1.0 - FLAT, goal: f64::INFINITY };
        let most = Bound::AtMost { floor: 1.0 + FLAT, goal: f64::NEG_INFINITY };
        let row = |what: &str, value: fn(&Part) -> f64, show: fn(f64) -> String, bound| {
            let ratio = value(&self.last) / value(&self.first);
            let share = format!("{} first", times(ratio));
            Row::judged(ROW, what, self.told(value, show), share, (ratio, bound), times)
        };
        vec![
            row("events accepted", |part| part.accepted, rate, least),
            row("events handled", |part| part.handled, rate, least),
            row("due until answered, median", |part| part.p50, millis, most),
            row("due until answered, p99", |part| part.p99, millis, most),
            self.slow_row(),
            row("memory", |part| part.resident, mebibytes, most),
            row("disk", |part| part.disk, mebibytes, most),
        ]
    }

    fn slow_row(&self) -> Row {
        let (slow, all) = self.slow;
        let none = Bound::AtMost { floor: 0.0, goal: f64::NEG_INFINITY };
        let measured = format!("{slow} of {all}");
        let share = String::from("-");
        let what = "samples with a p99 over a second";
        Row::judged(ROW, what, measured, share, (slow as f64, none), |count| format!("{count:.0}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::count;

    fn run(resident: impl Fn(f64) -> f64) -> Vec<Sample> {
        let sample = |n: i32| {
            let at = f64::from(n) * 5.0;
            let mut times = Histogram::default();
            times.record(2.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small figure")]
            let resident = resident(at) as u64;
            Sample {
                at,
                accepted: 10.0,
                handled: 10.0,
                times,
                resident,
                journal: 5,
                sled: 5,
                ..Sample::default()
            }
        };
        (-20..=360).map(sample).collect()
    }

    #[test]
    fn what_was_before_the_beginning_is_not_judged() {
        let ends = Ends::of(&run(|at| if at <= 0.0 { 1.0 } else { 500.0 }));

        assert!((ends.long - 180.0).abs() < 1e-9);
        assert_eq!(count(&ends.rows()), (7, 0));
        assert_eq!(ends.told(|part| part.accepted, rate), "first 3 min 10/s, last 3 min 10/s");
    }

    #[test]
    fn what_grows_is_not_flat() {
        let ends = Ends::of(&run(|at| 500.0 + at.max(0.0)));

        assert_eq!(count(&ends.rows()), (7, 1));
    }

    #[test]
    fn what_stands_still_for_a_while_is_told_though_both_ends_are_alike() {
        let mut samples = run(|_| 500.0);
        let middle = samples.len() / 2;
        samples[middle].times.record(2.0 * SLOW);

        assert_eq!(count(&Ends::of(&samples).rows()), (7, 1));
    }
}
