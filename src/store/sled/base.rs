//! Base: sled as the place for folded rows, with what it lacks: checksums and a limit on values (`value.rs`), rows
//! that cost little (`pages.rs`), a real sync, and errors in place of panics.
//!
//! Rows of some tables stand alone, under their own keys, in the tree without a name; all others stand in
//! pages, in a tree of their own. Opening asserts that sled keeps no blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use ::sled::IVec;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::pages::{Change, Pages, Walk};
use super::patience::{TRIES, when_free};
use super::value::{self, PARTS};
use crate::store::faults::{Point, reach};
use crate::store::journal::witness::{Deed, saw};
use crate::store::rows::{Base, Row};
use crate::store::{Commit, StoreError};

/// The tree of the pages.
const PAGES: &str = "pages";
/// Tables whose rows stand alone: filters of ids, which are large, and what format 1 kept of flows under their texts.
const ALONE: [u8; 5] = [0x12, 0x30, 0x31, 0x32, 0x34];
/// Rows of format 1 that go into pages at a time.
const AT_ONCE: usize = 4_096;
/// Key of the stamp.
const STAMP: &[u8] = &[0x00];
/// The first byte of the first table.
const FIRST_TABLE: u8 = 0x01;
/// How sled 0.34.7 calls a snapshot that it has not finished. It takes one for the newest that there is, and what stands in it
/// for damage (`get_snapshot_files` in its `config.rs` passes over another name).
const UNFINISHED: &str = ".generating";
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
    /// Rows that stand alone.
    db: ::sled::Db,
    pages: Pages,
    file: File,
    dir: PathBuf,
    cache_bytes: u64,
    /// Held as long as sled is open, readers included.
    lock: std::sync::Arc<File>,
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
    let opened = when_free(TRIES, || match guard(dir, || config.open()) {
        Err(StoreError::Locked { .. }) => Ok(None),
        answered => answered.map(Some),
    })?;
    opened.ok_or_else(|| StoreError::Locked { path: dir.to_owned() })
}

/// Removes a snapshot that sled was writing when its process ended or its disk was full: the one before and the log have it all.
fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_unfinished = entry.file_name().to_str().is_some_and(|name| name.ends_with(UNFINISHED));
        if is_unfinished {
            let gone = std::fs::remove_file(entry.path());
            gone.map_err(|error| StoreError::io("remove", entry.path(), &error))?;
        }
    }
    Ok(())
}

impl SledBase {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when sled finds damage or panics, [`StoreError::Io`] when the operating
    /// system refuses.
    pub(super) fn open(dir: &Path, cache_bytes: u64, lock: std::sync::Arc<File>) -> Result<Self, StoreError> {
        remove_unfinished(dir)?;
        let is_new = !dir.join("db").exists();
        // Opened first: sled forgets what fails while it opens, a handle from before is told of it at its sync.
        let early = (!is_new).then(|| File::open(dir.join("db"))).transpose();
        let early = early.map_err(|error| StoreError::io("open", dir.join("db"), &error))?;
        let config = ::sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(Some(500));
        let db = open_when_free(dir, &config)?;
        let file = early.map_or_else(|| File::open(dir.join("db")), Ok);
        let file = file.map_err(|error| StoreError::io("open", dir.join("db"), &error))?;
        if is_new {
            for name in ["conf", "db", ".", ".."] {
                let path = dir.join(name);
                let synced = File::open(&path).and_then(|handle| handle.sync_all());
                synced.map_err(|error| StoreError::io("sync", path, &error))?;
            }
        }
        let pages = Pages::new(guard(dir, || db.open_tree(PAGES))?, dir.to_owned());
        let base = Self { db, pages, file, dir: dir.to_owned(), cache_bytes, lock };
        base.check_blobs()?;
        base.pack_format_1()?;
        Ok(base)
    }

