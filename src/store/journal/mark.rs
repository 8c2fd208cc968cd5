//! The checkpoint mark: up to which commit the base of a store has taken in the journal.
//!
//! One small file, replaced as a whole: `magic 8 | format 4 | length 4 | body (postcard) | crc32c 4`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::segment::{self, take};
use super::{Commit, StoreError, write_atomic};

const MAGIC: &[u8; 8] = b"TGMARK1\n";
const NAME: &str = "checkpoint.mark";

/// How far a checkpoint reaches and what the base should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Version of the store's own format; at most [`Mark::FORMAT`] for this build to read it.
    pub format: u32,
    /// Everything up to this commit is in the base, or in `fold`.
    pub commit: Commit,
    /// File name of a fold file that is not in the base yet.
    pub fold: Option<String>,
    /// A number that the base holds as well, so that a base and a mark that do not belong together show.
    pub stamp: u64,
    /// Entries of each table of the base, so that silent loss in it shows.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    commit: Commit,
    fold: Option<String>,
    stamp: u64,
    counts: BTreeMap<String, u64>,
}

impl Mark {
    /// The newest format this build reads. 2: rows of sled stand in pages.
    pub const FORMAT: u32 = 2;

    /// A mark at `commit` in the newest format, with nothing else said.
    pub fn at(commit: Commit) -> Self {
        Self { format: Self::FORMAT, commit, fold: None, stamp: 0, counts: BTreeMap::new() }
    }

    /// Reads the mark of a folder; `None` when there has been no checkpoint yet.
    ///
    /// # Errors
    /// [`StoreError::Newer`], [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, &error)),
        };
        let damaged = |problem: &str| segment::damaged(&path, 0, problem.to_owned());
        let Some((covered, check)) = bytes.split_last_chunk::<4>() else {
            return Err(damaged("the checkpoint mark is cut short"));
        };
        if crc32c::crc32c(covered) != u32::from_le_bytes(*check) {
            return Err(damaged("the checkpoint mark does not match its checksum"));
        }
        let mut rest = covered;
        let (Some(magic), Some(format), Some(len)) = (take::<8>(&mut rest), take(&mut rest), take(&mut rest))
        else {
            return Err(damaged("the checkpoint mark is cut short"));
        };
        let format = u32::from_le_bytes(format);
        if &magic != MAGIC {
            return Err(damaged("this is not a checkpoint mark"));
        }
        if format > Self::FORMAT {
            return Err(StoreError::Newer { path, found: format, supported: Self::FORMAT });
        }
        if rest.len() != u32::from_le_bytes(len) as usize {
            return Err(damaged("the checkpoint mark is not as long as it says"));
        }
        let Ok(Body { commit, fold, stamp, counts }) = postcard::from_bytes(rest) else {
            return Err(damaged("the checkpoint mark cannot be decoded"));
        };
        Ok(Some(Self { format, commit, fold, stamp, counts }))
    }

    /// Replaces the mark of a folder.
    ///
    /// # Guarantees
    /// All or nothing, durable when it returns ([`write_atomic`]).
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old mark or the new one is there.
    pub fn write(&self, dir: &Path) -> Result<(), StoreError> {
        let path = dir.join(NAME);
        let body = Body {
            commit: self.commit,
            fold: self.fold.clone(),
            stamp: self.stamp,
            counts: self.counts.clone(),
        };
        let encoded = postcard::to_stdvec(&body).map_err(|error| {
            StoreError::io("encode", &path, &std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
        })?;
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&u32::try_from(encoded.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&encoded);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        write_atomic(&path, &out)
    }
}
