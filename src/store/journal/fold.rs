//! Fold files: what a checkpoint is about to put into the base, in order, so that it can be put there
//! again after a crash in the middle.
//!
//! ```text
//! magic 8 | format 4
//! block : payload length 4 | pairs in it 4 | crc32c 4 | payload    pairs, as lz4; in format 1 as they are
//! pair  : key length 4 | value length + 1, or 0 for "remove" 4 | key | value
//! end   : zero 4 | zero 4 | crc32c 4 | pairs in the file 8
//! ```
//!
//! Each checksum starts from the block's number, so that a block that is missing or at another place
//! shows. The file gets its name when it is complete and synced: a file that ends early is damage.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::segment::{self, take};
use super::{StoreError, disk};
use crate::store::faults::{Point, reach};

const MAGIC: &[u8; 8] = b"TGFOLD1\n";
const FORMAT: u32 = 2;
/// The first format with compressed blocks.
const COMPRESSED: u32 = 2;
/// A block is closed when it has reached this.
const BLOCK_BYTES: usize = 64 * 1024;
/// Blocks are kept for whoever reads them next until there are so many bytes of them: a checkpoint mostly has half of it.
const KEPT_BYTES: usize = 16 << 20;
/// A pair may be larger than a block, but not this large.
const PAIR_MAX: usize = 1 << 30;

/// Writes a fold file.
#[derive(Debug)]
pub struct FoldWriter {
    file: BufWriter<File>,
    path: PathBuf,
    block: Vec<u8>,
    in_block: u32,
    number: u64,
    pairs: u64,
    last: Option<Vec<u8>>,
    /// The blocks so far, and their bytes; none once they have become too many.
    kept: Option<(Vec<FoldBlock>, usize)>,
}

/// A fold file that is complete and durable.
#[derive(Debug)]
pub struct Folded {
    /// How many pairs are in it.
    pub pairs: u64,
    /// All of it, to be spared reading it again; `None` where that is too much for memory.
    pub blocks: Option<Vec<FoldBlock>>,
}

impl FoldWriter {
    /// Starts the file that will be at `path` once it is finished; until then it is beside it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let mut file = BufWriter::new(disk::create_private(&disk::beside(path))?);
        let head = [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat();
        file.write_all(&head).map_err(|error| StoreError::io("write", path, &error))?;
        let path = path.to_owned();
        let kept = Some((Vec::new(), 0));
        Ok(Self { file, path, block: Vec::new(), in_block: 0, number: 0, pairs: 0, last: None, kept })
    }

    /// Adds a pair; no value means that the key is to be removed. Keys come in ascending order, once each.
    ///
    /// # Errors
    /// [`StoreError::Io`], of kind `InvalidInput` for a key out of order or a pair over 1 GiB.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let refused = |problem: &str| {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, problem.to_owned());
            Err(StoreError::io("add to", &self.path, &error))
        };
        if self.last.as_deref().is_some_and(|last| last >= key) {
            return refused("the keys of a fold file ascend");
        }
        if key.len() + value.map_or(0, <[u8]>::len) > PAIR_MAX {
            return refused("a pair is 1 GiB at most");
        }
        self.block.extend_from_slice(&short(key.len()).to_le_bytes());
        self.block.extend_from_slice(&value.map_or(0, |value| short(value.len()) + 1).to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value.unwrap_or_default());
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.in_block += 1;
        self.pairs += 1;
        if self.block.len() >= BLOCK_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> Result<(), StoreError> {
        let packed = lz4_flex::compress_prepend_size(&self.block);
        let (len, count) = (short(packed.len()), self.in_block);
        let check = check(self.number, len, count, &packed);
        let head = [len.to_le_bytes(), count.to_le_bytes(), check.to_le_bytes()].concat();
        let written = self.file.write_all(&head).and_then(|()| self.file.write_all(&packed));
        written.map_err(|error| StoreError::io("write", &self.path, &error))?;
        reach(Point::FoldFileBegun);
        self.keep_block();
        self.in_block = 0;
        self.number += 1;
        Ok(())
    }

    /// Keeps the block that has been written, and has room for the next one.
    fn keep_block(&mut self) {
        let Some((blocks, bytes)) = &mut self.kept else { return self.block.clear() };
        *bytes += self.block.len();
        if *bytes > KEPT_BYTES {
            self.kept = None;
            return self.block.clear();
        }
        // Not that of a block with one large pair.
        let room = Vec::with_capacity(self.block.capacity().min(2 * BLOCK_BYTES));
        blocks.push(FoldBlock { payload: std::mem::replace(&mut self.block, room) });
    }

    /// Completes the file and gives it its name.
    ///
    /// # Guarantees
    /// Durable when it returns; before that there is no file of that name, or the one from before.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn finish(mut self) -> Result<Folded, StoreError> {
        if self.in_block > 0 {
            self.end_block()?;
        }
        let blocks = self.kept.take().map(|(blocks, _)| blocks);
        self.block.extend_from_slice(&self.pairs.to_le_bytes());
        let check = check(self.number, 0, 0, &self.block);
        let end = [[0; 4], [0; 4], check.to_le_bytes()].concat();
        let failed = |error: std::io::Error| StoreError::io("write", &self.path, &error);
        self.file.write_all(&end).and_then(|()| self.file.write_all(&self.block)).map_err(failed)?;
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        disk::publish(&file, &disk::beside(&self.path), &self.path)?;
        Ok(Folded { pairs: self.pairs, blocks })
    }
}

