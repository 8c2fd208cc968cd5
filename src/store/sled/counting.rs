//! Counting: each page is read once and checked, and no row is copied.

use ::sled::IVec;

use super::super::page::Page;
use super::super::value::{self, PARTS};
use super::{Pages, table_under};
use crate::store::StoreError;
use crate::store::sled::base::{damaged, guard};

impl Pages {
    /// Shows the key of every row, in order; of one that a broken split has left twice, once. Nothing may be written
    /// meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] at the first page that cannot be read.
    pub(in crate::store::sled) fn each_key(&self, show: &mut impl FnMut(&[u8])) -> Result<(), StoreError> {
        let mut pages = self.tree.range([1_u8].as_slice()..[PARTS].as_slice());
        let mut before = IVec::default();
        while let Some((bound, stored)) = guard(&self.dir, || pages.next().transpose())? {
            let Some(body) = value::open(&self.dir, &self.tree, &bound, stored)? else { continue };
            let unpacked = lz4_flex::decompress_size_prepended(&body)
                .map_err(|error| damaged(&self.dir, format!("a page cannot be unpacked ({error})")))?;
            let page = Page::of(&unpacked);
            let page = page.ok_or_else(|| damaged(&self.dir, "a page cannot be read".to_owned()))?;
            // What belongs into the page before was counted there.
            let own = if table_under(&before) == table_under(&bound) { &*before } else { &[] };
            let first = page.lower_bound(&[own, &[0]].concat());
            page.rows(first).for_each(|(key, _)| show(key));
            before = bound;
        }
        Ok(())
    }
}
