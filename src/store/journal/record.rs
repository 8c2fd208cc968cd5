//! The bytes of a record: pure encoding and checking, no files.
//!
//! ```text
//! head 32: magic 4 | body length 4 | commit 8 | synced 8 | entry count 4 | head check 4
//! body   : for each entry: length 4 | entry check 4 | bytes       or, of a large group, chunks (`pack.rs`)
//! tail   : body check 4 | 0xA5 one to 32 times, up to the next multiple of 32
//! ```
//!
//! All checks are crc32c, seeded by the segment's salt and the byte offset, so that a record is valid at
//! its own place only. The head check covers the head, the body check the head and the body, an entry
//! check the entry's length and bytes; packed ones share that of their chunk. The magic tells whether the body
//! is packed. `synced` is the newest commit known to be on disk when the record was placed: a valid head proves
//! that everything up to it had been synced.
//! Records start at multiples of 32, so a head never lies across two disk sectors, and they end in a byte
//! that is not zero, so that a write that did not arrive completely shows.

use super::pack::{self, Packed};
use super::segment::{Header, take};
use super::{Commit, Location};

/// Records start at multiples of this.
pub(super) const ALIGN: u64 = 32;
/// Bytes of a record's head.
pub(super) const HEAD_BYTES: usize = 32;
/// Bytes before an entry: its length and its check.
pub(super) const ENTRY_PREFIX: usize = 8;
/// The largest record.
pub(super) const RECORD_MAX: u64 = 1 << 30;

const CHECK_BYTES: usize = 4;
const FILL: u8 = 0xA5;
const COMMIT_MAGIC: &[u8; 4] = b"TGcm";
const PACKED_MAGIC: &[u8; 4] = b"TGcp";
const SEAL_MAGIC: &[u8; 4] = b"TGsl";

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A group commit.
    Commit,
    /// Only says that everything up to its commit number is on disk; has no entries and no number of its
    /// own.
    Seal,
}

/// A segment as far as its checksums need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Its first commit.
    pub(super) first: u64,
    /// See [`Header::seed`].
    pub(super) seed: u32,
}

impl From<&Header> for Key {
    fn from(header: &Header) -> Self {
        Self { first: header.first, seed: header.seed() }
    }
}

/// The head of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) commit: Commit,
    pub(super) synced: Commit,
    is_packed: bool,
    body: u32,
    count: u32,
}

/// What a record holds.
#[derive(Debug)]
pub(super) enum Body<'a, T> {
    /// Each entry by itself.
    Plain(&'a [T]),
    /// In chunks; segments of format 1 have none.
    Packed(&'a Packed),
}

impl Head {
    /// Reads the head at `offset`; `None` when it is not one.
    pub(super) fn parse(bytes: &[u8], key: Key, offset: u64) -> Option<Self> {
        let (covered, check) = bytes.split_last_chunk::<4>()?;
        let mut rest = covered;
        let (kind, is_packed) = match &take::<4>(&mut rest)? {
            COMMIT_MAGIC => (Kind::Commit, false),
            PACKED_MAGIC => (Kind::Commit, true),
            SEAL_MAGIC => (Kind::Seal, false),
            _ => return None,
        };
        if check_at(key, offset, covered) != u32::from_le_bytes(*check) {
            return None;
        }
        Some(Self {
            kind,
            is_packed,
            body: u32::from_le_bytes(take(&mut rest)?),
            commit: Commit(u64::from_le_bytes(take(&mut rest)?)),
            synced: Commit(u64::from_le_bytes(take(&mut rest)?)),
            count: u32::from_le_bytes(take(&mut rest)?),
        })
    }

    /// Bytes of the whole record on disk.
    pub(super) fn total(&self) -> u64 {
        padded(u64::from(self.body))
    }

    /// The entries of the record whose bytes are `record`; `None` when they are not what was written. `room` is for those
    /// that have to be unpacked.
    pub(super) fn entries<'a>(
        &self,
        record: &'a [u8],
        key: Key,
        offset: u64,
        room: &'a mut Vec<u8>,
    ) -> Option<Vec<(Location, &'a [u8])>> {
        let (head, rest) = record.split_at_checked(HEAD_BYTES)?;
        let (body, mut tail) = rest.split_at_checked(usize::try_from(self.body).ok()?)?;
        let check = take(&mut tail)?;
        if crc32c::crc32c_append(check_at(key, offset, head), body) != u32::from_le_bytes(check)
            || tail.iter().any(|byte| *byte != FILL)
        {
            return None;
        }
        let at = offset + HEAD_BYTES as u64;
        let entries =
            if self.is_packed { pack::entries(body, key, at, room) } else { plain_entries(body, key, at) };
        entries.filter(|entries| entries.len() as u64 == u64::from(self.count))
    }
}

