//! Rows: a layered key-value of bytes, the newest layer on top.
//!
//! ```text
//! active   changes since the last freeze      a Layer, None = deleted
//! frozen   changes being folded into the base a Layer, read only
//! base     what is folded                     another engine, or nothing
//! ```
//!
//! A range of keys that is swept is deleted without being read: the layer hides it, and the next fold finds out what that was.
//!
//! Rows are absolute values, never deltas: a base that holds half of the frozen layer reads the same as
//! one that holds none of it, so a crash in the middle of a fold does no harm.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;

use super::StoreError;
use super::layer::{Entry, Layer, Value};

/// Rows of a base that are read at a time.
pub(super) const PAGE: usize = 512;

/// The same, by whoever looks for one and passes many that are deleted.
pub(super) const PASSED: usize = 64;

/// What a swept row counts for: its key will stand in the file of a checkpoint.
const SWEPT_BYTES: u64 = 32;

/// A key with its value.
pub(super) type Row = (Vec<u8>, Bytes);

/// A key with its new value; `None` where the row goes.
pub(super) type Changed = (Vec<u8>, Option<Bytes>);

/// What the layers in memory lie on.
pub(super) trait Base: Send + Sync + std::fmt::Debug {
    /// One row.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Up to `limit` rows from `from` (included) to `to` (excluded), in order.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;
}

/// The layered rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    active: Layer,
    active_bytes: u64,
    frozen: Option<Arc<Layer>>,
    base: Option<Arc<dyn Base>>,
}

impl Rows {
    /// Rows over `base`; without one everything stays in memory.
    pub(super) fn over(base: Arc<dyn Base>) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    /// Whether nothing is under the active layer.
    pub(super) fn is_alone(&self) -> bool {
        self.base.is_none() && self.frozen.is_none()
    }

    /// The newest value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.active.get(key) {
            return Ok(value.clone());
        }
        if let Some(value) = self.frozen.as_ref().and_then(|layer| layer.get(key)) {
            return Ok(value.clone());
        }
        self.base.as_ref().map_or(Ok(None), |base| base.get(key))
    }

    /// The newest value of `key` as far as memory holds it; `None` says nothing about the base.
    pub(super) fn held(&self, key: &[u8]) -> Option<Bytes> {
        let frozen = || self.frozen.as_ref().and_then(|layer| layer.get(key));
        self.active.get(key).or_else(frozen)?.clone()
    }

    /// Writes a row.
    pub(super) fn put(&mut self, key: Vec<u8>, value: Bytes) {
        self.set(key, Some(value));
    }

    /// Deletes a row, if there is one.
    pub(super) fn delete(&mut self, key: Vec<u8>) {
        if self.is_alone() {
            let len = key.len();
            if let Some(old) = self.active.remove(key) {
                self.active_bytes = self.active_bytes.saturating_sub(weight(len, old.as_ref()));
            }
            return;
        }
        self.set(key, None);
    }

    /// Deletes all rows from `from` (included) to `to` (excluded), without looking for them; there are about so many.
    pub(super) fn sweep(&mut self, from: &[u8], to: &[u8], rows: u64) {
        let is_alone = self.is_alone();
        let gone = if is_alone { self.active.take(from, to) } else { self.active.sweep(from, to) };
        let weights = gone.iter().map(|(key, value)| weight(key.len(), value.as_ref()));
        self.active_bytes = self.active_bytes.saturating_sub(weights.sum());
        if !is_alone {
            self.active_bytes = self.active_bytes.saturating_add(rows.saturating_mul(SWEPT_BYTES));
        }
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let len = key.len();
        self.active_bytes = self.active_bytes.saturating_add(weight(len, value.as_ref()));
        if let Some(old) = self.active.insert(key, value) {
            self.active_bytes = self.active_bytes.saturating_sub(weight(len, old.as_ref()));
        }
    }

    /// The first row from `from` (included) to `to` (excluded), though many that are deleted come before it.
    pub(super) fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<Row>, StoreError> {
        Ok(self.scan_by(from, to, 1, PASSED)?.pop())
    }

    /// Up to `limit` rows from `from` (included) to `to` (excluded), in order.
    pub(super) fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.scan_by(from, to, limit, limit.clamp(1, PAGE))
    }

    /// As [`Rows::scan`], with `page` rows of the base at a time.
    fn scan_by(&self, from: &[u8], to: &[u8], limit: usize, page: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let mut active = self.active.range(from, to).peekable();
        let mut frozen = self.frozen.as_ref().map(|layer| layer.range(from, to).peekable());
        let mut base = BasePages::new(self.base.as_deref(), from, to, page);
        let mut found = Vec::new();
        while found.len() < limit {
            let keys = [
                active.peek().map(|(key, _)| *key),
                frozen.as_mut().and_then(|layer| layer.peek().map(|(key, _)| *key)),
                base.peek()?,
            ];
            let Some(key) = keys.into_iter().flatten().min().map(<[u8]>::to_vec) else { break };
            // All of them go on, and the newest counts.
            let below = base.take(&key);
            let middle = frozen.as_mut().and_then(|layer| take(layer, &key));
            let newest = take(&mut active, &key);
            let is_swept = |layer: &Layer| layer.is_swept(&key).then_some(None);
            let value = newest
                .or_else(|| is_swept(&self.active))
                .or(middle)
                .or_else(|| self.frozen.as_deref().and_then(is_swept))
                .unwrap_or(below);
            if let Some(value) = value {
                found.push((key, value));
            }
        }
        Ok(found)
    }

    /// Bytes of the active layer, about.
    pub(super) fn active_bytes(&self) -> u64 {
        self.active_bytes
    }

    /// Makes the active layer the frozen one. The earlier frozen layer must be forgotten before.
    pub(super) fn freeze(&mut self) -> Arc<Layer> {
        let layer = Arc::new(std::mem::take(&mut self.active));
        self.active_bytes = 0;
        self.frozen = Some(Arc::clone(&layer));
        layer
    }

    /// Lays a frozen layer read from disk under an empty active one.
    pub(super) fn restore_frozen(&mut self, layer: Layer) -> Arc<Layer> {
        let layer = Arc::new(layer);
        self.frozen = Some(Arc::clone(&layer));
        layer
    }

    /// Drops the frozen layer: the base holds it whole.
    pub(super) fn forget_frozen(&mut self) -> Option<Arc<Layer>> {
        self.frozen.take()
    }
}

