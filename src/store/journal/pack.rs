//! Pack: the entries of a large group, compressed in chunks.
//!
//! ```text
//! chunk: packed length 4 | length 4 | chunk check 4 | lz4
//!        unpacked: for each entry: length 4 | bytes
//! ```
//!
//! Events of one name have most of their bytes in common, which an entry alone does not show. A chunk is what is unpacked
//! to read one of its entries, so it is small; its check covers both lengths and the packed bytes.

use super::Location;
use super::record::{Key, RECORD_MAX, check_at, short};
use super::segment::take;

/// A group with fewer bytes stays as it is: there is little to win.
const PACKED_FROM: usize = 4 << 10;
/// A chunk ends before it would have more, unless one entry alone has: lz4 looks back no further than 64 KiB.
const CHUNK: usize = 60 << 10;
/// Bytes in front of a packed chunk.
pub(super) const CHUNK_PREFIX: usize = 12;
/// Room over this is given back.
const BUFFER_KEPT: usize = 4 << 20;
/// Bytes in front of an entry in its chunk.
const LENGTH: usize = 4;

/// A group's entries in chunks, for a place that is not known yet.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Bytes of the entries of the chunk that is being filled.
    open: Vec<u8>,
    /// The packed chunks, each behind room for its prefix.
    bytes: Vec<u8>,
    chunks: Vec<Chunk>,
    entries: Vec<Inside>,
}

/// One chunk in [`Packed::bytes`].
#[derive(Debug, Clone, Copy)]
struct Chunk {
    start: usize,
    end: usize,
    unpacked: usize,
}

/// One entry: the number of its chunk, where it begins in there, and how long it is.
#[derive(Debug, Clone, Copy)]
struct Inside {
    chunk: usize,
    start: usize,
    len: usize,
}

impl Packed {
    /// Packs a group; `false` where it does not pay, and then there is nothing in it.
    pub(super) fn pack<T: AsRef<[u8]>>(&mut self, entries: &[T]) -> bool {
        self.clear();
        let whole: usize = entries.iter().map(|entry| LENGTH + entry.as_ref().len()).sum();
        if whole < PACKED_FROM || whole as u64 > RECORD_MAX {
            return false;
        }
        let mut done = 0;
        for entry in entries.iter().map(AsRef::as_ref) {
            let is_full = self.open.len() + LENGTH + entry.len() > CHUNK;
            if is_full && !self.open.is_empty() {
                done += self.open.len();
                // A sample is enough: who finds nothing in common there will not find it behind.
                if !self.end_chunk() || !pays(self.bytes.len(), done) {
                    break;
                }
            }
            let (chunk, start) = (self.chunks.len(), self.open.len());
            self.entries.push(Inside { chunk, start, len: entry.len() });
            self.open.extend_from_slice(&short(entry.len()).to_le_bytes());
            self.open.extend_from_slice(entry);
        }
        done += self.open.len();
        let is_packed = done == whole && self.end_chunk() && pays(self.bytes.len(), whole);
        if !is_packed {
            self.clear();
        }
        is_packed
    }

    /// Its room, for the next group, unless it is much.
    pub(super) fn kept(self) -> Self {
        if self.bytes.capacity() + self.open.capacity() <= BUFFER_KEPT { self } else { Self::default() }
    }

    fn clear(&mut self) {
        self.open.clear();
        self.bytes.clear();
        self.chunks.clear();
        self.entries.clear();
    }

    /// Packs what is open; `false` when that could not be done.
    fn end_chunk(&mut self) -> bool {
        let (start, unpacked) = (self.bytes.len(), self.open.len());
        let room = lz4_flex::block::get_maximum_output_size(unpacked);
        self.bytes.resize(start + CHUNK_PREFIX + room, 0);
        let into = self.bytes.get_mut(start + CHUNK_PREFIX..).unwrap_or_default();
        // It has the room that it may need at most.
        let Ok(packed) = lz4_flex::block::compress_into(&self.open, into) else { return false };
        let end = start + CHUNK_PREFIX + packed;
        self.bytes.truncate(end);
        self.chunks.push(Chunk { start, end, unpacked });
        self.open.clear();
        true
    }

