//! Reading a backup: every frame is checked before anybody sees it.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::{
    ABOUT, About, BYTES, END, FOLD, FORMAT, HEAD_BYTES, MAGIC, MANIFEST, Manifest, PAYLOAD_MAX, Part, ROWS,
    SEGMENT, check,
};
use crate::store::StoreError;

/// What comes next in a backup.
#[derive(Debug)]
pub(in crate::store) enum Piece {
    /// Rows: of sled, or of the fold that has begun.
    Rows(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// A fold begins.
    Fold,
    /// A segment begins: its first commit.
    Segment(u64),
    /// Bytes of it.
    Bytes(Vec<u8>),
    /// The end, which everything before it has been compared with.
    End(Box<Manifest>),
}

/// Reads one backup from its beginning to its end.
#[derive(Debug)]
pub(in crate::store) struct BackupReader {
    file: BufReader<File>,
    path: PathBuf,
    offset: u64,
    number: u64,
    part: Part,
    hash: blake3::Hasher,
    parts: Vec<Part>,
}

impl BackupReader {
    /// Opens a backup and reads what it says of itself.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Newer`], [`StoreError::Damaged`] when it is none.
    pub(in crate::store) fn open(path: &Path) -> Result<(Self, About), StoreError> {
        let file = File::open(path).map_err(|error| StoreError::io("open", path, &error))?;
        let mut reader = Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            offset: 0,
            number: 0,
            part: Part { name: "rows".to_owned(), ..Part::default() },
            hash: blake3::Hasher::new(),
            parts: Vec::new(),
        };
        let magic: [u8; 8] = reader.array()?;
        if &magic != MAGIC {
            return Err(reader.damaged("this is no backup of Tidegate".to_owned()));
        }
        let found = u32::from_le_bytes(reader.array()?);
        if found == 0 {
            return Err(reader.damaged("there is no format 0".to_owned()));
        }
        if found > FORMAT {
            return Err(StoreError::Newer { path: path.to_owned(), found, supported: FORMAT });
        }
        let (kind, payload) = reader.frame()?;
        if kind != ABOUT {
            return Err(reader.damaged("it does not begin with what it is".to_owned()));
        }
        let about = serde_json::from_slice(&payload)
            .map_err(|error| reader.damaged(format!("what it says of itself cannot be read ({error})")))?;
        Ok((reader, about))
    }

    /// Bytes read so far.
    pub(in crate::store) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a frame is not what was written, is missing, or the manifest says something
    /// else; pieces returned before are what was written all the same.
    pub(in crate::store) fn next(&mut self) -> Result<Piece, StoreError> {
        let (kind, payload) = self.frame()?;
        let number = || payload.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        match kind {
            ROWS => {
                let rows = pairs(&payload).ok_or_else(|| self.damaged("rows cannot be read".to_owned()))?;
                self.take(&payload);
                self.part.rows += rows.len() as u64;
                Ok(Piece::Rows(rows))
            }
            FOLD => {
                self.begin(format!("fold-{:020}", number()));
                Ok(Piece::Fold)
            }
            SEGMENT => {
                self.begin(format!("{:020}.journal", number()));
                Ok(Piece::Segment(number()))
            }
            BYTES => {
                self.take(&payload);
                Ok(Piece::Bytes(payload))
            }
            MANIFEST => self.end(&payload),
            _ => Err(self.damaged(format!("a frame of kind {kind} does not belong here"))),
        }
    }

    fn end(&mut self, payload: &[u8]) -> Result<Piece, StoreError> {
        self.begin(String::new());
        let manifest: Manifest = serde_json::from_slice(payload)
            .map_err(|error| self.damaged(format!("the manifest cannot be read ({error})")))?;
        if let Some((said, found)) =
            manifest.parts.iter().zip(&self.parts).find(|(said, found)| said != found)
        {
            return Err(self.damaged(format!(
                "part {:?} is not what the manifest says ({} bytes found)",
                said.name, found.bytes
            )));
        }
        if manifest.parts.len() != self.parts.len() {
            let (said, found) = (manifest.parts.len(), self.parts.len());
            return Err(self.damaged(format!("the manifest says {said} parts, {found} are there")));
        }
        let frames = self.number;
        let (kind, payload) = self.frame()?;
        if kind != END || payload != frames.to_le_bytes() {
            return Err(self.damaged("the end is not where it should be".to_owned()));
        }
        let rest = self.file.read(&mut [0]).map_err(|error| StoreError::io("read", &self.path, &error))?;
        if rest > 0 {
            return Err(self.damaged("there are bytes behind the end".to_owned()));
        }
        Ok(Piece::End(Box::new(manifest)))
    }

    fn begin(&mut self, name: String) {
        let hash = std::mem::replace(&mut self.hash, blake3::Hasher::new()).finalize();
        let part = std::mem::replace(&mut self.part, Part { name, ..Part::default() });
        self.parts.push(Part { blake3: hash.to_hex().to_string(), ..part });
    }

    fn take(&mut self, payload: &[u8]) {
        self.hash.update(payload);
        self.part.bytes += payload.len() as u64;
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), StoreError> {
        let at = self.offset;
        let head: [u8; HEAD_BYTES] = self.array()?;
        let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        if len > PAYLOAD_MAX {
            return Err(self.damaged_at(at, "a frame says that it is too long".to_owned()));
        }
        let payload = self.read(u64::from(len))?;
        if check(self.number, kind, &payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(self.damaged_at(at, "a frame does not match its checksum".to_owned()));
        }
        self.number += 1;
        Ok((kind, payload))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let bytes = self.read(N as u64)?;
        bytes.try_into().map_err(|_| self.damaged("it is cut short".to_owned()))
    }

    fn read(&mut self, len: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        // As far as the file goes: a damaged length does not make us ask for memory.
        let read = self.file.by_ref().take(len).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::io("read", &self.path, &error))?;
        if bytes.len() as u64 != len {
            return Err(
                self.damaged("it is cut short: the backup was broken off, or not copied whole".to_owned())
            );
        }
        self.offset += len;
        Ok(bytes)
    }

    fn damaged(&self, problem: String) -> StoreError {
        self.damaged_at(self.offset, problem)
    }

    fn damaged_at(&self, offset: u64, problem: String) -> StoreError {
        let remedy = "take another backup; nothing was restored from this one".to_owned();
        StoreError::Damaged { path: self.path.clone(), offset, problem, remedy }
    }
}

type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn pairs(mut rest: &[u8]) -> Option<Pairs> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (key_len, after) = rest.split_first_chunk::<4>()?;
        let (value_len, after) = after.split_first_chunk::<4>()?;
        let value_len = u32::from_le_bytes(*value_len);
        let (key, after) = after.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let (value, after) = after.split_at_checked(value_len.saturating_sub(1) as usize)?;
        found.push((key.to_vec(), (value_len > 0).then(|| value.to_vec())));
        rest = after;
    }
    Some(found)
}
