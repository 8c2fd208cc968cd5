//! Waiting for another process: by looking again and again, with an end.

use std::time::{Duration, Instant};

/// How long anything may take that should take a moment; what is looked at may take so long from one change to the
/// next.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(10);

/// How long something has taken. A black box has no clock to move: it is looked at with a real one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(Instant);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "the process under test runs by the real clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Lets `time` pass since the start, for loads and kills at random moments.
    #[expect(clippy::disallowed_methods, reason = "the process under test runs by the real clock")]
    pub(crate) fn let_pass(self, time: Duration) {
        std::thread::sleep(time.saturating_sub(self.elapsed()));
    }
}

/// The longest wait while what is seen changes, in [`PATIENCE`]s.
const LONGEST: u32 = 15;

/// Looks until `look` gives what is waited for; panics with what it saw last when nothing changes for too long.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let (begin, mut changed, mut last) = (Watch::start(), Watch::start(), String::new());
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if changed.elapsed() > PATIENCE && seen == last => {
                panic!("nothing new in {PATIENCE:?}: {what}; last seen: {seen}")
            }
            Err(seen) if begin.elapsed() > PATIENCE * LONGEST => panic!("no end: {what}; last seen: {seen}"),
            Err(seen) => {
                if seen != last {
                    (changed, last) = (Watch::start(), seen);
                }
                Watch::start().let_pass(PAUSE);
            }
        }
    }
}
