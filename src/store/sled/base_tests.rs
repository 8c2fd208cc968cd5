//! Promises of the base: rows in pages read as rows, however they came there.

use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::sled::page::{self, RowRef};
use crate::store::sled::recovery;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn open(dir: &Path) -> SledBase {
    let lock = recovery::lock(dir).unwrap();
    SledBase::open(&dir.join("sled"), 8 << 20, lock).unwrap()
}

fn fold(base: &SledBase, rows: &BTreeMap<Vec<u8>, Option<Vec<u8>>>, counts: &mut Counts) {
    let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
    base.fold(rows, counts, &|| Ok(())).unwrap();
}

fn key(n: u16) -> Vec<u8> {
    let table = [0x10, 0x20, 0x30, 0x40][usize::from(n % 4)];
    [&[table], n.to_be_bytes().as_slice()].concat()
}

fn all(base: &SledBase) -> Model {
    let rows = base.scan(&[FIRST_TABLE], &[PARTS], usize::MAX).unwrap();
    rows.into_iter().map(|(key, value)| (key, value.to_vec())).collect()
}

fn check(base: &SledBase, model: &Model, counts: &Counts) {
    assert_eq!(&all(base), model);
    let mut told = base.count().unwrap();
    let mut kept = counts.clone();
    told.retain(|_, count| *count > 0);
    kept.retain(|_, count| *count > 0);
    assert_eq!(told, kept);
}

fn size() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![
        2 => Just(None),
        8 => (0_usize..300).prop_map(Some),
        1 => (1_000_usize..9_000).prop_map(Some),
        1 => (30_000_usize..130_000).prop_map(Some),
    ]
}

