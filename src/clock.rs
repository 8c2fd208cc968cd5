//! Clock: the only source of "now".
//!
//! ```text
//! start of the process          now
//!   wall clock, read once  +  what has passed since by a clock that nobody sets
//! ```
//! Bus time begins at the wall clock and from then on runs by the machine's boot clock, which also runs while the
//! machine is suspended. Whoever sets the wall clock while the bus runs moves nothing: a retry, a delay, a deadline or
//! a time-out comes after as long as it was meant to, and ids and times stay in order. The next start
//! reads the wall clock anew, and what is stored with a time is compared with that. How far the two are apart
//! is told ([`Clock::ahead_of_wall_ms`]). A test moves both clocks by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::event::Timestamp;

/// The clock that nobody sets. On Apple's systems this one runs through a sleep of the machine.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STEADY: ClockId = ClockId::Monotonic;
/// The clock that nobody sets. The monotonic clock of Linux stands while the machine is suspended.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STEADY: ClockId = ClockId::Boottime;

/// Tells the bus what time it is. Cheap to clone; clones tell the same time.
#[derive(Debug, Clone)]
pub struct Clock {
    machine: Arc<Machine>,
    /// The wall clock and the steady one, in milliseconds, when this clock was made.
    begun: (u64, u64),
}

/// Where time comes from.
#[derive(Debug)]
enum Machine {
    Real,
    Manual { wall: AtomicU64, steady: AtomicU64 },
}

impl Machine {
    fn wall(&self) -> u64 {
        match self {
            Self::Real => wall_millis(),
            Self::Manual { wall, .. } => wall.load(Ordering::Acquire),
        }
    }

    fn steady(&self) -> u64 {
        match self {
            Self::Real => steady_millis(),
            Self::Manual { steady, .. } => steady.load(Ordering::Acquire),
        }
    }
}

impl Clock {
    /// The machine's clock, begun at its wall clock.
    pub fn wall() -> Self {
        Self::of(Arc::new(Machine::Real))
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self::of(Arc::new(Machine::Manual { wall: AtomicU64::new(start.0), steady: AtomicU64::new(0) }))
    }

    fn of(machine: Arc<Machine>) -> Self {
        let begun = (machine.wall(), machine.steady());
        Self { machine, begun }
    }

    /// The clock of a process that starts now on the same machine: begun at what its wall clock says.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self::of(Arc::clone(&self.machine))
    }

    /// The time now.
    ///
    /// # Guarantees
    /// Never earlier than a time told before. Two times are as far apart as they were told, to a millisecond,
    /// whatever becomes of the wall clock.
    pub fn now(&self) -> Timestamp {
        let (wall, steady) = self.begun;
        Timestamp(wall.saturating_add(self.machine.steady().saturating_sub(steady)))
    }

    /// Milliseconds that bus time is ahead of the wall clock: more than 0 when that was set back since the start, less
    /// when it was set forward.
    pub fn ahead_of_wall_ms(&self) -> i64 {
        let (now, wall) = (self.now().0, self.machine.wall());
        let apart = i64::try_from(now.abs_diff(wall)).unwrap_or(i64::MAX);
        if now < wall { -apart } else { apart }
    }

    /// Whether a test moves this clock.
    pub fn is_manual(&self) -> bool {
        matches!(*self.machine, Machine::Manual { .. })
    }

    /// Lets time pass on a machine that is moved by hand; a real one takes no notice.
    pub fn advance(&self, by: Duration) {
        if let Machine::Manual { wall, steady } = &*self.machine {
            let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            wall.fetch_add(by, Ordering::AcqRel);
            steady.fetch_add(by, Ordering::AcqRel);
        }
    }

    /// Sets the wall clock of a machine that is moved by hand, as its operator or NTP does; no time passes.
    pub fn set_wall(&self, to: Timestamp) {
        if let Machine::Manual { wall, .. } = &*self.machine {
            wall.store(to.0, Ordering::Release);
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

fn steady_millis() -> u64 {
    let time = clock_gettime(STEADY);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or_default().saturating_mul(1_000) + nanos.unwrap_or_default() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_774_944_000_000);
    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp(1_000));
        let same = clock.clone();

        clock.advance(Duration::from_mins(1));

        assert_eq!(same.now(), Timestamp(61_000));
    }

    #[test]
    fn time_goes_on_as_it_did_when_the_wall_clock_is_set() {
        for wall in [START.0 - DAY, START.0 - HOUR, START.0 + HOUR, START.0 + DAY, 0] {
            let clock = Clock::manual(START);
            clock.advance(Duration::from_secs(1));

            clock.set_wall(Timestamp(wall));

            assert_eq!(clock.now(), Timestamp(START.0 + 1_000), "no time has passed, wall {wall}");
            clock.advance(Duration::from_secs(1));
            assert_eq!(clock.now(), Timestamp(START.0 + 2_000), "wall {wall}");
            let ahead = i64::try_from(START.0 + 1_000).unwrap() - i64::try_from(wall).unwrap();
            assert_eq!(clock.ahead_of_wall_ms(), ahead);
        }
    }

    #[test]
    fn a_start_reads_the_wall_clock_anew() {
        let clock = Clock::manual(START);
        clock.set_wall(Timestamp(START.0 - HOUR));

        let restarted = clock.restarted();
        clock.advance(Duration::from_secs(1));

        assert_eq!((restarted.now(), restarted.ahead_of_wall_ms()), (Timestamp(START.0 - HOUR + 1_000), 0));
        assert_eq!(clock.now(), Timestamp(START.0 + 1_000));
    }

    #[test]
    fn the_machines_clock_begins_at_the_wall_clock_and_never_goes_back() {
        let clock = Clock::wall();
        let mut last = clock.now();
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        assert!(clock.ahead_of_wall_ms().abs() < 1_000, "{} ms", clock.ahead_of_wall_ms());
    }
}
