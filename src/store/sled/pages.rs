//! Pages: rows of a table that follow each other share one value of sled.
//!
//! A page stands under the last key that belongs into it, so that the page of a key is the first one at or after
//! that key: nothing ever walks backwards in sled, which does not get past leaves that have been emptied
//! (docs/adr/0014). The last page of a table stands under the next table's first byte.
//!
//! ```text
//! 20 ..07    rows 20 ..01 to 20 ..07           lz4 of a page (`page.rs`), behind its checksum (`value.rs`)
//! 20 ..31    rows after 20 ..07 to 20 ..31
//! 21         rows after 20 ..31
//! 00         the stamp
//! ```
//! A split writes the new pages in order, then the old one without what has gone into them. Whoever reads in between
//! finds a row in the first page that is at or after its key, so what a crash leaves twice counts once; the next
//! fold cuts it ([`Pages::cut_doubles`]).

#[path = "counting.rs"]
mod counting;

use std::path::PathBuf;
#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::sled::{IVec, Tree};
use bytes::Bytes;

use super::base::{damaged, guard};
use super::page::{self, Page, RowRef};
use super::recall::Recall;
use super::value::{self, PARTS};
use crate::store::StoreError;
use crate::store::faults::{Point, reach};
use crate::store::rows::Row;

/// Tables whose keys are texts: states, and the lists of events of a name or key, full chunks and open ones. A row is asked for alone, and
/// unpacking a large page for it would take half of the time of a settle.
const STRANGERS: [u8; 3] = [0x50, 0xC3, 0xC4];
/// Pages that are kept as they were unpacked last: neighbours are asked for one after the other.
const KEPT: usize = 32;
/// Rows that go into one page at a time.
const AT_ONCE: usize = 8_192;

/// A row that is written, or removed.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// The tree of the pages.
pub(super) struct Pages {
    pub(super) tree: Tree,
    dir: PathBuf,
    /// Pages that were begun so far: whoever sees it grow looks again.
    splits: AtomicU64,
    kept: Mutex<Vec<Kept>>,
    recall: Recall,
    /// Writes that are left until a fold breaks off, for tests.
    #[cfg(test)]
    writes_left: AtomicUsize,
    /// The tables in which a row was looked for, for tests.
    #[cfg(test)]
    looked_in: Mutex<Vec<u8>>,
    /// What comes between two leaves of sled that one reader looks at, for tests.
    #[cfg(test)]
    between_leaves: Mutex<Option<BetweenLeaves>>,
}

/// Done while a reader goes from one leaf of sled to the next; returns where the next one begins.
#[cfg(test)]
type BetweenLeaves = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Asks for rows in the order of their keys, while nobody writes any: most stand in the page of the one before.
pub(super) struct Walk<'a> {
    pages: &'a Pages,
    last: Option<Step>,
}

/// The key that was asked for last, the page that it belongs into, and its place there.
struct Step {
    key: Vec<u8>,
    found: Found,
    place: usize,
}

impl<'a> Walk<'a> {
    pub(super) const fn through(pages: &'a Pages) -> Self {
        Self { pages, last: None }
    }

    /// Whether there is such a row.
    pub(super) fn has(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        let is_near = |last: &Step| last.key.as_slice() <= key && last.found.reaches(key);
        if !self.last.as_ref().is_some_and(is_near) {
            let found = self.pages.find(key)?;
            self.last = found.map(|found| Step { key: Vec::new(), found, place: 0 });
        }
        let Some(last) = &mut self.last else { return Ok(false) };
        let page = self.pages.page(&last.found)?;
        last.place = page.lower_bound_from(last.place, key);
        last.key.clear();
        last.key.extend_from_slice(key);
        Ok(page.row(last.place).is_some_and(|(found, _)| found == key))
    }
}

/// A page as it was unpacked.
struct Kept {
    stored: IVec,
    unpacked: Arc<Vec<u8>>,
}

/// A page with the last key that belongs into it.
#[derive(Clone)]
pub(super) struct Found {
    bound: IVec,
    rows: Arc<Vec<u8>>,
}

