//! Segment files: their names, their header, and which of them make up a journal.
//!
//! The header's 64 bytes keep their shape in every format version, so that an older build can tell a
//! newer file from a damaged one: `magic 8 | version 4 | zero 4 | first commit 8 | previous segment 8 |
//! salt 8 | zero 20 | crc32c 4`, all numbers little-endian.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::StoreError;

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: u64 = 64;
/// The newest format this build writes and reads. 2: large groups are packed.
pub(super) const FORMAT: u32 = 2;
/// What is said about damage that no later step can mend.
pub(super) const RESTORE: &str =
    "restore the data folder from a backup; what lies before this place can still be read";
/// Under this name a segment is prepared before it gets its number.
pub(super) const SPARE_NAME: &str = "next.journal.tmp";

const MAGIC: &[u8; 8] = b"TGJOURN\n";
const EXTENSION: &str = "journal";

/// A segment's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Its format. A segment of an earlier build goes on in that: an earlier build could not tell what it does not know
    /// from damage.
    pub(super) format: u32,
    /// Number of the first commit; also the file's name.
    pub(super) first: u64,
    /// First commit of the segment before it, 0 for the very first: a missing file in the middle shows
    /// without reading its neighbours.
    pub(super) previous: u64,
    /// Drawn for each segment and mixed into every checksum in it: bytes of another place, or bytes that
    /// a publisher made to look like a record, never pass for one.
    pub(super) salt: u64,
}

impl Header {
    /// The header of a new segment.
    pub(super) fn new(first: u64, previous: u64) -> Self {
        // The standard library's per-process random keys are the randomness at hand; nothing secret
        // hangs on it.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(first);
        Self { format: FORMAT, first, previous, salt: hasher.finish() }
    }

    /// Whether its records may be packed.
    pub(super) const fn takes_packed(&self) -> bool {
        self.format >= 2
    }

    /// What every checksum of the segment starts from.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.first.to_le_bytes()), &self.salt.to_le_bytes())
    }

    /// Its 64 bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.first.to_le_bytes());
        out.extend_from_slice(&self.previous.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&[0; 20]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads a header and compares it with the number in the file's name.
    ///
    /// A segment is renamed into place after its header was synced, so a bad header is always damage.
    pub(super) fn decode(bytes: Option<&[u8]>, path: &Path, named: u64) -> Result<Self, StoreError> {
        let bad = |problem: String| damaged(path, 0, problem);
        let Some((header, check)) = bytes.and_then(|bytes| bytes.split_last_chunk::<4>()) else {
            return Err(bad("the file is shorter than a segment's header".to_owned()));
        };
        if crc32c::crc32c(header) != u32::from_le_bytes(*check) {
            return Err(bad("the segment's header does not match its checksum".to_owned()));
        }
        let mut rest = header;
        let fields = (take::<8>(&mut rest), take(&mut rest), take::<4>(&mut rest));
        let numbers = (take(&mut rest), take(&mut rest), take(&mut rest));
        let ((Some(magic), Some(version), Some(_)), (Some(first), Some(previous), Some(salt))) =
            (fields, numbers)
        else {
            return Err(bad("the file is shorter than a segment's header".to_owned()));
        };
        let version = u32::from_le_bytes(version);
        if &magic != MAGIC {
            return Err(bad("this is not a segment of a Tidegate journal".to_owned()));
        }
        if version > FORMAT {
            return Err(StoreError::Newer { path: path.to_owned(), found: version, supported: FORMAT });
        }
        let header = Self {
            format: version,
            first: u64::from_le_bytes(first),
            previous: u64::from_le_bytes(previous),
            salt: u64::from_le_bytes(salt),
        };
        if header.first != named || named == 0 {
            return Err(bad(format!("the header says first commit {}, the name says {named}", header.first)));
        }
        Ok(header)
    }
}

/// Reads and checks the header of an open segment; nothing else of it is read.
pub(super) fn read_header(file: &File, path: &Path, named: u64) -> Result<Header, StoreError> {
    let mut bytes = [0; 64];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Header::decode(Some(&bytes), path, named),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Header::decode(None, path, named),
        Err(error) => Err(StoreError::io("read", path, &error)),
    }
}

/// The file of the segment that starts with commit `first`.
pub(super) fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}"))
}

/// The first commit numbers of all segments in the folder, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let failed = |error: std::io::Error| StoreError::io("list", dir, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_segment = path.extension().is_some_and(|extension| extension == EXTENSION) && stem.len() == 20;
        if let (true, Ok(first)) = (is_segment, stem.parse()) {
            found.push(first);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Damage with the usual remedy.
pub(super) fn damaged(path: &Path, offset: u64, problem: String) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), offset, problem, remedy: RESTORE.to_owned() }
}

/// Cuts the next `N` bytes off the front.
pub(super) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}
