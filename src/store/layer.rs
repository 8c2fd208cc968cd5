//! Layer: rows written or deleted since some point, in the order of their keys.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// A value, or `None` where the row is deleted.
pub(super) type Value = Option<Bytes>;

/// A key with what is written of its row.
pub(super) type Entry<'a> = (&'a [u8], &'a Value);

/// The rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer {
    rows: BTreeMap<Key<'static>, Value>,
    tables: Tables,
    /// Where all that stood was deleted at one stroke, from (included) to (excluded); what was written there since counts.
    swept: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Tables, by the first byte of their keys, of which something was written. What is held elsewhere is in none of them, and asked
/// for most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Tables([u128; 2]);

impl Tables {
    fn place(key: &[u8]) -> (usize, u128) {
        let table = key.first().copied().unwrap_or_default();
        (usize::from(table >> 7), 1 << (table & 0x7F))
    }

    fn add(&mut self, key: &[u8]) {
        let (half, bit) = Self::place(key);
        if let Some(half) = self.0.get_mut(half) {
            *half |= bit;
        }
    }

    fn has(self, key: &[u8]) -> bool {
        let (half, bit) = Self::place(key);
        self.0.get(half).is_some_and(|half| half & bit != 0)
    }
}

/// What is written of a row that was swept.
static DELETED: Value = None;

/// Bytes of a key that stand in the tree.
const HEAD: usize = 16;

/// A key. Its first 16 bytes, padded with zeroes, stand in the tree and are compared as one number. The bytes of a longer one
/// lie anywhere, and each look at them would be a miss of the processor's cache.
#[derive(Debug, Clone)]
struct Key<'a> {
    head: [u8; HEAD],
    len: usize,
    /// All of it where it is longer than the head, else nothing.
    long: Cow<'a, [u8]>,
}

fn head_of(bytes: &[u8]) -> [u8; HEAD] {
    let (mut head, here) = ([0; HEAD], bytes.len().min(HEAD));
    if let (Some(head), Some(first)) = (head.get_mut(..here), bytes.get(..here)) {
        head.copy_from_slice(first);
    }
    head
}

impl<'a> Key<'a> {
    fn of(bytes: Cow<'a, [u8]>) -> Self {
        let (head, len) = (head_of(&bytes), bytes.len());
        Self { head, len, long: if len > HEAD { bytes } else { Cow::Borrowed(&[]) } }
    }

