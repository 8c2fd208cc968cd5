//! Packing: how rows get into pages, one page at a time and in an order that a crash may end anywhere.
//!
//! A page holds rows of one table. Tables whose keys are texts or digests are left out: what changes together
//! lies apart there, and each row would write its neighbours again.

use ::sled::IVec;

use super::base::{Counts, FIRST_TABLE, PARTS, STAMP, SledBase, guard, is_scattered};
use super::page::{self, RowRef};
use crate::store::StoreError;

/// Rows that are folded into one place at a time.
const AT_ONCE: usize = 4_096;

/// Where rows of a stretch of keys go.
struct Place {
    /// The page that is there, under its first key.
    old: Option<(IVec, IVec)>,
    /// The first key of the next page.
    end: Option<Vec<u8>>,
}

impl SledBase {
    /// Writes or removes rows, which come in the order of their keys; `counts` follows. `go_on` is asked before
    /// each page.
    pub(super) fn fold<'a>(
        &self,
        rows: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        counts: &mut Counts,
        go_on: &dyn Fn() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rows = rows.into_iter().peekable();
        while let Some((key, value)) = rows.peek() {
            go_on()?;
            if is_scattered(key) {
                let was_there = guard(&self.dir, || self.put(key, *value))?;
                follow(counts, key, was_there, value.is_some());
                rows.next();
                continue;
            }
            let place = self.place_of(key)?;
            let end = place.end.as_deref();
            // A page holds rows of one table: those of another may come to stand alone in between.
            let table = key.first().copied();
            let fits = |key: &[u8]| key.first().copied() == table && end.is_none_or(|end| key < end);
            let changes: Vec<_> =
                std::iter::from_fn(|| rows.next_if(|(key, _)| fits(key))).take(AT_ONCE).collect();
            let body =
                place.old.as_ref().map(|(first, old)| self.body(&self.pages, first, old)).transpose()?;
            let old = body.as_ref().map(|body| self.page(body)).transpose()?;
            // Rows over the end are what a split that was broken off has left.
            let old = old.into_iter().flat_map(|page| page.rows(0)).take_while(|(key, _)| fits(key));
            let merged = merge(old, &changes, counts);
            self.put_pages(&place, &merged)?;
        }
        Ok(())
    }

    /// The page that a key belongs into: the last one that does not begin after it.
    fn place_of(&self, key: &[u8]) -> Result<Place, StoreError> {
        guard(&self.dir, || {
            let before = self.pages.range([FIRST_TABLE].as_slice()..=key).next_back().transpose()?;
            let old = before.filter(|(first, _)| first.first() == key.first());
            let after = old.as_ref().map_or(key, |(first, _)| first.as_ref());
            let next = self.pages.get_gt(after)?.map(|(next, _)| next.to_vec());
            let end = next.filter(|next| next.as_slice() < [PARTS].as_slice());
            Ok(Place { old, end })
        })
    }

    /// Writes the rows of a place anew. Of a page that is split the later ones come first: whatever a crash leaves,
    /// each row is in one that counts. A batch of sled would be one act, but rolls sled's buffer over each time, which
    /// wrote 250 times the payload (docs/adr/0014).
    fn put_pages(&self, place: &Place, rows: &[RowRef<'_>]) -> Result<(), StoreError> {
        let old = place.old.as_ref().map(|(first, _)| first.as_ref());
        if let Some(first) = old.filter(|_| rows.is_empty()) {
            self.cut_before(first)?;
            return guard(&self.dir, || self.put(first, None)).map(drop);
        }
        let pages: Vec<&[RowRef<'_>]> = page::pack(rows).collect();
        for (index, page) in pages.iter().enumerate().rev() {
            let own = page.first().map(|(key, _)| *key).unwrap_or_default();
            let first = old.filter(|_| index == 0).unwrap_or(own);
            guard(&self.dir, || self.put(first, Some(&page::encode(page))))?;
        }
        Ok(())
    }

    /// Before a page goes: what a split that was broken off has left in the page before it must not count again.
    fn cut_before(&self, first: &[u8]) -> Result<(), StoreError> {
        let before = guard(&self.dir, || self.pages.get_lt(first))?;
        let Some((before, stored)) = before.filter(|(before, _)| before.first() == first.first()) else {
            return Ok(());
        };
        let body = self.body(&self.pages, &before, &stored)?;
        let rows: Vec<RowRef<'_>> = self.page(&body)?.rows(0).collect();
        let kept = rows.partition_point(|(key, _)| *key < first);
        match rows.get(..kept) {
            Some(cut) if kept < rows.len() => {
                guard(&self.dir, || self.put(&before, Some(&page::encode(cut)))).map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Packs the rows of a folder from before there were pages: one row a key, in the tree without a name.
    ///
    /// The stamp goes over last, so that one that is broken off begins anew.
    pub(super) fn pack_old_rows(&self) -> Result<(), StoreError> {
        if guard(&self.dir, || self.db.first())?.is_none() {
            return Ok(());
        }
        if guard(&self.dir, || self.pages.get(STAMP))?.is_none() {
            guard(&self.dir, || self.pages.clear())?;
            let mut from = IVec::from(&[FIRST_TABLE]);
            loop {
                let range = self.db.range(from.clone()..IVec::from(&[PARTS])).take(AT_ONCE);
                let rows = guard(&self.dir, || range.collect::<Result<Vec<_>, _>>())?;
                let Some((last, _)) = rows.last() else { break };
                from = [last.as_ref(), &[0]].concat().into();
                let rows =
                    rows.into_iter().map(|(key, stored)| Ok((self.body(&self.db, &key, &stored)?, key)));
                let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
                let rows = rows.iter().map(|(body, key)| (key.as_ref(), Some(&**body)));
                self.fold(rows, &mut Counts::new(), &|| Ok(()))?;
            }
            self.sync()?;
            if let Some(stamp) = guard(&self.dir, || self.db.get(STAMP))? {
                guard(&self.dir, || self.pages.insert(STAMP, stamp))?;
            }
            self.sync()?;
        }
        guard(&self.dir, || self.db.clear())?;
        self.sync()
    }
}

/// Counts a row that has come or gone.
fn follow(counts: &mut Counts, key: &[u8], was_there: bool, is_there: bool) {
    if was_there != is_there {
        let count = counts.entry(key.first().copied().unwrap_or_default()).or_default();
        *count = if was_there { count.saturating_sub(1) } else { *count + 1 };
    }
}

/// Old rows with the changes; `counts` follows.
fn merge<'a>(
    old: impl Iterator<Item = RowRef<'a>>,
    changes: &[(&'a [u8], Option<&'a [u8]>)],
    counts: &mut Counts,
) -> Vec<RowRef<'a>> {
    let (mut old, mut merged) = (old.peekable(), Vec::new());
    for (key, value) in changes {
        merged.extend(std::iter::from_fn(|| old.next_if(|(before, _)| before < key)));
        let was_there = old.next_if(|(same, _)| same == key).is_some();
        merged.extend(value.map(|value| (*key, value)));
        follow(counts, key, was_there, value.is_some());
    }
    merged.extend(old);
    merged
}
