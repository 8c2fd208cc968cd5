//! Base: sled as the place for folded rows, with what it lacks: checksums, a limit on values, a real
//! sync, and errors in place of panics.
//!
//! ```text
//! key          crc32c 4 | 0 | value                 up to 40 KiB
//! key          crc32c 4 | 1 | number of parts 4     longer values
//! 0xFE key n   crc32c 4 | part n                    their parts
//! 0x00         crc32c 4 | 0 | stamp                 what the last completed fold left
//! ```
//! A value over 48 KiB must never reach sled: nodes that grow too large become blob files, which it never
//! syncs. Opening asserts that there is none.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::rows::{Base, Row};
use crate::store::{Commit, StoreError};

/// How often sled's own lock is asked for.
const LOCK_TRIES: u32 = 300;
/// How long is waited between two tries for a lock.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Bytes of a value, or of a part of one, that sled gets at most.
const PART: usize = 40 << 10;
/// Key prefix of parts; no table begins with it.
const PARTS: u8 = 0xFE;
/// Key of the stamp.
const STAMP: &[u8] = &[0x00];
/// The first byte of the first table.
const FIRST_TABLE: u8 = 0x01;
/// Rows checked at a time.
const PAGE: usize = 256;
const WHOLE: u8 = 0;
const SPLIT: u8 = 1;
/// Fixed when the folder is made: sled refuses another one.
const SEGMENT_BYTES: usize = 8 << 20;

/// Rows of each table, by the first byte of its keys.
pub(super) type Counts = BTreeMap<u8, u64>;

/// What a completed fold leaves in sled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Everything up to it is folded.
    pub(super) commit: Commit,
    /// The rows then.
    pub(super) counts: Counts,
}

/// An open sled folder.
pub(super) struct SledBase {
    db: ::sled::Db,
    file: File,
    dir: PathBuf,
    /// Held as long as sled is open, readers included.
    _lock: std::sync::Arc<File>,
}

impl std::fmt::Debug for SledBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledBase").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Opens sled, waiting a moment for its lock.
///
/// The data folder's own lock is held already, so whoever still has sled's is a thread of sled in this process
/// that is just letting go of an earlier handle: sled frees the lock some time after the last handle is gone.
fn open_when_free(dir: &Path, config: &::sled::Config) -> Result<::sled::Db, StoreError> {
    for _ in 0..LOCK_TRIES {
        match guard(dir, || config.open()) {
            Err(StoreError::Locked { .. }) => std::thread::park_timeout(LOCK_PAUSE),
            answered => return answered,
        }
    }
    guard(dir, || config.open())
}

impl SledBase {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when sled finds damage or panics, [`StoreError::Io`] when the operating
    /// system refuses.
    pub(super) fn open(dir: &Path, cache_bytes: u64, lock: std::sync::Arc<File>) -> Result<Self, StoreError> {
        let is_new = !dir.join("db").exists();
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(Some(500));
        let db = open_when_free(dir, &config)?;
        let file =
            File::open(dir.join("db")).map_err(|error| StoreError::io("open", dir.join("db"), &error))?;
        if is_new {
            for name in ["conf", "db", ".", ".."] {
                let path = dir.join(name);
                let synced = File::open(&path).and_then(|handle| handle.sync_all());
                synced.map_err(|error| StoreError::io("sync", path, &error))?;
            }
        }
        let base = Self { db, file, dir: dir.to_owned(), _lock: lock };
        base.check_blobs()?;
        Ok(base)
    }

    /// What the last completed fold left; the default when there was none.
    pub(super) fn stamp(&self) -> Result<Stamp, StoreError> {
        let Some(value) = self.get(STAMP)? else { return Ok(Stamp::default()) };
        postcard::from_bytes(&value).map_err(|_| self.damaged("the stamp cannot be read".to_owned()))
    }

    /// Leaves a stamp for the next [`SledBase::sync`].
    pub(super) fn set_stamp(&self, stamp: &Stamp) -> Result<(), StoreError> {
        let bytes = postcard::to_stdvec(stamp).map_err(|error| self.damaged(error.to_string()))?;
        self.write(STAMP, Some(&bytes)).map(drop)
    }

    /// Writes or removes one row; returns whether there was one.
    pub(super) fn write(&self, key: &[u8], value: Option<&[u8]>) -> Result<bool, StoreError> {
        guard(&self.dir, || self.try_write(key, value))
    }

    fn try_write(&self, key: &[u8], value: Option<&[u8]>) -> Result<bool, ::sled::Error> {
        let mut kept = 0;
        let old = match value {
            None => self.db.remove(key)?,
            Some(value) if value.len() <= PART => self.db.insert(key, sealed(key, &[&[WHOLE], value]))?,
            Some(value) => {
                for part in value.chunks(PART) {
                    let part_key = part_key(key, kept);
                    let sealed = sealed(&part_key, &[part]);
                    self.db.insert(part_key, sealed)?;
                    kept += 1;
                }
                self.db.insert(key, sealed(key, &[&[SPLIT], &kept.to_be_bytes()]))?
            }
        };
        for part in kept..old.as_deref().map_or(0, parts_of) {
            self.db.remove(part_key(key, part))?;
        }
        Ok(old.is_some())
    }

