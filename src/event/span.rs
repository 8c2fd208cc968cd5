//! Spans of time as people write them.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The longest span accepted: a hundred years. Sums of a few of them never overflow a timestamp.
const MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// Reads `"500ms"`, `"5s"`, `"10m"`, `"24h"`, `"7d"`; zero is allowed. `None` for anything else, and for more
/// than a hundred years.
pub fn parse_span(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(factor).map(Duration::from_millis).filter(|span| *span <= MAX)
}