/// Reads a fold file block by block.
#[derive(Debug)]
pub struct FoldReader {
    file: BufReader<File>,
    path: PathBuf,
    format: u32,
    offset: u64,
    number: u64,
    pairs: u64,
    ended: bool,
}

/// Some pairs of a fold file, as they were written, or verified and unpacked.
#[derive(Debug)]
pub struct FoldBlock {
    payload: Vec<u8>,
}

impl FoldBlock {
    /// The pairs in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = self.payload.as_slice();
        std::iter::from_fn(move || pair(&mut rest))
    }
}

impl FoldReader {
    /// Opens a fold file.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Newer`], [`StoreError::Damaged`].
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| StoreError::io("open", path, &error))?;
        let mut reader = Self {
            file: BufReader::with_capacity(2 * BLOCK_BYTES, file),
            path: path.to_owned(),
            format: FORMAT,
            offset: 0,
            number: 0,
            pairs: 0,
            ended: false,
        };
        let (magic, format) = (reader.bytes::<8>()?, u32::from_le_bytes(reader.bytes()?));
        reader.format = format;
        if &magic != MAGIC {
            return Err(segment::damaged(path, 0, "this is not a fold file".to_owned()));
        }
        if format > FORMAT {
            return Err(StoreError::Newer { path: path.to_owned(), found: format, supported: FORMAT });
        }
        Ok(reader)
    }

    /// The next pairs, about 64 KiB of them; `None` after the last, when the count was right as well.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`]. Pairs returned before are right all the same.
    pub fn next_block(&mut self) -> Result<Option<FoldBlock>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let at = self.offset;
        let damaged = |path: &Path, problem: &str| segment::damaged(path, at, problem.to_owned());
        let (len, count) = (u32::from_le_bytes(self.bytes()?), u32::from_le_bytes(self.bytes()?));
        let stored = u32::from_le_bytes(self.bytes()?);
        let is_end = len == 0 && count == 0;
        let payload = self.payload(if is_end { 8 } else { u64::from(len) })?;
        if check(self.number, len, count, &payload) != stored {
            return Err(damaged(&self.path, "a block does not match its checksum"));
        }
        self.number += 1;
        if is_end {
            self.ended = true;
            if take(&mut payload.as_slice()).map(u64::from_le_bytes) != Some(self.pairs) {
                return Err(damaged(&self.path, "the number of pairs is not what was written"));
            }
            if self.file.read(&mut [0]).map_err(|error| StoreError::io("read", &self.path, &error))? > 0 {
                return Err(damaged(&self.path, "there are bytes behind the end"));
            }
            return Ok(None);
        }
        let payload = if self.format < COMPRESSED {
            payload
        } else {
            let unpacked = lz4_flex::decompress_size_prepended(&payload);
            unpacked.map_err(|_| damaged(&self.path, "a block cannot be unpacked"))?
        };
        let block = FoldBlock { payload };
        if block.pairs().count() != count as usize {
            return Err(damaged(&self.path, "the number of pairs in a block is not what was written"));
        }
        self.pairs += u64::from(count);
        Ok(Some(block))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let payload = self.payload(N as u64)?;
        payload.try_into().map_err(|_| self.cut_short())
    }

    fn payload(&mut self, len: u64) -> Result<Vec<u8>, StoreError> {
        let mut out = Vec::new();
        // Read as far as the file goes: a damaged length does not make us ask for memory.
        let read = self.file.by_ref().take(len).read_to_end(&mut out);
        read.map_err(|error| StoreError::io("read", &self.path, &error))?;
        if out.len() as u64 != len {
            return Err(self.cut_short());
        }
        self.offset += len;
        Ok(out)
    }

    fn cut_short(&self) -> StoreError {
        segment::damaged(&self.path, self.offset, "the file is cut short".to_owned())
    }
}

/// Gets each pair of a fold file: key and value.
pub type VisitPair<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> Result<(), StoreError> + 'a;

/// Reads a whole fold file; returns how many pairs it has.
///
/// # Errors
/// As [`FoldReader::next_block`], or what `visit` returned. Pairs visited before an error were right.
pub fn read_fold(path: &Path, visit: &mut VisitPair<'_>) -> Result<u64, StoreError> {
    let mut reader = FoldReader::open(path)?;
    while let Some(block) = reader.next_block()? {
        for (key, value) in block.pairs() {
            visit(key, value)?;
        }
    }
    Ok(reader.pairs)
}

fn pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let key_len = u32::from_le_bytes(take(rest)?) as usize;
    let value_len = u32::from_le_bytes(take(rest)?);
    let (key, after) = rest.split_at_checked(key_len)?;
    let (value, after) = after.split_at_checked(value_len.saturating_sub(1) as usize)?;
    *rest = after;
    Some((key, (value_len > 0).then_some(value)))
}

fn check(number: u64, len: u32, count: u32, payload: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &len.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(head, &count.to_le_bytes()), payload)
}

/// A length within [`PAIR_MAX`].
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
