//! Real time: what is looked at are other processes, which have no clock to move.

use std::time::{Duration, Instant, SystemTime};

use crate::Outcome;

/// How long something has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch(Instant);

impl Watch {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "the process under test runs by the real clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Since it began.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Nanoseconds since 1970 by the wall clock, which all processes of the machine share.
#[expect(clippy::disallowed_methods, reason = "times of several processes are compared")]
pub(crate) fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits; the driver has nothing else to do.
#[expect(clippy::disallowed_methods, reason = "no arbiter runs on the driver's thread")]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until `look` finds something, for `patience` at most.
pub(crate) fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let watch = Watch::start();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if watch.elapsed() > patience {
            return Err(format!("not within {patience:?}: {what}").into());
        }
        pause(Duration::from_millis(2));
    }
}
