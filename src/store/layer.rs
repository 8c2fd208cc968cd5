//! Layer: rows written or deleted since some point, in the order of their keys.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// A value, or `None` where the row is deleted.
pub(super) type Value = Option<Bytes>;

/// The rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer(BTreeMap<Key<'static>, Value>);

/// A key with its first 16 bytes as numbers, which order it as the bytes do: a way down the tree compares those where they
/// stand. The bytes themselves lie anywhere, and each look at them would be a miss of the processor's cache.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    head: (u64, u64),
    bytes: Cow<'a, [u8]>,
}

impl<'a> Key<'a> {
    fn of(bytes: Cow<'a, [u8]>) -> Self {
        let mut head = [0; 16];
        let len = bytes.len().min(head.len());
        if let (Some(head), Some(first)) = (head.get_mut(..len), bytes.get(..len)) {
            head.copy_from_slice(first);
        }
        let number = u128::from_be_bytes(head);
        // Both are what is left of it; two of 64 bits take less room in the tree than one of 128.
        let low = u64::try_from(number & u128::from(u64::MAX)).unwrap_or_default();
        Self { head: (u64::try_from(number >> 64).unwrap_or_default(), low), bytes }
    }

    fn owned(bytes: &[u8]) -> Key<'static> {
        Key::of(Cow::Owned(bytes.to_vec()))
    }
}

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
        rows.into_iter().flatten().map(|(key, value)| (&*key.bytes, value))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.0.iter().map(|(key, value)| (&*key.bytes, value))
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