    /// Closes it and opens it anew: what it has failed to write is forgotten. Waits a moment where the disk has become full again.
    ///
    /// # Errors
    /// As [`SledBase::open`].
    pub(super) fn reopen(self) -> Result<Self, StoreError> {
        let Self { db, pages, file, dir, cache_bytes, lock } = self;
        drop((db, pages, file));
        let opened =
            when_free(TRIES, || match Self::open(&dir, cache_bytes, std::sync::Arc::clone(&lock)) {
                Err(full) if full.is_disk_full() => Ok(None),
                opened => opened.map(Some),
            })?;
        opened.map_or_else(|| Self::open(&dir, cache_bytes, lock), Ok)
    }

    /// What the last completed fold left; the default when there was none.
    pub(super) fn stamp(&self) -> Result<Stamp, StoreError> {
        let Some(body) = self.value(&self.pages.tree, STAMP)? else { return Ok(Stamp::default()) };
        postcard::from_bytes(&body).map_err(|_| self.damaged("the stamp cannot be read".to_owned()))
    }

    /// Leaves a stamp for the next [`SledBase::sync`].
    pub(super) fn set_stamp(&self, stamp: &Stamp) -> Result<(), StoreError> {
        let bytes = postcard::to_stdvec(stamp).map_err(|error| self.damaged(error.to_string()))?;
        guard(&self.dir, || value::put(&self.pages.tree, STAMP, Some(&bytes))).map(drop)
    }