    fn owned(bytes: &[u8]) -> Key<'static> {
        let long = if bytes.len() > HEAD { Cow::Owned(bytes.to_vec()) } else { Cow::Borrowed(&[][..]) };
        Key { head: head_of(bytes), len: bytes.len(), long }
    }

    fn bytes(&self) -> &[u8] {
        if self.len > HEAD { &self.long } else { self.head.get(..self.len).unwrap_or_default() }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Padding is the smallest byte, so heads that differ order as the bytes do; those that do not leave it to the bytes.
        let heads = u128::from_be_bytes(self.head).cmp(&u128::from_be_bytes(other.head));
        heads.then_with(|| self.bytes().cmp(other.bytes()))
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl Layer {
    /// What is written of a row; `None` where nothing is.
    pub(super) fn get<'a>(&'a self, key: &'a [u8]) -> Option<&'a Value> {
        // A key that is borrowed finds one that is owned: the tree reads as one of keys that live shorter.
        let rows: &BTreeMap<Key<'_>, Value> = &self.rows;
        let own = self.tables.has(key).then(|| rows.get(&Key::of(Cow::Borrowed(key)))).flatten();
        own.or_else(|| self.is_swept(key).then_some(&DELETED))
    }

    /// Whether anything is written of a row.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Writes a row, or that it is deleted; returns what was written of it before.
    pub(super) fn insert(&mut self, key: Vec<u8>, value: Value) -> Option<Value> {
        self.tables.add(&key);
        self.rows.insert(Key::of(Cow::Owned(key)), value)
    }

    /// Takes out what is written of all rows from `from` (included) to `to` (excluded).
    pub(super) fn take(&mut self, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Value)> {
        let own: Vec<Vec<u8>> = self.range(from, to).map(|(key, _)| key.to_vec()).collect();
        own.into_iter().filter_map(|key| Some((key.clone(), self.remove(key)?))).collect()
    }

    /// As [`Layer::take`]; and whatever lies beneath counts as deleted there, without being looked for.
    pub(super) fn sweep(&mut self, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Value)> {
        if from < to {
            self.swept.push((from.to_vec(), to.to_vec()));
        }
        self.take(from, to)
    }

    /// Whether a row itself is written or deleted here, and not only swept.
    pub(super) fn names(&self, key: &[u8]) -> bool {
        self.get(key).is_some_and(|value| !std::ptr::eq(value, &raw const DELETED))
    }

    /// Whether a row was swept; it may have been written since.
    pub(super) fn is_swept(&self, key: &[u8]) -> bool {
        self.swept.iter().any(|(from, to)| from.as_slice() <= key && key < to.as_slice())
    }

    /// Where rows were swept, each from (included) and to (excluded).
    pub(super) fn swept(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.swept.iter().map(|(from, to)| (from.as_slice(), to.as_slice()))
    }

    /// Takes out what is written of a row.
    pub(super) fn remove(&mut self, key: Vec<u8>) -> Option<Value> {
        self.rows.remove(&Key::of(Cow::Owned(key)))
    }

    /// From `from` (included) to `to` (excluded); nothing where they do not come in that order. Not what was swept.
    pub(super) fn range<'a>(&'a self, from: &[u8], to: &[u8]) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let bounds = (Bound::Included(Key::owned(from)), Bound::Excluded(Key::owned(to)));
        let rows = (from < to).then(|| self.rows.range(bounds));
        rows.into_iter().flatten().map(|(key, value)| (key.bytes(), value))
    }

    /// All of them, but for what was swept.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.rows.iter().map(|(key, value)| (key.bytes(), value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys that have much in common, some of which end in zeroes or are the beginning of others.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0_u8), Just(1), Just(0xFF), any::<u8>()];
        (0..3_usize, prop::collection::vec(byte, 0..6))
            .prop_map(|(common, own)| [vec![7; 7 * common], own].concat())
    }

    proptest! {
        /// It is a map in the order of the bytes.
        #[test]
        fn rows_stand_in_the_order_of_their_keys(
            acts in prop::collection::vec((key(), prop::option::of(any::<u8>()), any::<bool>()), 0..80),
            swept in prop::option::of((0..80_usize, key(), key())),
            from in key(),
            to in key(),
        ) {
            let (mut layer, mut model) = (Layer::default(), BTreeMap::<Vec<u8>, Value>::new());
            let swept = swept.filter(|(when, _, _)| *when < acts.len());
            let is_swept = |key: &Vec<u8>| swept.iter().any(|(_, from, to)| from <= key && key < to);
            for (at, (key, value, is_removed)) in acts.into_iter().enumerate() {
                if let Some((_, from, to)) = swept.as_ref().filter(|(when, _, _)| *when == at) {
                    let gone: Vec<_> = model.extract_if(.., |key, _| is_swept(key)).collect();
                    prop_assert_eq!(layer.sweep(from, to), gone);
                }
                let value = value.map(|byte| Bytes::from(vec![byte]));
                if is_removed {
                    prop_assert_eq!(layer.remove(key.clone()), model.remove(&key));
                } else {
                    prop_assert_eq!(layer.insert(key.clone(), value.clone()), model.insert(key, value));
                }
            }
            let all = model.iter().map(|(key, value)| (key.as_slice(), value));
            prop_assert!(layer.iter().eq(all));
            let within = model.iter().filter(|(key, _)| **key >= from && **key < to);
            prop_assert!(layer.range(&from, &to).eq(within.map(|(key, value)| (key.as_slice(), value))));
            let written = |key: &Vec<u8>| model.get(key).or_else(|| is_swept(key).then_some(&None));
            prop_assert_eq!(layer.get(&from), written(&from));
            prop_assert_eq!(layer.has(&to), written(&to).is_some());
        }
    }
}
