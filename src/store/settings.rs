//! Limits and places of an engine.

use std::path::PathBuf;
use std::time::Duration;

/// What an engine needs to know; every limit has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The data folder of a durable engine.
    pub path: PathBuf,
    /// How long a flow's status can be read after it has come to rest.
    pub status_ttl: Duration,
    /// How far back a repeated id is recognised.
    pub dedupe_window: Duration,
    /// Bytes that the dedupe records may take; beyond it the oldest go before their time, but for those of flows that are not at
    /// rest then, which stay for the window.
    pub dedupe_max_bytes: u64,
    /// How long a payload is kept after its flow has come to rest.
    pub retention: Duration,
    /// Bytes of sled's page cache.
    pub cache_bytes: u64,
    /// Bytes of changes in memory that start a checkpoint.
    pub checkpoint_bytes: u64,
    /// Time after which a checkpoint is due even when few changes wait.
    pub checkpoint_interval: Duration,
    /// Size of one journal segment file.
    pub segment_bytes: u64,
    /// Free bytes on the disk below which publishing is refused; the bus decides, the engine measures.
    pub disk_reserve: u64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            status_ttl: Duration::from_hours(24),
            dedupe_window: Duration::from_hours(24),
            dedupe_max_bytes: 256 << 20,
            retention: Duration::from_hours(24),
            cache_bytes: 64 << 20,
            checkpoint_bytes: 32 << 20,
            checkpoint_interval: Duration::from_secs(10),
            segment_bytes: 16 << 20,
            disk_reserve: 256 << 20,
        }
    }
}

/// Unfolded bytes, as a multiple of what starts a checkpoint, at which staging waits for the running one.
const STALL_FACTOR: u64 = 2;
/// Less than this never makes staging wait.
const STALL_MIN: u64 = 1 << 20;

impl StoreSettings {
    /// Unfolded bytes at which staging waits for the running checkpoint.
    pub const fn stall_bytes(&self) -> u64 {
        let bytes = self.checkpoint_bytes.saturating_mul(STALL_FACTOR);
        if bytes < STALL_MIN { STALL_MIN } else { bytes }
    }

    /// Unfolded bytes at which publishing is refused. Waiting comes first: this is met only while a
    /// checkpoint cannot go on, as on a full disk.
    pub const fn refuse_bytes(&self) -> u64 {
        self.stall_bytes().saturating_add(self.stall_bytes() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_wait_before_they_are_refused_however_small_the_checkpoints_are() {
        for checkpoint_bytes in [1, 64 << 10, 64 << 20, u64::MAX] {
            let settings = StoreSettings { checkpoint_bytes, ..StoreSettings::default() };

            assert!(settings.stall_bytes() >= STALL_MIN.max(checkpoint_bytes), "{checkpoint_bytes}");
            assert!(
                settings.refuse_bytes() > settings.stall_bytes() || checkpoint_bytes == u64::MAX,
                "{checkpoint_bytes}"
            );
        }
    }
}
