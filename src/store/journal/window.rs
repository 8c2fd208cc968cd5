//! Buffered reading of a segment at any offset, in pieces of a megabyte.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::StoreError;

const PIECE: usize = 1024 * 1024;
/// What is compared at once when looking for bytes that are not zero.
const STRIDE: usize = 4096;
static ZEROES: [u8; STRIDE] = [0; STRIDE];

/// A file with the piece of it that was read last.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    path: PathBuf,
    len: u64,
    start: u64,
    piece: Vec<u8>,
    /// Where a record of it is unpacked.
    room: Vec<u8>,
}

/// Bytes of the file, and room to unpack them.
type WithRoom<'a> = (&'a [u8], &'a mut Vec<u8>);

impl Window {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::io("open", path, &error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self { file, path: path.to_owned(), len, start: 0, piece: Vec::new(), room: Vec::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes at `offset`; `None` when the file ends before them.
    pub(super) fn get(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, StoreError> {
        Ok(self.get_with_room(offset, len)?.map(|(bytes, _)| bytes))
    }

    /// As [`Window::get`], with room to unpack them.
    pub(super) fn get_with_room(
        &mut self,
        offset: u64,
        len: usize,
    ) -> Result<Option<WithRoom<'_>>, StoreError> {
        if self.len.saturating_sub(offset) < len as u64 {
            return Ok(None);
        }
        if offset < self.start || offset + len as u64 > self.start + self.piece.len() as u64 {
            self.load(offset, len)?;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(self.piece.get(from..from.saturating_add(len)).map(|bytes| (bytes, &mut self.room)))
    }

    fn load(&mut self, offset: u64, len: usize) -> Result<(), StoreError> {
        let left = usize::try_from(self.len - offset).unwrap_or(usize::MAX);
        self.start = offset;
        self.piece.resize(len.max(PIECE).min(left), 0);
        let read = self.file.read_exact_at(&mut self.piece, offset);
        if read.is_err() {
            self.piece.clear();
        }
        read.map_err(|error| StoreError::io("read", &self.path, &error))
    }

    /// Where the last byte that is not zero ends, from `from` on; `from` when there is none.
    pub(super) fn written_end(&mut self, from: u64) -> Result<u64, StoreError> {
        let mut end = from;
        let mut offset = from;
        while offset < self.len {
            let len = usize::try_from(self.len - offset).unwrap_or(usize::MAX).min(STRIDE);
            let stride = self.get(offset, len)?.unwrap_or_default();
            if !is_zero(stride) {
                let last = stride.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                end = offset + last as u64 + 1;
            }
            offset += len as u64;
        }
        Ok(end)
    }

    /// Whether the bytes `from..to` are all zero, as far as the file reaches.
    pub(super) fn is_zero(&mut self, from: u64, to: u64) -> Result<bool, StoreError> {
        let to = to.min(self.len);
        let mut offset = from;
        while offset < to {
            let len = usize::try_from(to - offset).unwrap_or(usize::MAX).min(STRIDE);
            if !self.get(offset, len)?.is_none_or(is_zero) {
                return Ok(false);
            }
            offset += len as u64;
        }
        Ok(true)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // One comparison of memory instead of a loop: this runs over tens of megabytes at every open.
    ZEROES.get(..bytes.len()).is_some_and(|zeroes| zeroes == bytes)
}
