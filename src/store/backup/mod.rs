//! Backup: one file that holds a whole store, and can be checked without one.
//!
//! ```text
//! magic 8 | format 4
//! frame : kind 1 | length 4 | crc32c 4 | payload       each checksum starts from the frame's number
//! order : about · rows … · (fold · rows …) … · (segment · bytes …) … · manifest · end
//! ```
//!
//! *Rows* are sled's, read one after the other while checkpoints may go on; a *fold* is what one of those
//! checkpoints has changed meanwhile. Rows are absolute, so the rows with all folds laid over them, in
//! order, are what a checkpoint at the commit of the last fold holds. The *segments* are the journal's
//! files, up to the commit that was on disk when they were copied. A restore puts both in place; a start
//! applies what the journal has behind the rows, as after a crash.
//!
//! Numbers are little-endian. The format is this build's [`FORMAT`]; a newer one is refused by name.

mod reader;
mod writer;

use serde::{Deserialize, Serialize};

pub(super) use reader::{BackupReader, Piece};
pub(super) use writer::BackupWriter;

/// The newest format this build writes and reads. 2: rows may be those of a folder of format 6. 4: of format 7; a power of two,
/// so that no flipped bit of it makes it an older one.
pub(super) const FORMAT: u32 = 4;
const MAGIC: &[u8; 8] = b"TGBACK1\n";
/// Bytes of a frame before its payload.
const HEAD_BYTES: usize = 9;
/// The largest payload.
const PAYLOAD_MAX: u32 = 1 << 30;

const ABOUT: u8 = 1;
const ROWS: u8 = 2;
const FOLD: u8 = 3;
const SEGMENT: u8 = 4;
const BYTES: u8 = 5;
const MANIFEST: u8 = 6;
const END: u8 = 7;

/// What a backup says of itself before anything else.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct About {
    /// Version of the entries in the journal.
    pub(super) entries: u32,
    /// Which Tidegate wrote it.
    pub(super) tidegate: String,
}

/// What is in a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the backup's file.
    pub format: u32,
    /// Which Tidegate wrote it.
    pub tidegate: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// The newest commit in it: everything up to here is there.
    pub commit: u64,
    /// Up to which commit the rows hold everything.
    pub folded: u64,
    /// Events stored since the beginning; those of expired flows are not there any more.
    pub events: u64,
    /// Subscriptions with what is open for them.
    pub subscriptions: Vec<BackedUp>,
    /// Its parts, in order.
    pub parts: Vec<Part>,
}

/// A subscription as a backup has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUp {
    /// Its name.
    pub name: String,
    /// Deliveries not settled.
    pub backlog: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A part of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `rows`, `fold-<commit>`, or the name of a segment.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Rows in it; 0 for a segment.
    pub rows: u64,
    /// BLAKE3 of its bytes.
    pub blake3: String,
}

/// Checksum of a frame.
fn check(number: u64, kind: u8, payload: &[u8]) -> u32 {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let head = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &[kind]);
    crc32c::crc32c_append(crc32c::crc32c_append(head, &len.to_le_bytes()), payload)
}

#[cfg(test)]
mod tests;