    /// Writes or removes rows, which come in the order of their keys; `counts` follows. `go_on` is asked before
    /// each page or row.
    pub(super) fn fold<'a>(
        &self,
        rows: impl IntoIterator<Item = Change<'a>>,
        counts: &mut Counts,
        go_on: &dyn Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rows = rows.into_iter().peekable();
        let mut follow = |(key, value): &Change<'a>, was_there: bool| {
            let count = counts.entry(key.first().copied().unwrap_or_default()).or_default();
            *count = (*count + u64::from(value.is_some())).saturating_sub(u64::from(was_there));
        };
        while let Some((key, _)) = rows.peek() {
            go_on()?;
            if !is_alone(key) {
                self.pages.fold_some(&mut rows, &mut follow)?;
            } else if let Some(row) = rows.next() {
                follow(&row, guard(&self.dir, || value::put(&self.db, row.0, row.1))?);
            }
        }
        Ok(())
    }

    /// Takes away what a fold that was broken off has left twice.
    pub(super) fn cut_doubles(&self) -> Result<(), StoreError> {
        self.pages.cut_doubles()
    }

    /// Lets folds write so many pages more.
    #[cfg(test)]
    pub(super) fn break_off_after(&self, writes: usize) {
        self.pages.break_off_after(writes);
    }

    /// The tables in which a row was looked for since the last call, in order.
    #[cfg(test)]
    pub(super) fn looked_in(&self) -> Vec<u8> {
        self.pages.looked_in()
    }

    /// Writes other bytes where the page of a row is.
    #[cfg(test)]
    pub(super) fn spoil_page_of(&self, key: &[u8]) {
        let (bound, _) = self.pages.tree.range(key..).next().unwrap().unwrap();
        self.pages.tree.insert(bound, b"not what was written").unwrap();
        self.pages.forget_found();
        self.sync().unwrap();
    }

    /// Makes everything written durable: sled's own flush does not reach the disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        guard(&self.dir, || self.db.flush())?;
        reach(Point::FoldFlushed);
        self.file.sync_data().map_err(|error| StoreError::io("sync", self.dir.join("db"), &error))?;
        saw(Deed::Synced, &self.dir);
        self.check_blobs()
    }

    /// Foresees what folding rows makes of these counts.
    pub(super) const fn foresee(&self, counts: Counts) -> Foresight<'_> {
        Foresight { base: self, walk: Walk::through(&self.pages), counts }
    }

    /// Counts the rows and checks each one; reads everything.
    pub(super) fn count(&self) -> Result<Counts, StoreError> {
        self.count_those(|_| true)
    }

    /// Counts some of the rows and checks all; reads everything.
    pub(super) fn count_those(&self, those: impl Fn(&[u8]) -> bool) -> Result<Counts, StoreError> {
        let mut counts = Counts::new();
        let mut show = |key: &[u8]| {
            if those(key) {
                *counts.entry(key.first().copied().unwrap_or_default()).or_default() += 1;
            }
        };
        self.pages.each_key(&mut show)?;
        for table in ALONE {
            let mut range = self.db.range([table]..[table.saturating_add(1)]);
            while let Some((key, stored)) = guard(&self.dir, || range.next().transpose())? {
                if value::open(&self.dir, &self.db, &key, stored)?.is_some() {
                    show(&key);
                }
            }
        }
        Ok(counts)
    }

    /// Up to `limit` keys of rows from `from` on, in order. Of a page that is damaged there is one: whoever reads
    /// that is told.
    pub(super) fn keys(&self, from: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let (mut keys, mut from) = (Vec::new(), from.to_vec());
        while keys.len() < limit
            && from.as_slice() < [PARTS].as_slice()
            && let Some(table) = from.first().copied()
        {
            let next = vec![table.saturating_add(1)];
            if is_alone(&from) {
                let range = self.db.range(from..next.clone()).keys().take(limit - keys.len());
                let own = guard(&self.dir, || range.collect::<Result<Vec<_>, _>>())?;
                keys.extend(own.iter().map(|key| key.to_vec()));
            } else {
                self.pages.keys(&from, limit, &mut keys)?;
            }
            from = next;
        }
        Ok(keys)
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> Result<bool, StoreError> {
        let rows = guard(&self.dir, || Ok(self.db.iter().next().transpose()?.is_none()))?;
        Ok(rows && guard(&self.dir, || Ok(self.pages.tree.iter().next().transpose()?.is_none()))?)
    }

    fn check_blobs(&self) -> Result<(), StoreError> {
        let blobs = std::fs::read_dir(self.dir.join("blobs")).ok().and_then(|mut blobs| blobs.next());
        match blobs {
            Some(_) => Err(self.damaged("it keeps blobs, which are never synced".to_owned())),
            None => Ok(()),
        }
    }

    fn value(&self, tree: &::sled::Tree, key: &[u8]) -> Result<Option<value::Body>, StoreError> {
        let stored = guard(&self.dir, || tree.get(key))?;
        stored.map_or(Ok(None), |stored| value::open(&self.dir, tree, key, stored))
    }

    fn scan_alone(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        rows: &mut Vec<Row>,
    ) -> Result<(), StoreError> {
        let mut range = self.db.range(from..to);
        while rows.len() < limit
            && let Some((key, stored)) = guard(&self.dir, || range.next().transpose())?
        {
            if let Some(body) = value::open(&self.dir, &self.db, &key, stored)? {
                rows.push((key.to_vec(), Bytes::copy_from_slice(&body)));
            }
        }
        Ok(())
    }

    /// Packs the rows of a folder of format 1, where all of them stand alone.
    ///
    /// The stamp goes over when all have, so that one that is broken off begins anew; the old one goes last.
    fn pack_format_1(&self) -> Result<(), StoreError> {
        let Some(mut from) = self.first_unpacked(&[FIRST_TABLE])? else {
            return self.forget_stamp_of_format_1();
        };
        let stamp = self.value(&self.db, STAMP)?;
        if guard(&self.dir, || self.pages.tree.get(STAMP))?.is_none() {
            guard(&self.dir, || self.pages.tree.clear())?;
            let start = from.clone();
            loop {
                let mut rows = Vec::new();
                let end = from.first().map_or(PARTS, |table| table.saturating_add(1));
                self.scan_alone(&from, &[end], AT_ONCE, &mut rows)?;
                let of_rows = rows.iter().map(|(key, value)| (key.as_slice(), Some(&**value)));
                self.fold(of_rows, &mut Counts::new(), &|| Ok(()))?;
                let after = rows.last().map_or_else(|| vec![end], |(key, _)| [key.as_slice(), &[0]].concat());
                let Some(next) = self.first_unpacked(&after)? else { break };
                from = next;
            }
            self.sync()?;
            let stamp = stamp
                .as_deref()
                .map_or_else(|| postcard::to_stdvec(&Stamp::default()), |stamp| Ok(stamp.to_vec()));
            let stamp = stamp.map_err(|error| self.damaged(error.to_string()))?;
            guard(&self.dir, || value::put(&self.pages.tree, STAMP, Some(&stamp)))?;
            self.sync()?;
            from = start;
        }
        while let Some(key) = self.first_unpacked(&from)? {
            guard(&self.dir, || value::put(&self.db, &key, None))?;
            from = key;
        }
        self.forget_stamp_of_format_1()
    }

    fn forget_stamp_of_format_1(&self) -> Result<(), StoreError> {
        if guard(&self.dir, || self.db.remove(STAMP))?.is_some() { self.sync() } else { Ok(()) }
    }

    /// The first row at or after `from` that stands alone and should not.
    fn first_unpacked(&self, from: &[u8]) -> Result<Option<IVec>, StoreError> {
        let mut from = IVec::from(from);
        loop {
            let first = guard(&self.dir, || self.db.range(from..IVec::from(&[PARTS])).next().transpose())?;
            let Some((key, _)) = first else { return Ok(None) };
            if !is_alone(&key) {
                return Ok(Some(key));
            }
            let Some(table) = key.first() else { return Ok(None) };
            from = IVec::from(&[table.saturating_add(1)]);
        }
    }

    fn damaged(&self, problem: String) -> StoreError {
        damaged(&self.dir, problem)
    }
}

