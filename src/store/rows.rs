//! Rows: a layered key-value of bytes, the newest layer on top.
//!
//! ```text
//! active   changes since the last freeze      a Layer, None = deleted
//! frozen   changes being folded into the base a Layer, read only
//! base     what is folded                     another engine, or nothing
//! ```
//!
//! Rows are absolute values, never deltas: a base that holds half of the frozen layer reads the same as
//! one that holds none of it, so a crash in the middle of a fold does no harm.

use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;

use super::StoreError;
use super::layer::{Entry, Layer, Value};

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

    fn set(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let len = key.len();
        self.active_bytes = self.active_bytes.saturating_add(weight(len, value.as_ref()));
        if let Some(old) = self.active.insert(key, value) {
            self.active_bytes = self.active_bytes.saturating_sub(weight(len, old.as_ref()));
        }
    }

    /// Up to `limit` rows from `from` (included) to `to` (excluded), in order.
    pub(super) fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to || limit == 0 {
            return Ok(Vec::new());
        }
        let mut active = self.active.range(from, to).peekable();
        let mut frozen = self.frozen.as_ref().map(|layer| layer.range(from, to).peekable());
        let mut base = BasePages::new(self.base.as_deref(), from, to, limit);
        let mut found = Vec::new();
        while found.len() < limit {
            let keys = [
                active.peek().map(|(key, _)| *key),
                frozen.as_mut().and_then(|layer| layer.peek().map(|(key, _)| *key)),
                base.peek()?,
            ];
            let Some(key) = keys.into_iter().flatten().min().map(<[u8]>::to_vec) else { break };
            let below = base.take(&key);
            let middle = frozen.as_mut().and_then(|layer| take(layer, &key));
            let value = take(&mut active, &key).or(middle).unwrap_or(below);
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
    fn new(base: Option<&'a dyn Base>, from: &[u8], to: &'a [u8], limit: usize) -> Self {
        let page = limit.clamp(1, 512);
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default)]
    struct Fixed(BTreeMap<Vec<u8>, Bytes>);

    impl Base for Fixed {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
            Ok(self.0.get(key).cloned())
        }

        fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
            let range = self.0.range(from.to_vec()..to.to_vec());
            Ok(range.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }

    fn text(rows: &[Row]) -> String {
        let pair =
            |(k, v): &Row| [String::from_utf8_lossy(k), "=".into(), String::from_utf8_lossy(v)].concat();
        rows.iter().map(pair).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_newest_layer_wins_and_deleted_rows_stay_hidden() {
        let base = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        let base = Fixed(base.iter().map(|(k, v)| (k.as_bytes().to_vec(), Bytes::from(*v))).collect());
        let mut rows = Rows::over(Arc::new(base));
        rows.put(b"b".to_vec(), Bytes::from("2"));
        rows.delete(b"c".to_vec());
        rows.freeze();
        rows.put(b"c".to_vec(), Bytes::from("3"));
        rows.delete(b"a".to_vec());
        rows.put(b"e".to_vec(), Bytes::from("3"));

        assert_eq!(text(&rows.scan(b"a", b"z", 9).unwrap()), "b=2 c=3 d=1 e=3");
        assert_eq!(text(&rows.scan(b"a", b"z", 1).unwrap()), "b=2");
        assert_eq!(rows.get(b"a").unwrap(), None);
        rows.forget_frozen();
        assert_eq!(text(&rows.scan(b"a", b"z", 9).unwrap()), "b=1 c=3 d=1 e=3");
    }

    #[test]
    fn without_a_base_a_deleted_row_leaves_nothing_behind() {
        let mut rows = Rows::default();
        rows.put(b"a".to_vec(), Bytes::from("1"));
        rows.delete(b"a".to_vec());

        assert_eq!(rows.active_bytes(), 0);
        assert!(rows.active.iter().next().is_none());
    }
}