fn layer() -> impl Strategy<Value = BTreeMap<u16, Option<usize>>> {
    prop_oneof![
        prop::collection::btree_map(0_u16..400, size(), 1..120),
        (0_u16..300, 1_u16..100).prop_map(|(from, len)| (from..from + len).map(|n| (n, None)).collect()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn folded_rows_read_as_a_map_would(layers in prop::collection::vec(layer(), 1..8), cut in 0_u16..400) {
        let dir = TempDir::new().unwrap();
        let (mut base, mut model, mut counts) = (open(dir.path()), Model::new(), Counts::new());
        for (round, layer) in layers.iter().enumerate() {
            let byte = u8::try_from(round).unwrap();
            let rows: BTreeMap<_, _> =
                layer.iter().map(|(n, size)| (key(*n), size.map(|size| vec![byte; size]))).collect();
            fold(&base, &rows, &mut counts);
            for (key, value) in rows {
                match value {
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
            check(&base, &model, &counts);
            if round % 3 == 2 {
                base.sync().unwrap();
                drop(base);
                base = open(dir.path());
            }
        }
        for n in 0..400 {
            let found = base.get(&key(n)).unwrap().map(|value| value.to_vec());
            prop_assert_eq!(&found, &model.get(&key(n)).cloned());
        }
        let found: Vec<_> = base.scan(&key(cut), &[0x41], 17).unwrap().into_iter().map(|row| row.0).collect();
        let wanted: Vec<_> = model.range(key(cut)..vec![0x41]).take(17).map(|row| row.0.clone()).collect();
        prop_assert_eq!(found, wanted);
    }
}

fn some_rows() -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    (0..3_000).map(|n| (key(n), Some(vec![7; if n == 5 { 100_000 } else { usize::from(n % 50) }]))).collect()
}

#[test]
fn what_a_page_holds_over_the_beginning_of_the_next_one_counts_for_nothing() {
    let dir = TempDir::new().unwrap();
    let (base, mut counts) = (open(dir.path()), Counts::new());
    let rows: BTreeMap<_, _> = (0..400).map(|n| (key(4 * n), Some(vec![1; 20]))).collect();
    fold(&base, &rows, &mut counts);
    let before = all(&base);
    let pages: Vec<_> = base.pages.iter().keys().map(Result::unwrap).collect();
    assert!(pages.len() > 2, "{pages:?}");
    // The first page as it was before its split, with values that are old.
    let whole: Vec<_> = rows.keys().map(|key| (key.as_slice(), b"old".as_slice())).collect();
    let mut first: Vec<RowRef<'_>> = whole.into_iter().take(200).collect();
    let own = before.iter().take_while(|(key, _)| key.as_slice() < &*pages[1]);
    for (slot, (_, value)) in first.iter_mut().zip(own) {
        slot.1 = value;
    }
    base.pages.insert(&pages[0], sealed(&pages[0], &[&[WHOLE], &page::encode(&first)])).unwrap();

    assert_eq!(all(&base), before);
    fold(&base, &[(key(0), Some(b"new".to_vec()))].into(), &mut counts);
    assert_eq!(all(&base).len(), before.len());
    assert_eq!(base.count().unwrap(), counts);
    // The rows of the second page go, and with them the page: they do not come back from the first one.
    base.pages.insert(&pages[0], sealed(&pages[0], &[&[WHOLE], &page::encode(&first)])).unwrap();
    let gone: BTreeMap<_, _> = before
        .keys()
        .filter(|key| key.as_slice() >= &*pages[1] && key.as_slice() < &*pages[2])
        .map(|key| (key.clone(), None))
        .collect();
    fold(&base, &gone, &mut counts);
    assert_eq!(all(&base).len(), before.len() - gone.len());
    assert_eq!(base.count().unwrap(), counts);
}

/// Takes the rows out of their pages, as they stood before there were any.
fn unpacked(base: &SledBase) {
    for (key, value) in all(base) {
        let mut parts = 0_u32;
        if value.len() > PART {
            for part in value.chunks(PART) {
                let part_key = part_key(&key, parts);
                base.db.insert(&part_key, sealed(&part_key, &[part])).unwrap();
                parts += 1;
            }
            base.db.insert(&key, sealed(&key, &[&[SPLIT], &parts.to_be_bytes()])).unwrap();
        } else {
            base.db.insert(&key, sealed(&key, &[&[WHOLE], &value])).unwrap();
        }
    }
    base.db.insert(STAMP, base.pages.get(STAMP).unwrap().unwrap()).unwrap();
    base.pages.clear().unwrap();
}

#[test]
fn rows_from_before_there_were_pages_are_packed_even_when_that_is_broken_off() {
    let dir = TempDir::new().unwrap();
    let (base, mut counts) = (open(dir.path()), Counts::new());
    fold(&base, &some_rows(), &mut counts);
    let stamp = Stamp { commit: Commit(9), counts };
    base.set_stamp(&stamp).unwrap();
    let before = all(&base);
    unpacked(&base);
    // It died after some of them, and something of it is not as it should be.
    fold(&base, &[(key(7), Some(b"half".to_vec()))].into(), &mut Counts::new());
    base.sync().unwrap();
    drop(base);

    let base = open(dir.path());

    assert_eq!((all(&base), base.stamp().unwrap()), (before.clone(), stamp.clone()));
    assert!(base.db.is_empty(), "nothing is kept twice");
    // It died before the old ones were gone.
    base.db.insert(key(8), sealed(&key(8), &[&[WHOLE], b"old"])).unwrap();
    base.sync().unwrap();
    drop(base);
    let base = open(dir.path());
    assert_eq!((all(&base), base.stamp().unwrap(), base.db.is_empty()), (before, stamp, true));
}

#[test]
fn a_large_row_is_written_anew_beside_the_old_one() {
    let dir = TempDir::new().unwrap();
    let base = open(dir.path());
    let mut before = 0..0;
    for parts in [1_u32, 3, 2, 2, 5, 1, 1] {
        let value = vec![7; PART * usize::try_from(parts).unwrap() - 3 + usize::from(parts == 1) * 4];
        base.put(&[0x30, 1], Some(&value)).unwrap();

        let now = parts_of(&base.pages.get([0x30, 1]).unwrap().unwrap());
        assert!(
            now.end <= before.start || now.start >= before.end,
            "a crash before the head finds {before:?} whole"
        );
        assert_eq!(base.get(&[0x30, 1]).unwrap().as_deref(), Some(value.as_slice()));
        assert_eq!(base.pages.len(), 1 + now.len(), "and nothing else is left");
        before = now;
    }
    base.put(&[0x30, 1], Some(b"small")).unwrap();
    assert_eq!(base.pages.len(), 1);
}