    /// Makes everything written durable: sled's own flush does not reach the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        guard(&self.dir, || self.db.flush())?;
        self.file.sync_data().map_err(|error| StoreError::io("sync", self.dir.join("db"), &error))?;
        self.check_blobs()
    }

    /// Counts the rows and checks each one; reads everything.
    pub(super) fn count(&self) -> Result<Counts, StoreError> {
        let mut counts = Counts::new();
        let (mut from, to) = (vec![FIRST_TABLE], [PARTS]);
        loop {
            let rows = self.scan(&from, &to, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(counts) };
            from = [last.as_slice(), &[0]].concat();
            for (key, _) in &rows {
                *counts.entry(key.first().copied().unwrap_or_default()).or_default() += 1;
            }
        }
    }

    /// Up to `limit` keys of rows from `from` on, in order; the rows are not read.
    pub(super) fn keys(&self, from: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let to = [PARTS];
        let keys = || self.db.range(from..to.as_slice()).keys().take(limit).collect::<Result<Vec<_>, _>>();
        Ok(guard(&self.dir, keys)?.iter().map(|key| key.to_vec()).collect())
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        guard(&self.dir, || Ok(self.db.first()?.is_none()))
    }

    fn check_blobs(&self) -> Result<(), StoreError> {
        let blobs = std::fs::read_dir(self.dir.join("blobs")).ok().and_then(|mut blobs| blobs.next());
        match blobs {
            Some(_) => Err(self.damaged("it keeps blobs, which are never synced".to_owned())),
            None => Ok(()),
        }
    }

    fn open_value(&self, key: &[u8], stored: &[u8]) -> Result<Bytes, StoreError> {
        let (kind, value) =
            unsealed(key, stored).and_then(<[u8]>::split_first).ok_or_else(|| self.broken_row(key))?;
        if *kind == WHOLE {
            return Ok(Bytes::copy_from_slice(value));
        }
        let mut whole = Vec::new();
        for part in 0..parts_of(stored) {
            let part_key = part_key(key, part);
            let part = guard(&self.dir, || self.db.get(&part_key))?;
            let part = part.as_deref().and_then(|part| unsealed(&part_key, part));
            whole.extend_from_slice(part.ok_or_else(|| self.broken_row(key))?);
        }
        Ok(Bytes::from(whole))
    }

    fn broken_row(&self, key: &[u8]) -> StoreError {
        self.damaged(format!("row {} does not match its checksum", key.escape_ascii()))
    }

    fn damaged(&self, problem: String) -> StoreError {
        damaged(&self.dir, problem)
    }
}

impl Base for SledBase {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let stored = guard(&self.dir, || self.db.get(key))?;
        stored.map(|stored| self.open_value(key, &stored)).transpose()
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let found = guard(&self.dir, || self.db.range(from..to).take(limit).collect::<Result<Vec<_>, _>>())?;
        found.iter().map(|(key, stored)| Ok((key.to_vec(), self.open_value(key, stored)?))).collect()
    }
}

/// Value with its checksum, which covers the key: a row that turns up under another one shows.
fn sealed(key: &[u8], value: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for piece in value {
        bytes.extend_from_slice(piece);
    }
    let check = checksum(key, bytes.get(4..).unwrap_or_default());
    if let Some(head) = bytes.first_chunk_mut::<4>() {
        *head = check.to_be_bytes();
    }
    bytes
}

fn unsealed<'a>(key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (check, value) = stored.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*check) == checksum(key, value)).then_some(value)
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

fn part_key(key: &[u8], part: u32) -> Vec<u8> {
    [&[PARTS], key, &part.to_be_bytes()].concat()
}

/// The number of parts of a stored value, 0 for one that is whole.
fn parts_of(stored: &[u8]) -> u32 {
    match stored.get(4..) {
        Some([SPLIT, count @ ..]) => count.first_chunk::<4>().map_or(0, |count| u32::from_be_bytes(*count)),
        _ => 0,
    }
}

/// Calls sled, which panics where it finds damage.
fn guard<T>(dir: &Path, call: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, StoreError> {
    match std::panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(translate(dir, error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(damaged(dir, format!("sled panicked: {text}")))
        }
    }
}

fn translate(dir: &Path, error: ::sled::Error) -> StoreError {
    match error {
        ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => {
            StoreError::Locked { path: dir.to_owned() }
        }
        // What the operating system says bears its number; what sled makes up is about the content. A
        // missing file is the content's fault as well.
        ::sled::Error::Io(error)
            if error.raw_os_error().is_some() && error.kind() != std::io::ErrorKind::NotFound =>
        {
            StoreError::io("use sled in", dir, &error)
        }
        error @ (::sled::Error::Io(_)
        | ::sled::Error::Corruption { .. }
        | ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_)) => damaged(dir, format!("sled: {error}")),
    }
}

pub(super) fn damaged(dir: &Path, problem: String) -> StoreError {
    StoreError::Damaged {
        path: dir.to_owned(),
        offset: 0,
        problem,
        remedy:
            "restart: it is rebuilt when the journal reaches back to the beginning; else restore a backup"
                .to_owned(),
    }
}
