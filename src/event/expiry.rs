//! Expiry: the CloudEvents extension `expirytime`, after which an event is of no use.

use super::{Envelope, Timestamp};

/// The name of the attribute.
pub const EXPIRY: &str = "expirytime";

/// Reads an `expirytime`; `None` when it is no time in RFC 3339.
pub fn parse_expiry(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    // Before 1970 is as much over as 1970.
    Some(Timestamp(u64::try_from(time.as_millisecond()).unwrap_or(0)))
}

impl Envelope {
    /// When it is of no use any more: its `expirytime`. What is no time was refused when it was published.
    pub fn expires(&self) -> Option<Timestamp> {
        self.extensions.get(EXPIRY).and_then(|text| parse_expiry(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_in_rfc_3339_in_any_zone() {
        assert_eq!(parse_expiry("1970-01-01T00:00:01Z"), Some(Timestamp(1_000)));
        assert_eq!(parse_expiry("1970-01-01T02:00:01+02:00"), Some(Timestamp(1_000)));
        assert_eq!(parse_expiry("1969-01-01T00:00:00Z"), Some(Timestamp(0)));
        for wrong in ["", "tomorrow", "2026-03-01", "2026-03-01T08:00:00", "5"] {
            assert_eq!(parse_expiry(wrong), None, "{wrong}");
        }
    }
}
