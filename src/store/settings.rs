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
    /// Bytes that the dedupe records may take; beyond it the oldest go before their time.
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
            segment_bytes: 64 << 20,
            disk_reserve: 256 << 20,
        }
    }
}
