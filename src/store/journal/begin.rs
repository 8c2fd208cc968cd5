//! Where a journal begins: the commit from which on everything has to be there.
//!
//! Segments are removed from the front when nothing needs them, so that a missing first file is not damage by
//! itself. This small file tells the two apart; it is moved on before the first segment goes. It holds
//! `magic 8 | commit 8 | crc32c 4`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::segment::take;
use super::{Commit, StoreError, sync_file, write_atomic};
use crate::store::faults::{Point, reach};

const MAGIC: &[u8; 8] = b"TGBEGIN\n";
const NAME: &str = "journal.begin";

pub(super) fn path_in(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads it; `None` when there is none, as in folders of earlier versions, or when it is damaged: the journal
/// is whole without it, only its loss could not be told.
pub(super) fn read(dir: &Path) -> Result<Option<Commit>, StoreError> {
    let path = path_in(dir);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path, &error)),
    };
    let found = decode(&bytes);
    if found.is_none() {
        tracing::warn!(path = %path.display(), "the note of where the journal begins is damaged; it is made anew");
    }
    Ok(found)
}

/// What is wrong with the note of where a journal begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeginFault {
    /// There is none, as in folders of earlier versions. The oldest segment begins with this commit.
    Missing(Commit),
    /// It is not what was written.
    Damaged,
    /// Commits that it says are there, the first and the last one, are in no file; the last is the largest number where no segment
    /// is left.
    Lost(Commit, Commit),
    /// It says that the journal begins with a commit that no segment begins with.
    Elsewhere(Commit),
}

/// Compares the note with the segments and changes nothing. `is_live`: the journal is written to meanwhile.
///
/// # Errors
/// [`StoreError::Io`].
pub fn check_begin(dir: &Path, is_live: bool) -> Result<Option<BeginFault>, StoreError> {
    // Segments first: the note is moved on before one goes, and may be ahead of them, never behind.
    let firsts = super::segment::list(dir)?;
    let bytes = match std::fs::read(path_in(dir)) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::io("read", path_in(dir), &error)),
    };
    let noted = match (bytes, firsts.first()) {
        (None, oldest) => return Ok(oldest.map(|oldest| BeginFault::Missing(Commit(*oldest)))),
        (Some(bytes), _) => match decode(&bytes) {
            Some(noted) => noted,
            // It is written in place, so that it may be read half written.
            None => return Ok((!is_live).then_some(BeginFault::Damaged)),
        },
    };
    Ok(match firsts.first() {
        None => Some(BeginFault::Lost(noted, Commit(u64::MAX))),
        Some(oldest) if noted.0 < *oldest => Some(BeginFault::Lost(noted, Commit(oldest - 1))),
        Some(_) if !is_live && !firsts.contains(&noted.0) => Some(BeginFault::Elsewhere(noted)),
        Some(_) => None,
    })
}

fn decode(bytes: &[u8]) -> Option<Commit> {
    let (covered, check) = bytes.split_last_chunk::<4>()?;
    let mut rest = covered;
    let (magic, commit) = (take::<8>(&mut rest)?, take::<8>(&mut rest)?);
    let is_sound =
        &magic == MAGIC && rest.is_empty() && crc32c::crc32c(covered) == u32::from_le_bytes(*check);
    is_sound.then_some(Commit(u64::from_le_bytes(commit)))
}

/// Writes it; durable when it returns.
///
/// In place where there is one: on a full disk there may be no room for a second file, and making room is what
/// removing segments is for. It lies in one sector, and one that is torn all the same counts as none.
pub(super) fn write(dir: &Path, commit: Commit) -> Result<(), StoreError> {
    let path = path_in(dir);
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&commit.0.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    let file = match File::options().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return write_atomic(&path, &out),
        Err(error) => return Err(StoreError::io("open", path, &error)),
    };
    file.write_all_at(&out, 0).map_err(|error| StoreError::io("write", &path, &error))?;
    reach(Point::BeginMoved);
    sync_file(&file, &path)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{Journal, JournalSettings};
    use super::*;

    fn open(dir: &Path) -> Result<Journal, StoreError> {
        let settings = JournalSettings { dir: dir.to_owned(), segment_bytes: 4_096 };
        Journal::open(settings, &mut |_| Ok(()), Commit(0))
    }

    /// A journal of several files.
    fn filled(dir: &Path) -> Journal {
        let mut journal = open(dir).unwrap();
        for _ in 0..6 {
            journal.append(&[Bytes::from(vec![b'x'; 3_000])]).unwrap();
            journal.sync().unwrap();
        }
        assert!(journal.segments().len() > 4);
        journal
    }

    #[test]
    fn a_first_file_that_is_missing_is_told_also_where_nothing_of_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let journal = filled(folder.path());
        let (first, last) = (journal.segments()[0].path.clone(), journal.last_commit());
        journal.close().unwrap();
        std::fs::remove_file(first).unwrap();

        let settings = JournalSettings { dir: folder.path().to_owned(), segment_bytes: 4_096 };
        let opened = Journal::open(settings, &mut |_| Ok(()), last);

        let error = opened.unwrap_err().to_string();
        assert!(error.contains("commits 1 to 1 are not on disk"), "{error}");
    }

    #[test]
    fn a_first_file_that_was_removed_on_purpose_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = filled(folder.path());
        let last = journal.last_commit();
        assert_eq!(journal.remove_before(Commit(3)).unwrap(), 2);
        journal.close().unwrap();

        let settings = JournalSettings { dir: folder.path().to_owned(), segment_bytes: 4_096 };
        let journal = Journal::open(settings, &mut |_| Ok(()), last).unwrap();

        assert_eq!((journal.first_commit(), read(folder.path()).unwrap()), (Commit(3), Some(Commit(3))));
    }

    #[test]
    fn a_note_that_is_missing_or_damaged_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        filled(folder.path()).close().unwrap();
        let path = path_in(folder.path());
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).unwrap();
            open(folder.path()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), sound, "byte {at}");
        }
        std::fs::remove_file(&path).unwrap();

        open(folder.path()).unwrap();

        assert_eq!(std::fs::read(&path).unwrap(), sound);
    }
}