fn plain_entries(body: &[u8], key: Key, mut at: u64) -> Option<Vec<(Location, &[u8])>> {
    let (mut entries, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let len = u32::from_le_bytes(take(&mut rest)?);
        // The entry's own check is for reading it alone; the body check covers its bytes here.
        take::<4>(&mut rest)?;
        let (entry, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
        entries.push((Location { segment: key.first, offset: at, inner: 0, len }, entry));
        at += (ENTRY_PREFIX + entry.len()) as u64;
        rest = after;
    }
    Some(entries)
}

impl<T: AsRef<[u8]>> Body<'_, T> {
    fn len(&self) -> usize {
        match self {
            Self::Plain(entries) => entries.iter().map(|entry| ENTRY_PREFIX + entry.as_ref().len()).sum(),
            Self::Packed(packed) => packed.len(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Plain(entries) => entries.len(),
            Self::Packed(packed) => packed.count(),
        }
    }

    /// Bytes that a record of it takes on disk; `None` when it is over [`RECORD_MAX`].
    pub(super) fn record_bytes(&self) -> Option<u64> {
        let body = self.len() as u64;
        (body <= RECORD_MAX).then(|| padded(body))
    }

    /// Appends it at `offset` of its segment, and tells where its entries are.
    fn write(&self, out: &mut Vec<u8>, key: Key, offset: u64) -> Vec<Location> {
        let entries = match self {
            Self::Plain(entries) => *entries,
            Self::Packed(packed) => return packed.write(out, key, offset),
        };
        let (mut places, mut at) = (Vec::with_capacity(entries.len()), offset);
        for entry in entries.iter().map(AsRef::as_ref) {
            out.extend_from_slice(&short(entry.len()).to_le_bytes());
            out.extend_from_slice(&entry_check(key, at, entry).to_le_bytes());
            out.extend_from_slice(entry);
            places.push(Location { segment: key.first, offset: at, inner: 0, len: short(entry.len()) });
            at += (ENTRY_PREFIX + entry.len()) as u64;
        }
        places
    }
}

fn padded(body: u64) -> u64 {
    // At least one fill byte follows the check.
    (HEAD_BYTES as u64 + body + CHECK_BYTES as u64 + 1).next_multiple_of(ALIGN)
}

/// Appends a record that will stand at `offset` of its segment, and tells where its entries are.
///
/// The caller has checked the size with [`Body::record_bytes`].
pub(super) fn encode<T: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    (kind, commit, synced): (Kind, Commit, Commit),
    (key, offset): (Key, u64),
    body: &Body<'_, T>,
) -> Vec<Location> {
    let (start, len) = (out.len(), body.len());
    out.extend_from_slice(match (kind, body) {
        (Kind::Seal, _) => SEAL_MAGIC,
        (Kind::Commit, Body::Plain(_)) => COMMIT_MAGIC,
        (Kind::Commit, Body::Packed(_)) => PACKED_MAGIC,
    });
    out.extend_from_slice(&short(len).to_le_bytes());
    out.extend_from_slice(&commit.0.to_le_bytes());
    out.extend_from_slice(&synced.0.to_le_bytes());
    out.extend_from_slice(&short(body.count()).to_le_bytes());
    let head_check = check_at(key, offset, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&head_check.to_le_bytes());
    let places = body.write(out, key, offset + HEAD_BYTES as u64);
    let (head, written) = out.get(start..).unwrap_or_default().split_at(HEAD_BYTES);
    let check = crc32c::crc32c_append(check_at(key, offset, head), written);
    out.extend_from_slice(&check.to_le_bytes());
    let total = usize::try_from(padded(len as u64)).unwrap_or(usize::MAX);
    out.resize(start + total, FILL);
    places
}

/// Checks one entry read alone: prefix and bytes at `offset` of its segment.
pub(super) fn verify_entry(prefixed: &[u8], key: Key, at: &Location) -> bool {
    let mut rest = prefixed;
    let (Some(len), Some(check)) = (take(&mut rest), take(&mut rest)) else {
        return false;
    };
    u32::from_le_bytes(len) == at.len
        && rest.len() == at.len as usize
        && u32::from_le_bytes(check) == entry_check(key, at.offset, rest)
}

fn entry_check(key: Key, offset: u64, entry: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(key.seed, &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &short(entry.len()).to_le_bytes()), entry)
}

pub(super) fn check_at(key: Key, offset: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(key.seed, &offset.to_le_bytes()), bytes)
}

/// A length within [`RECORD_MAX`]; a longer one cannot get here and would fail its checks.
pub(super) fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
