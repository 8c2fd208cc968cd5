//! Pace: so many dead letters in so long, by the bus clock.

use serde::{Deserialize, Serialize};

use crate::event::Timestamp;

/// What is made up for at once when the bus has lagged behind: no more than a second's worth.
const ARREARS_MS: u64 = 1_000;

/// So many in so many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// How many; zero is read as one.
    pub count: u32,
    /// In how many milliseconds; zero is read as one.
    pub per_ms: u64,
}

impl std::str::FromStr for Pace {
    type Err = &'static str;

    /// Reads `100/s`, `10/m`, `5/h`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str =
            "is no rate; write a count per second, minute or hour: \"100/s\", \"10/m\" or \"5/h\"";
        let (count, unit) = text.split_once('/').ok_or(FORM)?;
        let count: u32 = count.parse().map_err(|_| FORM)?;
        let per_ms = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(FORM),
        };
        if count == 0 {
            Err("is a rate of nothing; to hold a job up, stop it")
        } else {
            Ok(Self { count, per_ms })
        }
    }
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.per_ms {
            1_000 => write!(f, "{}/s", self.count),
            60_000 => write!(f, "{}/m", self.count),
            3_600_000 => write!(f, "{}/h", self.count),
            per_ms => write!(f, "{}/{per_ms}ms", self.count),
        }
    }
}

/// A job's place in its pace. Kept in memory only: after a pause or a restart nothing is made up for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paced {
    pace: Pace,
    since: Timestamp,
    taken: u64,
}

impl Paced {
    /// The first one may be taken at once.
    pub(super) fn new(pace: Pace, now: Timestamp) -> Self {
        let pace = Pace { count: pace.count.max(1), per_ms: pace.per_ms.max(1) };
        Self { pace, since: now, taken: 0 }
    }

    /// When the next one may be taken.
    pub(super) fn due(&self) -> Timestamp {
        self.since.plus_millis(self.offset(self.taken))
    }

    /// How many may be taken now.
    pub(super) fn allowed(&mut self, now: Timestamp) -> u64 {
        if now.millis_since(self.due()) > ARREARS_MS {
            *self = Self::new(self.pace, Timestamp(now.0.saturating_sub(ARREARS_MS)));
        }
        if self.due() > now {
            return 0;
        }
        let so_far =
            now.millis_since(self.since).saturating_mul(u64::from(self.pace.count)) / self.pace.per_ms;
        so_far.saturating_add(1).saturating_sub(self.taken)
    }

    pub(super) fn took(&mut self, count: u64) {
        self.taken = self.taken.saturating_add(count);
    }

    fn offset(&self, taken: u64) -> u64 {
        taken.saturating_mul(self.pace.per_ms).div_ceil(u64::from(self.pace.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000);

    /// The times at which `count` are taken when the clock stops at each time that is due.
    fn times(pace: Pace, count: usize) -> Vec<u64> {
        let mut paced = Paced::new(pace, START);
        let mut times = Vec::new();
        while times.len() < count {
            let now = paced.due();
            let allowed = paced.allowed(now);
            assert!(allowed > 0, "due is due");
            times.extend((0..allowed).map(|_| now.0 - START.0));
            paced.took(allowed);
        }
        times
    }

    #[test]
    fn the_pace_is_kept_without_drift() {
        assert_eq!(times(Pace { count: 2, per_ms: 1_000 }, 4), [0, 500, 1_000, 1_500]);
        assert_eq!(times(Pace { count: 3, per_ms: 1_000 }, 7), [0, 334, 667, 1_000, 1_334, 1_667, 2_000]);
        assert_eq!(times(Pace { count: 1, per_ms: 60_000 }, 3), [0, 60_000, 120_000]);
        let fast = times(Pace { count: 2_500, per_ms: 1_000 }, 2_501);
        assert_eq!(fast.iter().filter(|at| **at < 1_000).count(), 2_498);
    }

    #[test]
    fn no_more_than_a_second_is_made_up_for() {
        let mut paced = Paced::new(Pace { count: 10, per_ms: 1_000 }, START);

        assert_eq!(paced.allowed(START), 1);
        paced.took(1);
        assert_eq!(paced.allowed(START.plus_millis(60_000)), 11);
        paced.took(11);
        assert_eq!(paced.allowed(START.plus_millis(60_000)), 0);
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["100/s", "10/m", "5/h"] {
            assert_eq!(text.parse::<Pace>().unwrap().to_string(), text);
        }
        for bad in ["", "100", "0/s", "-1/s", "1.5/s", "1/d", "s/1"] {
            assert!(bad.parse::<Pace>().is_err(), "{bad}");
        }
    }

    #[test]
    fn odd_figures_are_read_as_one() {
        assert_eq!(times(Pace { count: 0, per_ms: 0 }, 3), [0, 1, 2]);
    }
}
