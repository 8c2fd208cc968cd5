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
    /// Entries of each table of the base when `fold` is in it, so that loss shows while only a part of that is; `None` where
    /// nobody knows, as in marks of earlier versions.
    pub after: Option<BTreeMap<String, u64>>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    commit: Commit,
    fold: Option<String>,
    stamp: u64,
    counts: BTreeMap<String, u64>,
}

/// What earlier versions did not write and do not read: it stands behind the body.
#[derive(Default, Serialize, Deserialize)]
struct More {
    after: Option<BTreeMap<String, u64>>,
}

impl Mark {
    /// The newest format this build reads. 2: rows of sled stand in pages. 3: flows stand under their first events. 4: the index of
    /// flows at rest names these too, and acts of forgetting name ids. 5: chunks of lists that are not full stand for themselves. 6: ids in
    /// rows of events stand as the bytes that they spell. 7: names of flows stand in stretches, and buckets of ids share filters.
    pub const FORMAT: u32 = 7;

    /// A mark at `commit` in the newest format, with nothing else said.
    pub fn at(commit: Commit) -> Self {
        Self { format: Self::FORMAT, commit, fold: None, stamp: 0, counts: BTreeMap::new(), after: None }
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
        let Ok((Body { commit, fold, stamp, counts }, rest)) = postcard::take_from_bytes(rest) else {
            return Err(damaged("the checkpoint mark cannot be decoded"));
        };
        let more = if rest.is_empty() { Ok(More::default()) } else { postcard::from_bytes(rest) };
        let Ok(More { after }) = more else {
            return Err(damaged("the end of the checkpoint mark cannot be decoded"));
        };
        Ok(Some(Self { format, commit, fold, stamp, counts, after }))
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
        let more = More { after: self.after.clone() };
        let encoded = postcard::to_stdvec(&(body, more)).map_err(|error| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_marks_have_got_is_read_by_this_version_and_passed_over_by_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let after = Some(BTreeMap::from([("20".to_owned(), 7)]));
        let mark = Mark { fold: Some("fold-1".to_owned()), after, ..Mark::at(Commit(1)) };
        mark.write(dir.path()).unwrap();
        let bytes = std::fs::read(dir.path().join(NAME)).unwrap();

        // An earlier version decodes a body and asks for nothing behind it.
        let body: Body = postcard::from_bytes(&bytes[16..bytes.len() - 4]).unwrap();

        assert_eq!((body.commit, body.fold.as_deref()), (Commit(1), Some("fold-1")));
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(mark));
    }

    #[test]
    fn a_mark_of_an_earlier_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let body = Body { commit: Commit(1), fold: None, stamp: 1, counts: BTreeMap::new() };
        let body = postcard::to_stdvec(&body).unwrap();
        let len = u32::try_from(body.len()).unwrap().to_le_bytes();
        let mut bytes = [MAGIC.as_slice(), &1_u32.to_le_bytes(), &len, &body].concat();
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        std::fs::write(dir.path().join(NAME), bytes).unwrap();

        let read = Mark::read(dir.path()).unwrap();

        assert_eq!(read, Some(Mark { format: 1, stamp: 1, ..Mark::at(Commit(1)) }));
    }
}
