//! The table: what was measured, beside what, and whether it reaches the floor. The only file that prints.

/// What a value has to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// More is better.
    AtLeast {
        /// Below this it is not good enough.
        floor: f64,
        /// What the design is for.
        goal: f64,
    },
    /// Less is better.
    AtMost {
        /// Above this it is not good enough.
        floor: f64,
        /// What the design is for.
        goal: f64,
    },
}

/// What a value says about its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It reaches the goal.
    Goal,
    /// It reaches the floor.
    Pass,
    /// It reaches neither.
    Below,
    /// There is no bound, or nothing to measure it against, or it misses a goal that has no floor.
    Told,
}

/// A line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    id: &'static str,
    what: String,
    measured: String,
    share: String,
    floor: String,
    goal: String,
    verdict: Verdict,
}

impl Bound {
    fn verdict(self, value: f64) -> Verdict {
        let reaches = |wanted: f64| match self {
            Self::AtLeast { .. } => value >= wanted,
            Self::AtMost { .. } => value <= wanted,
        };
        let (Self::AtLeast { floor, goal } | Self::AtMost { floor, goal }) = self;
        match (value.is_nan(), reaches(goal), reaches(floor)) {
            (true, _, _) => Verdict::Told,
            (_, true, true) => Verdict::Goal,
            (_, _, true) if floor.is_finite() => Verdict::Pass,
            (_, _, true) => Verdict::Told,
            (_, _, false) => Verdict::Below,
        }
    }

    fn told(self, show: impl Fn(f64) -> String) -> (String, String) {
        let (sign, floor, goal) = match self {
            Self::AtLeast { floor, goal } => (">=", floor, goal),
            Self::AtMost { floor, goal } => ("<=", floor, goal),
        };
        let told =
            |value: f64| if value.is_finite() { format!("{sign} {}", show(value)) } else { "-".to_owned() };
        (told(floor), told(goal))
    }
}

impl Row {
    /// A line that is judged: `value`, written by `show`, against `bound`. A value that is no number is not judged.
    pub(crate) fn judged(
        id: &'static str,
        what: impl Into<String>,
        measured: impl Into<String>,
        share: impl Into<String>,
        (value, bound): (f64, Bound),
        show: impl Fn(f64) -> String,
    ) -> Self {
        let (floor, goal) = bound.told(show);
        let verdict = bound.verdict(value);
        Self { id, what: what.into(), measured: measured.into(), share: share.into(), floor, goal, verdict }
    }

    /// A line that only tells.
    pub(crate) fn told(id: &'static str, what: impl Into<String>, measured: impl Into<String>) -> Self {
        let none = || "-".to_owned();
        Self {
            id,
            what: what.into(),
            measured: measured.into(),
            share: none(),
            floor: none(),
            goal: none(),
            verdict: Verdict::Told,
        }
    }

    fn cells(&self) -> [&str; 7] {
        let verdict = match self.verdict {
            Verdict::Goal => "goal",
            Verdict::Pass => "pass",
            Verdict::Below => "BELOW",
            Verdict::Told => "-",
        };
        [self.id, &self.what, &self.measured, &self.share, &self.floor, &self.goal, verdict]
    }
}

const HEAD: [&str; 7] = ["row", "what", "measured", "share or ratio", "floor", "goal", "verdict"];

/// The table as Markdown, its columns in line.
pub(crate) fn render(rows: &[Row]) -> String {
    let all: Vec<[&str; 7]> = std::iter::once(HEAD).chain(rows.iter().map(Row::cells)).collect();
    let width =
        |at: usize| all.iter().filter_map(|cells| cells.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).filter_map(width).collect();
    let mut text = String::new();
    for (at, cells) in all.iter().enumerate() {
        line(&mut text, cells, &widths);
        if at == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            line(&mut text, &rules, &widths);
        }
    }
    text
}

fn line(text: &mut String, cells: &[impl AsRef<str>], widths: &[usize]) {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("| {:width$} ", cell.as_ref()));
    text.extend(padded);
    text.push_str("|\n");
}

/// How many lines are judged, and how many of them are below the floor.
pub(crate) fn count(rows: &[Row]) -> (usize, usize) {
    let of = |wanted: fn(Verdict) -> bool| rows.iter().filter(|row| wanted(row.verdict)).count();
    (of(|verdict| verdict != Verdict::Told), of(|verdict| verdict == Verdict::Below))
}

/// Says a line to whoever reads the results.
#[expect(clippy::print_stdout, reason = "this is the file that prints")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Says what happens meanwhile, and what goes wrong.
#[expect(clippy::print_stderr, reason = "this is the file that prints")]
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::percent;

    #[test]
    fn a_value_is_judged_in_the_direction_of_its_bound() {
        let more = Bound::AtLeast { floor: 0.45, goal: 0.6 };
        let less = Bound::AtMost { floor: 2.0, goal: 1.4 };

        assert_eq!(
            [0.7, 0.5, 0.4].map(|value| more.verdict(value)),
            [Verdict::Goal, Verdict::Pass, Verdict::Below]
        );
        assert_eq!(
            [1.0, 1.5, 2.5].map(|value| less.verdict(value)),
            [Verdict::Goal, Verdict::Pass, Verdict::Below]
        );
        assert_eq!(more.verdict(f64::NAN), Verdict::Told);
    }

    #[test]
    fn the_table_is_in_line() {
        let bound = Bound::AtLeast { floor: 0.45, goal: 0.6 };
        let row = Row::judged("P1", "ingest", "9/s", "50 %", (0.5, bound), percent);

        let text = render(&[row, Row::told("P11", "allocations", "4")]);

        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(
            text.contains("| P1  | ingest      | 9/s      | 50 %           | >= 45 % | >= 60 % | pass    |"),
            "{text}"
        );
    }
}
