//! Clock: the only source of "now".
//!
//! Wall-clock time is what the bus records and schedules by, so that a due time survives a restart. The
//! clock never goes back: when the machine's clock is set back, it stands still until it is caught up, so
//! that sequence and time agree. A test moves the time by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::event::Timestamp;

/// Tells the bus what time it is. Cheap to clone; clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    Wall { latest: AtomicU64 },
    Manual { now: AtomicU64 },
}

impl Clock {
    /// The machine's clock.
    pub fn wall() -> Self {
        Self(Arc::new(Source::Wall { latest: AtomicU64::new(0) }))
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual { now: AtomicU64::new(start.0) }))
    }

    /// The time now; never earlier than a time told before.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Wall { latest } => {
                let now = wall_millis();
                Timestamp(latest.fetch_max(now, Ordering::Relaxed).max(now))
            }
            Source::Manual { now } => Timestamp(now.load(Ordering::Acquire)),
        }
    }

    /// Whether a test moves this clock.
    pub fn is_manual(&self) -> bool {
        matches!(*self.0, Source::Manual { .. })
    }

    /// Moves a manual clock on; a wall clock takes no notice.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { now } = &*self.0 {
            now.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
        }
    }
}

/// A point to measure from, for how long a thing took; not for due times.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn wall_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp(1_000));
        let same = clock.clone();

        clock.advance(Duration::from_mins(1));

        assert_eq!(same.now(), Timestamp(61_000));
    }
}
