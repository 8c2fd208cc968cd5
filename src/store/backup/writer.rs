//! Writing a backup.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::{ABOUT, About, BYTES, END, FOLD, FORMAT, MAGIC, MANIFEST, Manifest, Part, ROWS, SEGMENT, check};
use crate::store::StoreError;

/// A frame of rows is closed when it has reached this.
const ROWS_BYTES: usize = 256 << 10;

/// Writes a backup to wherever it goes.
pub(in crate::store) struct BackupWriter<'a> {
    out: &'a mut dyn Write,
    number: u64,
    rows: Vec<u8>,
    part: Part,
    hash: blake3::Hasher,
    parts: Vec<Part>,
}

impl std::fmt::Debug for BackupWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<'a> BackupWriter<'a> {
    /// Begins a backup with its rows.
    ///
    /// # Errors
    /// [`StoreError::Io`], as of all others here.
    pub(in crate::store) fn begin(out: &'a mut dyn Write, about: &About) -> Result<Self, StoreError> {
        let head = [MAGIC.as_slice(), &FORMAT.to_le_bytes()].concat();
        out.write_all(&head).map_err(|error| failed(&error))?;
        let mut writer = Self {
            out,
            number: 0,
            rows: Vec::new(),
            part: Part { name: "rows".to_owned(), ..Part::default() },
            hash: blake3::Hasher::new(),
            parts: Vec::new(),
        };
        writer.json(ABOUT, about)?;
        Ok(writer)
    }

    /// Adds a row; no value: it was removed, which only a fold says.
    pub(in crate::store) fn row(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        let value_len = value.map_or(0, |value| short(value.len()).saturating_add(1));
        self.rows.extend_from_slice(&short(key.len()).to_le_bytes());
        self.rows.extend_from_slice(&value_len.to_le_bytes());
        self.rows.extend_from_slice(key);
        self.rows.extend_from_slice(value.unwrap_or_default());
        self.part.rows += 1;
        if self.rows.len() >= ROWS_BYTES { self.end_rows() } else { Ok(()) }
    }

    /// Ends what was before, and begins what the checkpoint of `commit` has changed.
    pub(in crate::store) fn fold(&mut self, commit: u64) -> Result<(), StoreError> {
        self.end_part()?;
        self.part.name = format!("fold-{commit:020}");
        self.frame(FOLD, &commit.to_le_bytes())
    }

    /// Ends what was before, and begins the segment whose first commit is `first`.
    pub(in crate::store) fn segment(&mut self, first: u64) -> Result<(), StoreError> {
        self.end_part()?;
        self.part.name = format!("{first:020}.journal");
        self.frame(SEGMENT, &first.to_le_bytes())
    }

    /// Adds bytes to the segment.
    pub(in crate::store) fn bytes(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.hash.update(bytes);
        self.part.bytes += bytes.len() as u64;
        self.frame(BYTES, bytes)
    }

    /// Ends the backup. `manifest` gets its parts here, and is returned whole.
    pub(in crate::store) fn finish(mut self, manifest: Manifest) -> Result<Manifest, StoreError> {
        self.end_part()?;
        let manifest = Manifest { format: FORMAT, parts: std::mem::take(&mut self.parts), ..manifest };
        self.json(MANIFEST, &manifest)?;
        self.frame(END, &self.number.to_le_bytes())?;
        self.out.flush().map_err(|error| failed(&error))?;
        Ok(manifest)
    }

    fn end_rows(&mut self) -> Result<(), StoreError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.hash.update(&rows);
        self.part.bytes += rows.len() as u64;
        self.frame(ROWS, &rows)
    }

    fn end_part(&mut self) -> Result<(), StoreError> {
        self.end_rows()?;
        let hash = std::mem::replace(&mut self.hash, blake3::Hasher::new()).finalize();
        let part = std::mem::take(&mut self.part);
        self.parts.push(Part { blake3: hash.to_hex().to_string(), ..part });
        Ok(())
    }

    fn json(&mut self, kind: u8, value: &impl Serialize) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(value).map_err(|error| failed(&std::io::Error::other(error)))?;
        self.frame(kind, &bytes)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Result<(), StoreError> {
        let mut head = vec![kind];
        head.extend_from_slice(&short(payload.len()).to_le_bytes());
        head.extend_from_slice(&check(self.number, kind, payload).to_le_bytes());
        self.number += 1;
        let written = self.out.write_all(&head).and_then(|()| self.out.write_all(payload));
        written.map_err(|error| failed(&error))
    }
}

fn failed(error: &std::io::Error) -> StoreError {
    StoreError::io("write", Path::new("the backup"), error)
}

/// Rows and pieces of segments are far below this.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