impl Found {
    /// Whether a key of its table does not come after it.
    pub(super) fn reaches(&self, key: &[u8]) -> bool {
        key <= &*self.bound
    }
}

/// The table of a row's key.
fn table_of(key: &[u8]) -> Option<u8> {
    key.first().copied()
}

/// The table of a page. No row has a key of one byte but the head, which has its table to itself.
fn table_under(bound: &[u8]) -> Option<u8> {
    match bound {
        [next] => next.checked_sub(1),
        longer => table_of(longer),
    }
}

/// Under what the last page of a table stands.
fn last_bound(table: u8) -> IVec {
    IVec::from(&[table.saturating_add(1)])
}

impl Pages {
    pub(super) fn new(tree: Tree, dir: PathBuf) -> Self {
        Self {
            tree,
            dir,
            splits: AtomicU64::new(0),
            kept: Mutex::default(),
            recall: Recall::new(),
            #[cfg(test)]
            writes_left: AtomicUsize::new(usize::MAX),
            #[cfg(test)]
            looked_in: Mutex::default(),
            #[cfg(test)]
            between_leaves: Mutex::default(),
        }
    }

    /// The value of a row.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        #[cfg(test)]
        self.looked_in.lock().unwrap().extend(table_of(key));
        let Some(found) = self.find(key)? else { return Ok(None) };
        Ok(self.page(&found)?.get(key).map(Bytes::copy_from_slice))
    }

    /// Adds rows of one table from `from` (included) to `to` (excluded), until there are `limit`.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        rows: &mut Vec<Row>,
    ) -> Result<(), StoreError> {
        let mut from = from.to_vec();
        while rows.len() < limit
            && let Some(found) = self.find(&from)?
        {
            let page = self.page(&found)?;
            let own = page.rows(page.lower_bound(&from)).take_while(|(key, _)| *key < to);
            rows.extend(
                own.take(limit - rows.len())
                    .map(|(key, value)| (key.to_vec(), Bytes::copy_from_slice(value))),
            );
            if found.bound.len() == 1 || *found.bound >= *to {
                break;
            }
            from = [&found.bound, &[0_u8][..]].concat();
        }
        Ok(())
    }

    /// Adds keys of one table from `from` on, until there are `limit`; of a page that is damaged one that leads there.
    pub(super) fn keys(&self, from: &[u8], limit: usize, keys: &mut Vec<Vec<u8>>) -> Result<(), StoreError> {
        let (table, mut from) = (table_of(from), from.to_vec());
        while keys.len() < limit {
            let start = if from.len() == 1 { [&from, &[0_u8][..]].concat() } else { from.clone() };
            let first =
                guard(&self.dir, || self.tree.range(start.as_slice()..[PARTS].as_slice()).next().transpose());
            let Some((bound, stored)) = first?.filter(|(bound, _)| table_under(bound) == table) else {
                break;
            };
            match self
                .unpack(&bound, &stored)
                .map(|rows| rows.map(|rows| Found { bound: bound.clone(), rows }))
            {
                Ok(Some(found)) => {
                    let page = self.page(&found)?;
                    let own = page.rows(page.lower_bound(&from)).take(limit - keys.len());
                    keys.extend(own.map(|(key, _)| key.to_vec()));
                }
                // It went meanwhile.
                Ok(None) => continue,
                Err(StoreError::Damaged { .. }) => keys.push(match (&*bound, table) {
                    ([_], Some(table)) => [&[table], u64::MAX.to_be_bytes().as_slice()].concat(),
                    (bound, _) => bound.to_vec(),
                }),
                Err(error) => return Err(error),
            }
            if bound.len() == 1 {
                break;
            }
            from = [&bound, &[0_u8][..]].concat();
        }
        Ok(())
    }

    /// Writes or removes the rows at the beginning of `changes` that belong into one page; they come in order.
    /// Tells `follow` of each whether it was there before.
    pub(super) fn fold_some<'a>(
        &self,
        changes: &mut std::iter::Peekable<impl Iterator<Item = Change<'a>>>,
        follow: &mut impl FnMut(&Change<'a>, bool),
    ) -> Result<(), StoreError> {
        let Some((table, key)) = changes.peek().and_then(|(key, _)| Some((table_of(key)?, *key))) else {
            return Ok(());
        };
        let found = self.find(key)?;
        let bound = found.as_ref().map_or_else(|| last_bound(table), |found| found.bound.clone());
        let fits = |key: &[u8]| table_of(key) == Some(table) && *key <= *bound;
        let own: Vec<_> =
            std::iter::from_fn(|| changes.next_if(|(key, _)| fits(key))).take(AT_ONCE).collect();
        let old = found.as_ref().map(|found| self.page(found)).transpose()?;
        let mut is_changed = false;
        let merged = merge(old.into_iter().flat_map(|page| page.rows(0)), &own, &mut |change, was_there| {
            is_changed |= was_there || change.1.is_some();
            follow(change, was_there);
        });
        // What came and went since the fold before was never here.
        if is_changed { self.write(&bound, &merged) } else { Ok(()) }
    }

    /// Writes the rows of a page anew, into more than one where they do not fit.
    fn write(&self, bound: &IVec, rows: &[RowRef<'_>]) -> Result<(), StoreError> {
        let is_of_strangers = table_under(bound).is_some_and(|table| STRANGERS.contains(&table));
        let fill = if is_of_strangers { page::STRANGERS } else { page::NEIGHBOURS };
        let mut pages = page::pack(rows, fill).peekable();
        if pages.peek().is_none() {
            return self.put(bound, None);
        }
        while let Some(page) = pages.next() {
            let packed = lz4_flex::compress_prepend_size(&page::encode(page));
            let is_last = pages.peek().is_none();
            let under = page.last().map(|(key, _)| *key).filter(|_| !is_last);
            self.put(under.unwrap_or(bound), Some(&packed))?;
            if !is_last {
                self.splits.fetch_add(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    fn put(&self, bound: &[u8], packed: Option<&[u8]>) -> Result<(), StoreError> {
        #[cfg(test)]
        self.count_write()?;
        let put = guard(&self.dir, || value::put(&self.tree, bound, packed));
        self.recall.wrote(table_under(bound).unwrap_or_default());
        put?;
        reach(Point::FoldRow);
        Ok(())
    }

    /// Takes out of each page what belongs into the one before: a split that was broken off has left it.
    pub(super) fn cut_doubles(&self) -> Result<(), StoreError> {
        let mut before = IVec::from(&[1]);
        while let Some(found) = self.first_at(&[&before, &[0_u8][..]].concat())? {
            let page = self.page(&found)?;
            let start = if table_under(&found.bound) == table_under(&before) { &*before } else { &[] };
            let rows: Vec<RowRef<'_>> = page.rows(0).collect();
            let doubles = rows.partition_point(|(key, _)| *key <= start);
            if let Some(own) = rows.get(doubles..).filter(|_| doubles > 0) {
                self.write(&found.bound, own)?;
            }
            before = found.bound;
        }
        Ok(())
    }

    /// The page that a key belongs into, if there is one.
    fn find(&self, key: &[u8]) -> Result<Option<Found>, StoreError> {
        let Some(table) = table_of(key) else { return Ok(None) };
        let (known, since) = self.recall.page_of(table, key);
        if known.is_some() {
            return Ok(known);
        }
        loop {
            let splits = self.splits.load(Ordering::Acquire);
            // Under the first byte alone stands the last page of the table before.
            let start = if key.len() == 1 { &[key, &[0]].concat() } else { key };
            let found = self.first_at(start)?.filter(|found| table_under(&found.bound) == Some(table));
            // A page that was split while it was looked for may lack what the new one has.
            if splits == self.splits.load(Ordering::Acquire) {
                if let Some(found) = &found {
                    self.recall.keep(table, key, found, since);
                }
                return Ok(found);
            }
        }
    }

    /// The first page at or after a key, of whatever table.
    fn first_at(&self, key: &[u8]) -> Result<Option<Found>, StoreError> {
        #[cfg(test)]
        let key = &*self.behind_the_leaf_of(key);
        loop {
            let first = guard(&self.dir, || self.tree.range(key..[PARTS].as_slice()).next().transpose())?;
            let Some((bound, stored)) = first else { return Ok(None) };
            if let Some(rows) = self.unpack(&bound, &stored)? {
                return Ok(Some(Found { bound, rows }));
            }
        }
    }

    /// The rows of a page; `None` when it is gone meanwhile.
    fn unpack(&self, bound: &[u8], stored: &IVec) -> Result<Option<Arc<Vec<u8>>>, StoreError> {
        let slot = usize::try_from(crc32c::crc32c(bound)).unwrap_or_default() % KEPT;
        // One that is the same piece of memory need not be compared, and mostly it is.
        let is_same = |kept: &Kept| {
            std::ptr::eq(&raw const *kept.stored, &raw const **stored) || kept.stored == *stored
        };
        let known = |kept: &Kept| is_same(kept).then(|| Arc::clone(&kept.unpacked));
        if let Some(unpacked) = self.lock().get(slot).and_then(known) {
            return Ok(Some(unpacked));
        }
        let Some(body) = value::open(&self.dir, &self.tree, bound, stored.clone())? else { return Ok(None) };
        let unpacked = lz4_flex::decompress_size_prepended(&body)
            .map_err(|error| damaged(&self.dir, format!("a page cannot be unpacked ({error})")))?;
        let unpacked = Arc::new(unpacked);
        // A value in parts may be another one by now, under the same head.
        if let value::Body::Whole(stored) = body {
            let mut kept = self.lock();
            let empty = || Kept { stored: IVec::default(), unpacked: Arc::default() };
            if kept.is_empty() {
                kept.resize_with(KEPT, empty);
            }
            if let Some(slot) = kept.get_mut(slot) {
                *slot = Kept { stored, unpacked: Arc::clone(&unpacked) };
            }
        }
        Ok(Some(unpacked))
    }

    fn page<'a>(&self, found: &'a Found) -> Result<Page<'a>, StoreError> {
        Page::of(&found.rows).ok_or_else(|| damaged(&self.dir, "a page cannot be read".to_owned()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Old rows with the changes.
fn merge<'a: 'b, 'b>(
    old: impl Iterator<Item = RowRef<'b>>,
    changes: &[Change<'a>],
    follow: &mut impl FnMut(&Change<'a>, bool),
) -> Vec<RowRef<'b>> {
    let (mut old, mut merged) = (old.peekable(), Vec::new());
    for change in changes {
        let (key, value) = change;
        merged.extend(std::iter::from_fn(|| old.next_if(|(before, _)| before < key)));
        let was_there = old.next_if(|(same, _)| same == key).is_some();
        merged.extend(value.map(|value| (*key, value)));
        follow(change, was_there);
    }
    merged.extend(old);
    merged
}

#[cfg(test)]
impl Pages {
    /// Lets folds write so many pages more.
    pub(super) fn break_off_after(&self, writes: usize) {
        self.writes_left.store(writes, Ordering::Relaxed);
    }

    /// Has every page be looked for again.
    pub(super) fn forget_found(&self) {
        (0..=u8::MAX).for_each(|table| self.recall.wrote(table));
    }

    /// The tables in which a row was looked for since the last call, in order.
    pub(super) fn looked_in(&self) -> Vec<u8> {
        std::mem::take(&mut *self.looked_in.lock().unwrap())
    }

    /// Lets something be done once while a reader is between two leaves: it has found nothing in the first, and has
    /// not looked at the second yet.
    pub(super) fn once_between_leaves(&self, done: impl FnOnce() -> Vec<u8> + Send + 'static) {
        *self.between_leaves.lock().unwrap() = Some(Box::new(done));
    }

    fn behind_the_leaf_of(&self, key: &[u8]) -> Vec<u8> {
        let between = self.between_leaves.lock().unwrap().take();
        between.map_or_else(|| key.to_vec(), |between| between())
    }

    fn count_write(&self) -> Result<(), StoreError> {
        let left = self.writes_left.load(Ordering::Relaxed);
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let broken = || StoreError::io("write as the test wants in", &self.dir, &full);
        self.writes_left.store(left.checked_sub(1).ok_or_else(broken)?, Ordering::Relaxed);
        Ok(())
    }
}
