//! Base: sled as the place for folded rows, with what it lacks: checksums, a limit on values, a real
//! sync, and errors in place of panics.
//!
//! ```text
//! first key        crc32c 4 | 0 | page                  up to 40 KiB
//! first key        crc32c 4 | 1 | parts 4 | crc32c 4 | first part 4     a row that is larger, in a page of its own
//! 0xFE first key n crc32c 4 | part n                    their parts
//! 0x00             crc32c 4 | 0 | stamp                 what the last completed fold left
//! ```
//! A row is in the last page of its table that does not begin after it. What a page holds over the beginning of
//! the next one counts for nothing. Rows of the scattered tables stand alone, under their own keys. How rows get
//! here: `packing.rs`.
//!
//! A value over 48 KiB must never reach sled: nodes that grow too large become blob files, which it never
//! syncs. Opening asserts that there is none.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::sled::IVec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::page::Page;
use crate::store::rows::{Base, Row};
use crate::store::{Commit, StoreError};

/// How often sled's own lock is asked for.
const LOCK_TRIES: u32 = 300;
/// How long is waited between two tries for a lock.
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The tree of the pages.
const PAGES: &str = "pages";
/// Tables whose rows stand alone: flows by their text, with chunks, results and undos; states and journaled results by
/// key; lists by name or key.
const SCATTERED: [u8; 7] = [0x30, 0x31, 0x32, 0x34, 0x50, 0x51, 0xC0];
/// Bytes of a value, or of a part of one, that sled gets at most.
const PART: usize = 40 << 10;
/// Key prefix of parts; no table begins with it.
pub(super) const PARTS: u8 = 0xFE;
/// Key of the stamp.
pub(super) const STAMP: &[u8] = &[0x00];
/// The first byte of the first table.
pub(super) const FIRST_TABLE: u8 = 0x01;
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
    /// Rows of builds before pages, and the tree of trees.
    pub(super) db: ::sled::Db,
    /// Pages under the first key that belongs into them, their parts, and the stamp.
    pub(super) pages: ::sled::Tree,
    file: File,
    pub(super) dir: PathBuf,
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
        let pages = guard(dir, || db.open_tree(PAGES))?;
        let base = Self { db, pages, file, dir: dir.to_owned(), _lock: lock };
        base.check_blobs()?;
        base.pack_old_rows()?;
        Ok(base)
    }

    /// What the last completed fold left; the default when there was none.
    pub(super) fn stamp(&self) -> Result<Stamp, StoreError> {
        let Some(stored) = guard(&self.dir, || self.pages.get(STAMP))? else { return Ok(Stamp::default()) };
        let body = self.body(&self.pages, STAMP, &stored)?;
        postcard::from_bytes(&body).map_err(|_| self.damaged("the stamp cannot be read".to_owned()))
    }

    /// Leaves a stamp for the next [`SledBase::sync`].
    pub(super) fn set_stamp(&self, stamp: &Stamp) -> Result<(), StoreError> {
        let bytes = postcard::to_stdvec(stamp).map_err(|error| self.damaged(error.to_string()))?;
        guard(&self.dir, || self.pages.insert(STAMP, sealed(STAMP, &[&[WHOLE], &bytes]))).map(drop)
    }

    /// Writes or removes what stands under a key; returns whether there was something. The parts of a longer value
    /// get numbers that the old one does not use, and the head goes last: a crash leaves the old one or the new one.
    pub(super) fn put(&self, key: &[u8], value: Option<&[u8]>) -> Result<bool, ::sled::Error> {
        let old = match value {
            None => self.pages.remove(key)?,
            Some(value) if value.len() <= PART => self.pages.insert(key, sealed(key, &[&[WHOLE], value]))?,
            Some(value) => {
                let used = self.pages.get(key)?.as_deref().map_or(0..0, parts_of);
                let parts = u32::try_from(value.len().div_ceil(PART)).unwrap_or(u32::MAX);
                let from = if used.start >= parts { 0 } else { used.end };
                for (number, part) in (from..).zip(value.chunks(PART)) {
                    let part_key = part_key(key, number);
                    let sealed = sealed(&part_key, &[part]);
                    self.pages.insert(part_key, sealed)?;
                }
                let whole = crc32c::crc32c(value);
                let numbers = [parts, whole, from].map(u32::to_be_bytes);
                self.pages.insert(key, sealed(key, &[&[SPLIT], numbers.as_flattened()]))?
            }
        };
        for part in old.as_deref().map_or(0..0, parts_of) {
            self.pages.remove(part_key(key, part))?;
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

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        guard(&self.dir, || Ok(self.pages.first()?.is_none()))
    }

    fn check_blobs(&self) -> Result<(), StoreError> {
        let blobs = std::fs::read_dir(self.dir.join("blobs")).ok().and_then(|mut blobs| blobs.next());
        match blobs {
            Some(_) => Err(self.damaged("it keeps blobs, which are never synced".to_owned())),
            None => Ok(()),
        }
    }

    /// What stands under a key, after its checksum.
    pub(super) fn body(&self, tree: &::sled::Tree, key: &[u8], stored: &IVec) -> Result<Body, StoreError> {
        let (kind, _) =
            unsealed(key, stored).and_then(<[u8]>::split_first).ok_or_else(|| self.broken_row(key))?;
        if *kind == WHOLE {
            return Ok(Body::Whole(stored.clone()));
        }
        let mut whole = Vec::new();
        for part in parts_of(stored) {
            let part_key = part_key(key, part);
            let part = guard(&self.dir, || tree.get(&part_key))?;
            let part = part.as_deref().and_then(|part| unsealed(&part_key, part));
            whole.extend_from_slice(part.ok_or_else(|| self.broken_row(key))?);
        }
        // Builds before pages have left no such sum.
        let check = stored.get(9..).and_then(<[u8]>::first_chunk).map(|check| u32::from_be_bytes(*check));
        if check.is_some_and(|check| check != crc32c::crc32c(&whole)) {
            return Err(self.broken_row(key));
        }
        Ok(Body::Split(whole))
    }

    /// The page under its first key, read again while a fold writes it: its parts are rows of their own.
    fn read_page(&self, first: &[u8], stored: IVec) -> Result<Option<Body>, StoreError> {
        let mut stored = stored;
        loop {
            match self.body(&self.pages, first, &stored) {
                Ok(body) => return Ok(Some(body)),
                Err(broken) => match guard(&self.dir, || self.pages.get(first))? {
                    Some(now) if now == stored => return Err(broken),
                    Some(now) => stored = now,
                    None => return Ok(None),
                },
            }
        }
    }

    pub(super) fn page<'a>(&self, body: &'a Body) -> Result<Page<'a>, StoreError> {
        Page::of(body).ok_or_else(|| self.damaged("a page cannot be read".to_owned()))
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
        let range = [FIRST_TABLE].as_slice()..=key;
        let found = guard(&self.dir, || self.pages.range(range).next_back().transpose())?;
        let Some((first, stored)) = found else { return Ok(None) };
        let Some(body) = self.read_page(&first, stored)? else { return Ok(None) };
        let value = if is_scattered(&first) {
            Some(&*body).filter(|_| *first == *key)
        } else {
            self.page(&body)?.get(key)
        };
        Ok(value.map(Bytes::copy_from_slice))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let to = to.min(&[PARTS]);
        let before = [FIRST_TABLE].as_slice()..=from;
        let before = guard(&self.dir, || self.pages.range(before).next_back().transpose())?;
        let start = before.map_or_else(|| IVec::from(from), |(first, _)| first);
        if *start >= *to {
            return Ok(Vec::new());
        }
        let mut pages = self.pages.range(start..IVec::from(to)).peekable();
        let mut found = Vec::new();
        while let Some((first, stored)) = guard(&self.dir, || pages.next().transpose())? {
            let Some(body) = self.read_page(&first, stored)? else { continue };
            if is_scattered(&first) {
                if *first >= *from {
                    found.push((first.to_vec(), Bytes::copy_from_slice(&body)));
                }
                if found.len() >= limit {
                    break;
                }
                continue;
            }
            let page = self.page(&body)?;
            let next = guard(&self.dir, || match pages.peek() {
                Some(Ok((next, _))) => Ok(next.clone()),
                Some(Err(error)) => Err(error.clone()),
                None => Ok(IVec::from(to)),
            })?;
            let rows = page.rows(page.lower_bound(from)).take_while(|(key, _)| *key < &*next);
            found
                .extend(rows.take(limit - found.len()).map(|(k, v)| (k.to_vec(), Bytes::copy_from_slice(v))));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }
}

/// Whether rows of this table stand alone. Their keys are texts or digests, so that what changes together lies apart:
/// in pages, each of them would write its neighbours again.
pub(super) fn is_scattered(key: &[u8]) -> bool {
    key.first().is_some_and(|table| SCATTERED.contains(table))
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

/// The numbers of the parts of a stored value, none for one that is whole.
fn parts_of(stored: &[u8]) -> std::ops::Range<u32> {
    let number = |at: usize| {
        let bytes = stored.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    };
    let is_split = stored.get(4) == Some(&SPLIT);
    if is_split { number(13)..number(13).saturating_add(number(5)) } else { 0..0 }
}

/// What stands under a key.
pub(super) enum Body {
    /// In one piece, behind checksum and kind.
    Whole(IVec),
    /// Put together from its parts.
    Split(Vec<u8>),
}

impl std::ops::Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(stored) => stored.get(5..).unwrap_or_default(),
            Self::Split(bytes) => bytes,
        }
    }
}

/// Calls sled, which panics where it finds damage.
pub(super) fn guard<T>(dir: &Path, call: impl FnOnce() -> Result<T, ::sled::Error>) -> Result<T, StoreError> {
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

#[cfg(test)]
#[path = "base_tests.rs"]
mod tests;