/// What rows will be there when those that it is told of are folded; they come in the order of their keys, and nothing is folded
/// meanwhile.
pub(super) struct Foresight<'a> {
    base: &'a SledBase,
    walk: Walk<'a>,
    pub(super) counts: Counts,
}

impl Foresight<'_> {
    /// Counts a row; one that is new was never here.
    pub(super) fn row(&mut self, (key, value): Change<'_>, is_new: bool) -> Result<(), StoreError> {
        let was_there = if is_new {
            false
        } else if is_alone(key) {
            guard(&self.base.dir, || self.base.db.contains_key(key))?
        } else {
            self.walk.has(key)?
        };
        let count = self.counts.entry(key.first().copied().unwrap_or_default()).or_default();
        *count = (*count + u64::from(value.is_some())).saturating_sub(u64::from(was_there));
        Ok(())
    }
}

impl Base for SledBase {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !is_alone(key) {
            return self.pages.get(key);
        }
        Ok(self.value(&self.db, key)?.map(|body| Bytes::copy_from_slice(&body)))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let (mut rows, mut from) = (Vec::new(), from.to_vec());
        let to = to.min(&[PARTS]);
        while rows.len() < limit
            && from.as_slice() < to
            && let Some(table) = from.first().copied()
        {
            let next = [table.saturating_add(1)];
            let end = to.min(next.as_slice());
            if is_alone(&from) {
                self.scan_alone(&from, end, limit, &mut rows)?;
            } else {
                self.pages.scan(&from, end, limit, &mut rows)?;
            }
            from = next.to_vec();
        }
        Ok(rows)
    }
}

/// Whether rows of this table stand alone, and not in pages with others.
pub(super) fn is_alone(key: &[u8]) -> bool {
    key.first().is_some_and(|table| ALONE.contains(table))
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
            if error.raw_os_error().is_some() && error.kind() != std::io::ErrorKind::NotFound
                // What it remembers bears the kind alone; and nothing else is called so.
                || error.kind() == std::io::ErrorKind::StorageFull =>
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
