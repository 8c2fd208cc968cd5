//! The five fields of an expression: minute, hour, day of the month, month, day of the week.

use std::fmt;

use jiff::civil::{Date, DateTime};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Short names for whole expressions.
const SHORT: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];
/// Days that are looked through for the next one: every combination of day, month and weekday that there is
/// comes within forty years.
const DAYS_MAX: u32 = 366 * 41;

/// A checked expression of five fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CronError(String);

/// The numbers a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    /// One bit for each number.
    taken: u64,
    /// Whether it is written with a `*` at its beginning.
    is_star: bool,
}

/// What may stand in a field.
struct Bounds {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

impl Field {
    fn takes(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.taken >> number & 1 == 1)
    }

    fn parse(text: &str, bounds: &Bounds) -> Result<Self, CronError> {
        let mut taken = 0_u64;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, Some(bounds.step(step, part)?)),
                None => (part, None),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (bounds.least, bounds.most),
                Some((first, last)) => (bounds.number(first, part)?, bounds.number(last, part)?),
                None => {
                    let first = bounds.number(range, part)?;
                    // `5/10` is from 5 on.
                    (first, if step.is_some() { bounds.most } else { first })
                }
            };
            if first > last {
                return Err(bounds.wrong(part, "goes backwards; write two parts with a comma"));
            }
            let step = usize::try_from(step.unwrap_or(1)).unwrap_or(usize::MAX);
            for number in (first..=last).step_by(step) {
                taken |= 1 << number;
            }
        }
        Ok(Self { taken, is_star: text.starts_with('*') })
    }
}

impl Bounds {
    fn number(&self, text: &str, part: &str) -> Result<u32, CronError> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = self.names.iter().position(|name| *name == lower) {
            return Ok(self.least + u32::try_from(index).unwrap_or_default());
        }
        let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|n| is_number && (self.least..=self.most).contains(n));
        let named = if self.names.is_empty() { "" } else { " or a name of three letters" };
        number.ok_or_else(|| {
            self.wrong(part, &format!("is no number from {} to {}{named}", self.least, self.most))
        })
    }

    fn step(&self, text: &str, part: &str) -> Result<u32, CronError> {
        let step = text.parse().ok().filter(|step| (1..=self.most).contains(step));
        step.ok_or_else(|| self.wrong(part, &format!("has no step from 1 to {}", self.most)))
    }

    fn wrong(&self, part: &str, why: &str) -> CronError {
        CronError(format!("the {} `{part}` {why}", self.what))
    }
}

impl Cron {
    /// Reads an expression.
    ///
    /// Five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). Each is `*`, a
    /// number, a range `1-5`, a step `*/15` or `1-30/2`, or several of these with commas; months and days of
    /// the week also by name. When both days are given, a day that either of them takes is taken. `@hourly`,
    /// `@daily`, `@weekly`, `@monthly` and `@yearly` stand for whole expressions.
    ///
    /// # Errors
    /// [`CronError`] names the field; also when no day ever comes that the expression takes.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let text = text.trim();
        let long = SHORT.iter().find(|(short, _)| *short == text).map_or(text, |(_, long)| long);
        let fields: Vec<&str> = long.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let hint = "minute, hour, day of the month, month and day of the week, as in \"0 2 * * *\"";
            return Err(CronError(format!("it has {} fields and needs five: {hint}", fields.len())));
        };
        let field = |text, what, least, most, names| Field::parse(text, &Bounds { what, least, most, names });
        let mut weekdays = field(weekday, "day of the week", 0, 7, &WEEKDAYS)?;
        if weekdays.takes(7) {
            weekdays.taken |= 1;
        }
        let cron = Self {
            text: text.to_owned(),
            minutes: field(minute, "minute", 0, 59, &[])?,
            hours: field(hour, "hour", 0, 23, &[])?,
            days: field(day, "day of the month", 1, 31, &[])?,
            months: field(month, "month", 1, 12, &MONTHS)?,
            weekdays,
        };
        // From a year with forty leap years before 2100.
        match cron.next(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)) {
            Some(_) => Ok(cron),
            None => Err(CronError("no such day ever comes".to_owned())),
        }
    }

    /// Whether it goes by elapsed time, also where the clocks are changed.
    pub(super) fn is_elapsed(&self) -> bool {
        self.minutes.is_star || self.hours.is_star
    }

    /// The first time that it takes at or after a whole minute, by a clock that nobody changes.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let (mut hour, mut minute) = (from.hour(), from.minute());
        for _ in 0..DAYS_MAX {
            if self.takes_day(date) {
                let found = (hour..24).filter(|h| self.hours.takes(*h)).find_map(|h| {
                    let first = if h == hour { minute } else { 0 };
                    (first..60).find(|m| self.minutes.takes(*m)).map(|m| (h, m))
                });
                if let Some((hour, minute)) = found {
                    return Some(date.at(hour, minute, 0, 0));
                }
            }
            (hour, minute) = (0, 0);
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn takes_day(&self, date: Date) -> bool {
        let day = self.days.takes(date.day());
        let weekday = self.weekdays.takes(date.weekday().to_sunday_zero_offset());
        // As cron has it: a field with a star restricts nothing, or only the other one further.
        let is_either = !self.days.is_star && !self.weekdays.is_star;
        self.months.takes(date.month()) && if is_either { day || weekday } else { day && weekday }
    }
}

impl fmt::Display for Cron {
    /// As it was written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
