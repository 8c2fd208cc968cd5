//! Durations, sizes and rates as people write them: `"5s"`, `"64KiB"`, `"200/s"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::event::parse_span;

/// How a duration is written; part of every message about a bad one.
pub(super) const DURATION_FORM: &str =
    "write a whole number and a unit, in quotes: \"500ms\", \"5s\", \"10m\", \"24h\" or \"7d\"";
/// How a size is written.
pub(super) const SIZE_FORM: &str = "write a whole number and a unit, in quotes: \"64kB\", \"1MB\", \"1GB\" (thousands) or \"64KiB\", \"1MiB\", \"1GiB\"";
/// How a rate is written.
pub(super) const RATE_FORM: &str =
    "write a count per second, minute or hour, in quotes: \"200/s\", \"10/m\" or \"5/h\"";

const SIZE_UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Why a text is no duration, size or rate; names the accepted forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}; {form}")]
pub struct UnitError {
    pub(super) text: String,
    pub(super) kind: &'static str,
    pub(super) form: &'static str,
}

/// So many starts per span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In what time: a second, a minute or an hour.
    pub per: Duration,
}

/// Reads `"500ms"`, `"5s"`, `"10m"`, `"24h"`, `"7d"`; zero is allowed.
///
/// # Errors
/// [`UnitError`] for anything else, and for more than a hundred years.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse_span(text).ok_or_else(|| UnitError { text: text.to_owned(), kind: "duration", form: DURATION_FORM })
}

/// Reads `"1MiB"` and its like as bytes.
///
/// # Errors
/// [`UnitError`] for anything else, and for more than `i64::MAX` bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    count(text, &SIZE_UNITS).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(|| UnitError {
        text: text.to_owned(),
        kind: "size",
        form: SIZE_FORM,
    })
}

/// Reads `"200/s"`, `"10/m"`, `"5/h"`.
///
/// # Errors
/// [`UnitError`] for anything else, zero included: to stop a subscription, pause it.
pub fn parse_rate(text: &str) -> Result<Rate, UnitError> {
    let read = || {
        let (count, per) = text.split_once('/')?;
        let count: u32 = digits(count)?.try_into().ok().filter(|count| *count > 0)?;
        let seconds = match per {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return None,
        };
        Some(Rate { count, per: Duration::from_secs(seconds) })
    };
    read().ok_or_else(|| UnitError { text: text.to_owned(), kind: "rate", form: RATE_FORM })
}

/// Lets an application's own settings hold durations:
/// `#[serde(deserialize_with = "tidegate::config::deserialize_duration")]`.
///
/// # Errors
/// The deserializer's, with [`UnitError`] as its message.
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

/// The number before one of `units`, times that unit.
fn count(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    digits(number)?.checked_mul(factor)
}

/// A number of digits alone: `parse` would take a sign as well.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let good = [
            ("500ms", 500),
            ("5s", 5_000),
            ("10m", 600_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ];
        for (text, millis) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in
            ["", "5", "s", "5 s", "-5s", "+5s", "5.5s", "5sec", "1h30m", "99999999999999999999s", "36501d"]
        {
            let error = parse_duration(bad).unwrap_err().to_string();
            assert!(error.contains("\"24h\""), "{bad}: {error}");
        }
    }

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        let good = [("1MiB", 1 << 20), ("256KiB", 256 << 10), ("64kB", 64_000), ("2GiB", 2 << 30), ("7B", 7)];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "1", "1mib", "1KB", "1 MiB", "-1B", "99999999999GiB"] {
            assert!(parse_size(bad).unwrap_err().to_string().contains("\"64KiB\""), "{bad}");
        }
    }

    #[test]
    fn rates_are_counts_per_time() {
        assert_eq!(parse_rate("200/s"), Ok(Rate { count: 200, per: Duration::from_secs(1) }));
        assert_eq!(parse_rate("10/m"), Ok(Rate { count: 10, per: Duration::from_mins(1) }));
        for bad in ["", "200", "200/", "/s", "0/s", "1.5/s", "200/d", "5000000000/s", "+1/s"] {
            assert!(parse_rate(bad).unwrap_err().to_string().contains("\"200/s\""), "{bad}");
        }
    }
}
