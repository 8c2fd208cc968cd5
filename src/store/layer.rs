//! Layer: rows written or deleted since some point, in the order of their keys.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// A value, or `None` where the row is deleted.
pub(super) type Value = Option<Bytes>;

/// The rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer(BTreeMap<Key<'static>, Value>);

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
        let rows: &BTreeMap<Key<'_>, Value> = &self.0;
        rows.get(&Key::of(Cow::Borrowed(key)))
    }

    /// Whether anything is written of a row.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Writes a row, or that it is deleted; returns what was written of it before.
    pub(super) fn insert(&mut self, key: Vec<u8>, value: Value) -> Option<Value> {
        self.0.insert(Key::of(Cow::Owned(key)), value)
    }

    /// Takes out what is written of a row.
    pub(super) fn remove(&mut self, key: Vec<u8>) -> Option<Value> {
        self.0.remove(&Key::of(Cow::Owned(key)))
    }

    /// From `from` (included) to `to` (excluded); nothing where they do not come in that order.
    pub(super) fn range<'a>(&'a self, from: &[u8], to: &[u8]) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let bounds = (Bound::Included(Key::owned(from)), Bound::Excluded(Key::owned(to)));
        let rows = (from < to).then(|| self.0.range(bounds));
        rows.into_iter().flatten().map(|(key, value)| (key.bytes(), value))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.0.iter().map(|(key, value)| (key.bytes(), value))
    }
}

/// A key with what is written of its row.
pub(super) type Entry<'a> = (&'a [u8], &'a Value);

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
            from in key(),
            to in key(),
        ) {
            let (mut layer, mut model) = (Layer::default(), BTreeMap::<Vec<u8>, Value>::new());
            for (key, value, is_removed) in acts {
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
            prop_assert_eq!(layer.get(&from), model.get(&from));
            prop_assert_eq!(layer.has(&to), model.contains_key(&to));
        }
    }
}
