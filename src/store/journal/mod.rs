//! Commit journal: the append-only truth in front of the embedded store.
//!
//! A record is one group commit: a gap-free number and opaque entries. [`Journal::append`] places and
//! buffers it, [`Journal::sync`] writes everything buffered with one write and one `fdatasync`. Records
//! live in preallocated segment files, large ones packed; [`JournalReader`] finds single entries again by their
//! [`Location`] and verifies each one alone, or the chunk that it is packed in.
//!
//! ```text
//! 00000000000000000001.journal  [header|record|record|seal|record|.....|slack 0]
//! 00000000000000000874.journal  [header|record|record|0 0 0 0 0 0 0 0 0 0 0 0 0]   <- active
//!                                                     ^ end      ^ preallocated
//! ```
//!
//! Whatever was synced is there again after a crash or reported as [`StoreError::Damaged`], never passed
//! over. Only a write that was never synced is cut, and how the two are told apart is said in
//! `docs/storage-journal.md` and lives in `recover.rs`. After a failed write or sync nothing is taken any
//! more ([`StoreError::Poisoned`]): an `fsync` is never tried twice.
//!
//! It knows nothing of events, holds no index, and does not lock the folder: its owner does.

mod ahead;
#[cfg(test)]
mod ahead_tests;
mod audit;
mod begin;
mod disk;
mod fold;
mod mark;
mod open;
mod pack;
mod reader;
mod record;
mod recover;
mod roll;
mod segment;
#[cfg(test)]
mod sync_tests;
mod window;
pub(super) mod witness;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditAsk, JournalFault, SegmentExtent, audit};
pub use begin::{BeginFault, check_begin};
pub use disk::write_atomic;
pub(super) use disk::{sync_dir, sync_file, sync_parent};
pub use fold::{FoldBlock, FoldReader, FoldWriter, Folded, VisitPair, read_fold};
pub use mark::Mark;
pub use reader::JournalReader;
pub use recover::Visit;
pub use writer::Journal;

use super::{Commit, StoreError};

/// Where a journal lives and how large its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// The folder; created when it is missing, for the owner only.
    pub dir: PathBuf,
    /// Bytes preallocated for a segment. A larger record gets a segment of its own size.
    pub segment_bytes: u64,
}

impl JournalSettings {
    /// A journal in `dir` with segments of 16 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_bytes: 16 * 1024 * 1024 }
    }
}

/// Where one entry lives; stays valid until its segment is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "WrittenLocation", into = "WrittenLocation")]
pub struct Location {
    /// The first commit number of its segment.
    pub segment: u64,
    /// Byte offset in the segment's file: of the entry's own prefix (length and checksum), or of the chunk it is packed in.
    pub offset: u64,
    /// Where it begins in the unpacked chunk, counted from 1; 0 when it is not packed.
    pub inner: u32,
    /// Length of the entry in bytes, the prefix left out.
    pub len: u32,
}

/// A location as rows have it since before entries were packed: a segment has less than 2^40 bytes, a chunk begins its
/// last entry before 2^24.
#[derive(Serialize, Deserialize)]
struct WrittenLocation {
    segment: u64,
    at: u64,
    len: u32,
}

/// Bits of an offset in [`WrittenLocation::at`].
const OFFSET_BITS: u32 = 40;

impl From<Location> for WrittenLocation {
    fn from(Location { segment, offset, inner, len }: Location) -> Self {
        Self { segment, at: offset | u64::from(inner) << OFFSET_BITS, len }
    }
}

impl From<WrittenLocation> for Location {
    fn from(WrittenLocation { segment, at, len }: WrittenLocation) -> Self {
        // 24 bits are left.
        let inner = u32::try_from(at >> OFFSET_BITS).unwrap_or(0);
        Self { segment, offset: at & ((1 << OFFSET_BITS) - 1), inner, len }
    }
}

/// One group commit as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub commit: Commit,
    /// Its entries in the order of the append.
    pub entries: Vec<(Location, &'a [u8])>,
}

/// One segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Number of its first commit.
    pub first_commit: Commit,
    /// Number of its last durable commit; one less than the first while it is empty.
    pub last_commit: Commit,
    /// Bytes it takes on the disk, preallocated ones included.
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
}

/// What was cut from the last segment at open: a write that had never been synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the last complete record ends.
    pub offset: u64,
    /// How many bytes after it were zeroed.
    pub bytes: u64,
}
