//! Skew: a wall clock that was set. It moves nothing here; people are told, since what they read then is not what
//! their own clocks say.

use tracing::{info, warn};

use crate::clock::Clock;
use crate::event::{Timestamp, draw_after};

/// What is nothing to tell: clocks are set by less all the time.
const UNTOLD_MS: u64 = 1_000;

/// What was told of the wall clock.
#[derive(Debug, Default)]
pub(crate) struct Skew {
    told_ms: i64,
}

impl Skew {
    /// Tells when the wall clock was set since the last look.
    pub(crate) fn look(&mut self, clock: &Clock) {
        let Some(ahead_ms) = self.news(clock.ahead_of_wall_ms()) else { return };
        if ahead_ms == 0 {
            info!("the machine's clock and the bus agree again");
            return;
        }
        let standing = if ahead_ms < 0 { "ahead of" } else { "behind" };
        warn!(
            apart_ms = ahead_ms.unsigned_abs(),
            "the machine's clock was set and stands {standing} the bus, which goes on by its own: nothing comes earlier or later for it. \
             Restart when the machine's clock is right, so that times and schedules follow it"
        );
    }

    /// What there is to tell of a bus that is `ahead_ms` of the wall clock.
    fn news(&mut self, ahead_ms: i64) -> Option<i64> {
        let ahead_ms = if ahead_ms.unsigned_abs() < UNTOLD_MS { 0 } else { ahead_ms };
        let is_news = ahead_ms.abs_diff(self.told_ms) >= UNTOLD_MS;
        is_news.then(|| {
            self.told_ms = ahead_ms;
            ahead_ms
        })
    }
}

/// Tells, at a start, when the wall clock stands before what is stored, and lets ids go on in order all the same.
///
/// What is stored with a time waits for the clock to say it: due times come as late as it was set back, and nothing
/// is forgotten before its time.
pub(crate) fn at_start(latest: Timestamp, clock: &Clock) {
    draw_after(latest);
    let behind_ms = latest.millis_since(clock.now());
    if behind_ms >= UNTOLD_MS {
        warn!(
            behind_ms,
            latest = %latest,
            "the machine's clock stands before the newest entry of the store: it was set back, or is not set yet. What is due at a stored \
             time waits until the clock says it; set the clock right and restart"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_jump_is_told_once_and_a_small_one_not_at_all() {
        let mut skew = Skew::default();
        let told: Vec<Option<i64>> =
            [0, 900, 3_600_000, 3_600_400, 3_599_800, -86_400_000, -86_400_000, 3, 0]
                .map(|ms| skew.news(ms))
                .into();

        assert_eq!(told, [None, None, Some(3_600_000), None, None, Some(-86_400_000), None, Some(0), None]);
    }
}
