//! Waiting for another process: by looking again and again, with an end.

use std::time::{Duration, Instant};

/// How long anything may take that should take a moment.
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

/// Looks until `look` gives what is waited for; panics with what it saw last when that takes too long.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let watch = Watch::start();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if watch.elapsed() > PATIENCE => {
                panic!("not within {PATIENCE:?}: {what}; last seen: {seen}")
            }
            Err(_) => Watch::start().let_pass(PAUSE),
        }
    }
}
