//! Watchdog: says that commits do not move, while nobody else can say anything.

use std::time::Duration;

use super::{Bus, Health};
use crate::committer::Underway;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

/// What is watched, and how long one thing may take.
#[derive(Debug, Clone)]
pub(super) struct Watchdog {
    pub(super) underway: Underway,
    pub(super) patience: Duration,
    pub(super) health: Health,
}

impl Watchdog {
    /// How long the committer has been at one thing, when that is too long.
    pub(super) fn stalled(&self) -> Option<Duration> {
        self.underway.elapsed().filter(|elapsed| *elapsed >= self.patience)
    }

    /// Logs the beginning and the end of each stall, until the bus ends. Real time: it is the disk that is watched.
    pub(super) async fn run(self) {
        let mut was_stalled = false;
        while !self.health.is_ending() {
            tokio::time::sleep(LOOK).await;
            let stalled = self.stalled();
            match (was_stalled, stalled) {
                (false, Some(elapsed)) => tracing::error!(
                    seconds = elapsed.as_secs_f64(),
                    "a group commit does not end: the disk does not answer; publishers wait"
                ),
                (true, None) => tracing::warn!("commits move again"),
                _ => {}
            }
            was_stalled = stalled.is_some();
        }
    }
}

impl Bus {
    /// How long the commit that is under way has taken, when that is longer than `bus.stall_after`: then the disk does
    /// not answer, and publishers wait.
    pub fn stalled(&self) -> Option<Duration> {
        self.0.watchdog.stalled()
    }

    /// Whether the store has failed and statuses are told as they are on disk.
    pub fn is_read_only(&self) -> bool {
        self.0.health.is_read_only()
    }
}
