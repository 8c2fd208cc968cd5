//! What layered rows promise: they read as one map, and what is gone weighs nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// Folded rows, of which nothing is on disk.
#[derive(Debug, Default)]
pub(in crate::store) struct Folded(Mutex<BTreeMap<Vec<u8>, Bytes>>);

impl Folded {
    /// Writes or deletes a row; tells whether it was there.
    pub(in crate::store) fn fold(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let mut rows = self.0.lock().unwrap();
        match value {
            Some(value) => rows.insert(key.to_vec(), Bytes::copy_from_slice(value)).is_some(),
            None => rows.remove(key).is_some(),
        }
    }
}

impl Base for Folded {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.0.lock().unwrap();
        let range = rows.range(from.to_vec()..to.to_vec()).take(limit);
        Ok(range.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

fn text(rows: &[Row]) -> String {
    let pair = |(k, v): &Row| [String::from_utf8_lossy(k), "=".into(), String::from_utf8_lossy(v)].concat();
    rows.iter().map(pair).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_newest_layer_wins_and_deleted_rows_stay_hidden() {
    let base = Folded::default();
    for key in ["a", "b", "c", "d"] {
        base.fold(key.as_bytes(), Some(b"1"));
    }
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

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..4_u8, 1..3)
}

#[derive(Debug, Clone)]
enum Act {
    Put(Vec<u8>, u8),
    Delete(Vec<u8>),
    Sweep(Vec<u8>, Vec<u8>),
    /// What was frozen is in the base, and what came since is frozen.
    Fold,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (key(), any::<u8>()).prop_map(|(key, value)| Act::Put(key, value)),
        2 => key().prop_map(Act::Delete),
        1 => (key(), key()).prop_map(|(from, to)| Act::Sweep(from, to)),
        2 => Just(Act::Fold),
    ]
}

/// Puts what a layer changes into a base, as a checkpoint does.
fn fold(base: &Folded, layer: &Layer) {
    let (mut swept, mut last) = (Swept::within(layer, Some(base), &[], &[0xFF]), Vec::new());
    let mut write = |key: Option<&[u8]>, value: Option<&[u8]>| {
        while let Some(gone) = swept.next_before(key).unwrap() {
            assert!(last < gone && base.fold(&gone, None), "in order, and it was there");
            last = gone;
        }
        if let Some(key) = key {
            assert!(last.as_slice() < key, "in order");
            last = key.to_vec();
            base.fold(key, value);
        }
    };
    for (key, value) in layer.iter() {
        write(Some(key), value.as_deref());
    }
    write(None, None);
}

proptest! {
    /// Layers over a base read as one map, whatever was written, deleted, swept and folded.
    #[test]
    fn layers_read_as_one_map(acts in prop::collection::vec(act(), 0..60), limit in 1..20_usize, from in key(), to in key()) {
        let (base, mut model) = (Arc::<Folded>::default(), BTreeMap::<Vec<u8>, Bytes>::new());
        let mut rows = Rows::over(Arc::<Folded>::clone(&base));
        for act in acts {
            match act {
                Act::Put(key, value) => {
                    rows.put(key.clone(), vec![value].into());
                    model.insert(key, vec![value].into());
                }
                Act::Delete(key) => {
                    rows.delete(key.clone());
                    model.remove(&key);
                }
                Act::Sweep(from, to) => {
                    rows.sweep(&from, &to, 0);
                    model.retain(|key, _| !(from <= *key && *key < to));
                }
                Act::Fold => {
                    if let Some(layer) = &rows.frozen {
                        fold(&base, layer);
                    }
                    rows.forget_frozen();
                    rows.freeze();
                }
            }
        }

        let all = model.iter().filter(|(key, _)| **key >= from && **key < to);
        let expected: Vec<Row> = all.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect();
        prop_assert_eq!(rows.scan(&from, &to, limit).unwrap(), expected);
        prop_assert_eq!(rows.get(&from).unwrap(), model.get(&from).cloned());
    }
}

#[test]
fn what_is_swept_weighs_nothing() {
    let mut rows = Rows::over(Arc::new(Folded::default()));
    rows.put(b"a".to_vec(), Bytes::from("1"));
    rows.put(b"b".to_vec(), Bytes::from("1"));
    rows.delete(b"c".to_vec());
    let weight = rows.active_bytes();

    rows.sweep(b"b", b"d", 0);

    assert!(rows.active_bytes() < weight / 2, "{} of {weight} are left", rows.active_bytes());
    assert_eq!(text(&rows.scan(b"a", b"z", 9).unwrap()), "a=1");
}

#[test]
fn without_a_base_a_deleted_row_leaves_nothing_behind() {
    let mut rows = Rows::default();
    rows.put(b"a".to_vec(), Bytes::from("1"));
    rows.delete(b"a".to_vec());

    rows.put(b"b".to_vec(), Bytes::from("1"));
    rows.sweep(b"a", b"c", 9);

    assert_eq!(rows.active_bytes(), 0);
    assert!(rows.active.iter().next().is_none() && rows.active.swept().next().is_none());
}

#[test]
fn a_swept_row_that_is_written_elsewhere_is_passed_over() {
    let (base, mut layer) = (Folded::default(), Layer::default());
    for key in ["a", "b", "c"] {
        base.fold(key.as_bytes(), Some(b"1"));
    }
    layer.sweep(b"a", b"d");
    let mut swept = Swept::within(&layer, Some(&base), b"a", b"z");

    let before_b = [swept.next_before(Some(b"b")).unwrap(), swept.next_before(Some(b"b")).unwrap()];

    assert_eq!(before_b, [Some(b"a".to_vec()), None]);
    assert_eq!(swept.next_before(None).unwrap(), Some(b"c".to_vec()));
    assert_eq!(swept.next_before(None).unwrap(), None);
}