/// The rows of a base that a layer has swept, in order; not those that it names. There may be very many.
pub(super) struct Swept<'a> {
    layer: &'a Layer,
    base: Option<&'a dyn Base>,
    /// Where they stand, from (included) to (excluded), in order and apart, but for the range that is being read.
    left: VecDeque<(&'a [u8], &'a [u8])>,
    pages: Option<BasePages<'a>>,
}

impl<'a> Swept<'a> {
    /// Those from `from` (included) to `to` (excluded).
    pub(super) fn within(layer: &'a Layer, base: Option<&'a dyn Base>, from: &'a [u8], to: &'a [u8]) -> Self {
        let own = layer.swept().map(|(start, end)| (start.max(from), end.min(to)));
        let mut ranges: Vec<_> = own.filter(|(start, end)| start < end).collect();
        ranges.sort_unstable();
        let mut left: VecDeque<(&[u8], &[u8])> = VecDeque::new();
        for (start, end) in ranges {
            match left.back_mut().filter(|(_, before)| start <= *before) {
                Some((_, before)) => *before = end.max(before),
                None => left.push_back((start, end)),
            }
        }
        Self { layer, base, left, pages: None }
    }

    /// The next one that comes before `key`, which itself is passed over; without a key all of them come.
    ///
    /// # Errors
    /// What the base says.
    pub(super) fn next_before(&mut self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        let is_up_to = |found: &[u8]| key.is_none_or(|key| found <= key);
        loop {
            while let Some(pages) = &mut self.pages
                && let Some(found) = pages.peek()?.map(<[u8]>::to_vec)
            {
                if !is_up_to(&found) {
                    return Ok(None);
                }
                pages.take(&found);
                if key != Some(found.as_slice()) && !self.layer.names(&found) {
                    return Ok(Some(found));
                }
            }
            let Some((start, end)) = self.left.pop_front_if(|(start, _)| is_up_to(start)) else {
                return Ok(None);
            };
            self.pages = Some(BasePages::new(self.base, start, end, PAGE));
        }
    }
}

fn weight(key: usize, value: Option<&Bytes>) -> u64 {
    // A map entry costs about as much as a short row beside its bytes.
    (key + value.map_or(0, Bytes::len) + 64) as u64
}

/// Takes the next entry of a layer when it is the one of `key`; none says that nothing is written of it.
fn take<'a>(layer: &mut Peekable<impl Iterator<Item = Entry<'a>>>, key: &[u8]) -> Option<Value> {
    layer.next_if(|(next, _)| *next == key).map(|(_, value)| value.clone())
}

/// Reads a base page by page, since rows above may hide any number of its rows.
struct BasePages<'a> {
    base: Option<&'a dyn Base>,
    from: Vec<u8>,
    to: &'a [u8],
    page: usize,
    rows: Peekable<std::vec::IntoIter<Row>>,
    is_over: bool,
}

impl<'a> BasePages<'a> {
    fn new(base: Option<&'a dyn Base>, from: &[u8], to: &'a [u8], page: usize) -> Self {
        Self {
            base,
            from: from.to_vec(),
            to,
            page,
            rows: Vec::new().into_iter().peekable(),
            is_over: base.is_none(),
        }
    }

    fn peek(&mut self) -> Result<Option<&[u8]>, StoreError> {
        if self.rows.peek().is_none() && !self.is_over {
            let rows = self.base.map_or(Ok(Vec::new()), |base| base.scan(&self.from, self.to, self.page))?;
            self.is_over = rows.len() < self.page;
            if let Some((last, _)) = rows.last() {
                self.from = [last.as_slice(), &[0]].concat();
            }
            self.rows = rows.into_iter().peekable();
        }
        Ok(self.rows.peek().map(|(key, _)| key.as_slice()))
    }

    fn take(&mut self, key: &[u8]) -> Option<Bytes> {
        self.rows.next_if(|(next, _)| next.as_slice() == key).map(|(_, value)| value)
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
pub(super) mod tests;
