//! Cron: when a schedule is due. Pure: expression, zone and a time in, the next time out.
//!
//! The time zones are those built into the binary, so that a bare machine knows them as well. What happens
//! when the clocks of a zone are changed:
//!
//! - A schedule whose minute or hour begins with `*` goes by elapsed time: an hour that there is twice has it
//!   twice, an hour that there is not has it not at all.
//! - Any other names hours of the day, and is due once on each: in an hour that there is twice the first time,
//!   in an hour that there is not as much later as the clocks are put forward.

mod fields;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::event::Timestamp;

pub use fields::{Cron, CronError};

/// How far around a time the clocks may be changed, in minutes: no zone puts them by more.
const SHIFT_MINUTES: i64 = 240;
/// Changes of the clock that are looked through for one time: two a year, as far as an expression reaches.
const CHANGES_MAX: usize = 256;

/// A time zone by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The zone of this name, as `Europe/Berlin` or `UTC`; `None` when there is none.
    pub fn named(name: &str) -> Option<Self> {
        let zone = jiff::tz::db().get(name).ok()?;
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Some(Self { name, zone })
    }

    /// UTC.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of all zones.
    pub fn names() -> Vec<String> {
        jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect()
    }
}

/// An expression in a zone: all times at which something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeTable {
    cron: Cron,
    zone: Zone,
}

impl TimeTable {
    /// The times of this expression by the clocks of this zone.
    pub fn new(cron: Cron, zone: Zone) -> Self {
        Self { cron, zone }
    }

    /// The expression.
    pub fn cron(&self) -> &Cron {
        &self.cron
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first time after `time`; `None` at the end of time.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let time = instant(time)?;
        let found = if self.cron.is_elapsed() { self.elapsed(time) } else { self.named(time) };
        found.and_then(timestamp)
    }

    /// The last time after `after` and up to `until`.
    pub fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        // Looks back further and further, so that a long time costs no more than a short one.
        let mut reach = 60_000;
        loop {
            let from = Timestamp(until.0.saturating_sub(reach).max(after.0));
            let mut found = None;
            let mut at = from;
            while let Some(next) = self.after(at).filter(|next| *next <= until) {
                found = Some(next);
                at = next;
            }
            if found.is_some() || from <= after {
                return found;
            }
            reach = reach.saturating_mul(4);
        }
    }

    /// How many times there are after `after` and up to `until`, counted up to `most`.
    pub fn count(&self, after: Timestamp, until: Timestamp, most: u64) -> u64 {
        let (mut count, mut at) = (0, after);
        while count < most {
            match self.after(at).filter(|next| *next <= until) {
                Some(next) => (count, at) = (count + 1, next),
                None => break,
            }
        }
        count
    }

    /// Within each stretch between two changes of the clock, local time goes by as elapsed time does.
    fn elapsed(&self, time: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let zone = &self.zone.zone;
        let mut from = time.checked_add(jiff::SignedDuration::from_millis(1)).ok()?;
        for _ in 0..CHANGES_MAX {
            let offset = zone.to_offset(from);
            let local = whole_minute(offset.to_datetime(from))?;
            let found = self.cron.next(local).and_then(|local| offset.to_timestamp(local).ok());
            let change = zone.following(from).next().map(|change| change.timestamp());
            match (found, change) {
                (Some(found), Some(change)) if found >= change => from = change,
                (Some(found), _) => return Some(found),
                (None, Some(change)) => from = change,
                (None, None) => return None,
            }
        }
        None
    }

    /// Local times are taken one by one. Around a change of the clock a later one may come to an earlier time,
    /// so all that could are looked at.
    fn named(&self, time: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let zone = &self.zone.zone;
        let minutes = jiff::SignedDuration::from_mins(SHIFT_MINUTES);
        let mut local = whole_minute(zone.to_datetime(time).checked_sub(minutes).ok()?)?;
        let mut found: Option<(jiff::Timestamp, DateTime)> = None;
        loop {
            let Some(next) = self.cron.next(local) else { return found.map(|(at, _)| at) };
            if let Some((at, end)) = found
                && next > end
            {
                return Some(at);
            }
            let at = zone.to_ambiguous_timestamp(next).compatible().ok()?;
            if at > time && found.is_none_or(|(earlier, _)| at < earlier) {
                found = Some((at, next.checked_add(minutes).ok()?));
            }
            local = next.checked_add(jiff::SignedDuration::from_mins(1)).ok()?;
        }
    }
}

/// The minute that begins then, or the next one.
fn whole_minute(time: DateTime) -> Option<DateTime> {
    let begun = time.with().second(0).subsec_nanosecond(0).build().ok()?;
    if begun == time { Some(begun) } else { begun.checked_add(jiff::SignedDuration::from_mins(1)).ok() }
}

fn instant(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(time.0).ok()?).ok()
}

fn timestamp(time: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(time.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests;