    /// How many entries there are.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the body.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the body of a record, which stands at `offset` of its segment; tells where the entries are.
    pub(super) fn write(&self, out: &mut Vec<u8>, key: Key, offset: u64) -> Vec<Location> {
        for chunk in &self.chunks {
            let packed = self.bytes.get(chunk.start + CHUNK_PREFIX..chunk.end).unwrap_or_default();
            let lengths = [short(packed.len()).to_le_bytes(), short(chunk.unpacked).to_le_bytes()].concat();
            let check = check(key, offset + chunk.start as u64, &lengths, packed);
            out.extend_from_slice(&lengths);
            out.extend_from_slice(&check.to_le_bytes());
            out.extend_from_slice(packed);
        }
        let place = |inside: &Inside| Location {
            segment: key.first,
            offset: offset + self.chunks.get(inside.chunk).map_or(0, |chunk| chunk.start as u64),
            inner: short(inside.start) + 1,
            len: short(inside.len),
        };
        self.entries.iter().map(place).collect()
    }
}

/// Whether so many bytes are worth unpacking them.
const fn pays(packed: usize, whole: usize) -> bool {
    packed <= whole - whole / 8
}

/// The prefix of a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prefix {
    /// Bytes of the chunk behind it.
    pub(super) packed: u32,
    lengths: [u8; 8],
    check: u32,
}

impl Prefix {
    /// Reads it.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let lengths = take::<8>(&mut rest)?;
        let check = u32::from_le_bytes(take(&mut rest)?);
        Some(Self { packed: u32::from_le_bytes(take(&mut lengths.as_slice())?), lengths, check })
    }

    /// Adds the entries of the chunk, whose prefix stands at `offset`, to `out`; `None` when its bytes are not what was
    /// written.
    pub(super) fn unpack(&self, packed: &[u8], key: Key, offset: u64, out: &mut Vec<u8>) -> Option<()> {
        let len = u32::from_le_bytes(take(&mut self.lengths.get(4..)?)?);
        if self.check != check(key, offset, &self.lengths, packed) || u64::from(len) > RECORD_MAX {
            return None;
        }
        let (start, len) = (out.len(), usize::try_from(len).ok()?);
        out.resize(start + len, 0);
        let found = lz4_flex::block::decompress_into(packed, out.get_mut(start..)?).ok()?;
        (found == len).then_some(())
    }
}

/// Cuts an entry out of its unpacked chunk; `None` when it is not there.
pub(super) fn entry<'a>(chunk: &'a [u8], at: &Location) -> Option<&'a [u8]> {
    let mut rest = chunk.get(usize::try_from(at.inner).ok()?.checked_sub(1)?..)?;
    let len = u32::from_le_bytes(take(&mut rest)?);
    rest.get(..usize::try_from(at.len).ok()?).filter(|_| len == at.len)
}

/// The entries of a packed body that stands at `offset` of its segment; `room` gets their bytes.
pub(super) fn entries<'a>(
    body: &[u8],
    key: Key,
    offset: u64,
    room: &'a mut Vec<u8>,
) -> Option<Vec<(Location, &'a [u8])>> {
    room.clear();
    let (mut rest, mut chunks) = (body, Vec::new());
    while !rest.is_empty() {
        let at = offset + (body.len() - rest.len()) as u64;
        let (prefix, behind) = rest.split_at_checked(CHUNK_PREFIX)?;
        let prefix = Prefix::of(prefix)?;
        let (packed, after) = behind.split_at_checked(usize::try_from(prefix.packed).ok()?)?;
        let start = room.len();
        prefix.unpack(packed, key, at, room)?;
        chunks.push((at, start..room.len()));
        rest = after;
    }
    let (room, mut entries) = (&*room, Vec::new());
    for (offset, range) in chunks {
        let chunk = room.get(range)?;
        let mut rest = chunk;
        while !rest.is_empty() {
            let inner = short(chunk.len() - rest.len()) + 1;
            let len = u32::from_le_bytes(take(&mut rest)?);
            let (entry, after) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            entries.push((Location { segment: key.first, offset, inner, len }, entry));
            rest = after;
        }
    }
    Some(entries)
}

fn check(key: Key, offset: u64, lengths: &[u8], packed: &[u8]) -> u32 {
    crc32c::crc32c_append(check_at(key, offset, lengths), packed)
}
