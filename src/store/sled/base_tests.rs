//! Promises of the base: rows in pages read as rows, however they came there.

use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
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
    let table = [0x10, 0x20, 0x30, 0x50][usize::from(n % 4)];
    [&[table], n.to_be_bytes().as_slice()].concat()
}

/// Bytes that do not shrink, so that pages split.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut digest = blake3::Hasher::new();
    digest.update(&[seed]);
    let mut bytes = vec![0; len];
    digest.finalize_xof().fill(&mut bytes);
    bytes
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
        8 => (0_usize..1_200).prop_map(Some),
        1 => (5_000_usize..40_000).prop_map(Some),
        1 => (40_000_usize..130_000).prop_map(Some),
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
                layer.iter().map(|(n, size)| (key(*n), size.map(|size| bytes(byte, size)))).collect();
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
        let found: Vec<_> = base.scan(&key(cut), &[0x51], 17).unwrap().into_iter().map(|row| row.0).collect();
        let wanted: Vec<_> = model.range(key(cut)..vec![0x51]).take(17).map(|row| row.0.clone()).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_fold_that_is_broken_off_at_any_write_counts_no_row_twice(
        before in layer(), after in layer(), writes in 0_usize..12,
    ) {
        let dir = TempDir::new().unwrap();
        let (base, mut counts) = (open(dir.path()), Counts::new());
        let rows = |layer: &BTreeMap<u16, Option<usize>>, seed| -> BTreeMap<_, _> {
            layer.iter().map(|(n, size)| (key(*n), size.map(|size| bytes(seed, size)))).collect()
        };
        fold(&base, &rows(&before, 1), &mut counts);
        let mut model: Model = all(&base);
        let half = rows(&after, 2);
        let mut foresight = base.foresee(counts.clone());
        for (key, value) in &half {
            foresight.row((key.as_slice(), value.as_deref()), false).unwrap();
        }
        let foreseen = foresight.counts;
        base.pages.break_off_after(writes);
        let broken = base.fold(
            half.iter().map(|(key, value)| (key.as_slice(), value.as_deref())), &mut counts, &|| Ok(()),
        );
        // What the broken fold has not changed reads as before, whatever it has split on its way.
        for (key, value) in model.iter().filter(|(key, _)| !half.contains_key(*key)) {
            let read = base.get(key).unwrap();
            prop_assert_eq!(read.as_deref(), Some(value.as_slice()), "{:?}", &broken);
        }
        base.pages.break_off_after(usize::MAX);

        base.cut_doubles().unwrap();
        let mut counts = base.count().unwrap();
        fold(&base, &half, &mut counts);

        for (key, value) in half {
            match value {
                Some(value) => drop(model.insert(key, value)),
                None => drop(model.remove(&key)),
            }
        }
        check(&base, &model, &counts);
        check(&base, &model, &foreseen);
        // And nothing comes back once the pages at its side have gone.
        let gone: BTreeMap<_, _> = model.keys().step_by(2).map(|key| (key.clone(), None)).collect();
        fold(&base, &gone, &mut counts);
        model.retain(|key, _| !gone.contains_key(key));
        check(&base, &model, &counts);
    }
}

fn some_rows() -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let size = |n: u16| if n == 5 { 100_000 } else { usize::from(n % 50) };
    (0..3_000).map(|n| (key(n), Some(bytes(7, size(n))))).collect()
}

/// Takes the rows out of their pages, as they stood in format 1.
fn unpacked(base: &SledBase) {
    for (key, value) in all(base) {
        value::put(&base.db, &key, Some(&value)).unwrap();
    }
    base.db.insert(STAMP, base.pages.tree.get(STAMP).unwrap().unwrap()).unwrap();
    base.pages.tree.clear().unwrap();
}

/// Rows that stand alone and should not.
fn strays(base: &SledBase) -> usize {
    base.db.iter().keys().filter(|key| !key.as_ref().is_ok_and(|k| is_alone(k) || k[0] == PARTS)).count()
}

#[test]
fn rows_of_format_1_are_packed_even_when_that_is_broken_off() {
    let dir = TempDir::new().unwrap();
    let (base, mut counts) = (open(dir.path()), Counts::new());
    fold(&base, &some_rows(), &mut counts);
    let stamp = Stamp { commit: Commit(9), counts };
    base.set_stamp(&stamp).unwrap();
    let before = all(&base);
    unpacked(&base);
    // It died after some of them, and something of it is not as it should be.
    fold(&base, &[(key(9), Some(b"half".to_vec()))].into(), &mut Counts::new());
    base.sync().unwrap();
    drop(base);

    let base = open(dir.path());

    assert_eq!((all(&base), base.stamp().unwrap()), (before.clone(), stamp.clone()));
    assert_eq!(strays(&base), 0, "nothing is kept twice");
    // It died before the old ones were gone.
    value::put(&base.db, &key(9), Some(b"old")).unwrap();
    base.sync().unwrap();
    drop(base);
    let base = open(dir.path());
    assert_eq!((all(&base), base.stamp().unwrap(), strays(&base)), (before, stamp, 0));
}

#[test]
fn half_a_million_rows_come_and_go() {
    let dir = TempDir::new().unwrap();
    let (base, mut counts) = (open(dir.path()), Counts::new());
    let rows = |from: u32, to: u32, table: u8, value: Option<&'static [u8]>| {
        (from..to).map(move |n| ([&[table], n.to_be_bytes().as_slice()].concat(), value))
    };
    // Folds as a backlog makes them: the newest rows grow, the oldest go, and a digest may fall anywhere.
    for round in 0..25_u32 {
        let (from, to) = (round * 20_000, (round + 1) * 20_000);
        let mut changes: BTreeMap<Vec<u8>, Option<&[u8]>> = rows(from, to, 0x20, Some(&[1; 60])).collect();
        changes.extend(rows(from, to, 0x70, Some(&[2; 9])));
        changes.extend(rows(from.saturating_sub(40_000), from.saturating_sub(20_000), 0x20, None));
        let scattered = (from..to).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes());
        changes.extend(scattered.map(|n| ([&[0x10], n.as_slice()].concat(), Some([3_u8; 5].as_slice()))));
        base.fold(changes.iter().map(|(key, value)| (key.as_slice(), *value)), &mut counts, &|| Ok(()))
            .unwrap();
    }
    counts.retain(|_, count| *count > 0);

    assert_eq!(base.count().unwrap(), counts);
    assert_eq!(counts, [(0x10, 500_000), (0x20, 40_000), (0x70, 500_000)].into());
    for n in (0..500_000_u32).step_by(4_999) {
        let row = |table: u8, n: u32| base.get(&[&[table], n.to_be_bytes().as_slice()].concat()).unwrap();
        assert_eq!(row(0x20, n).is_some(), n >= 460_000, "{n}");
        assert!(row(0x70, n).is_some() && row(0x10, n.wrapping_mul(2_654_435_761)).is_some(), "{n}");
    }
}

#[test]
fn rows_are_found_while_a_fold_splits_their_pages() {
    let dir = TempDir::new().unwrap();
    let (base, mut counts) = (open(dir.path()), Counts::new());
    let key = |n: u32| [&[0x20], n.to_be_bytes().as_slice()].concat();
    let rest: BTreeMap<_, _> = (0..2_000).map(|n| (key(n * 100), Some(bytes(1, 100)))).collect();
    fold(&base, &rest, &mut counts);
    let is_over = std::sync::atomic::AtomicBool::new(false);

    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut rounds = 0_u32;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) || rounds < 3 {
                for n in (rounds % 7..2_000).step_by(7) {
                    assert!(base.get(&key(n * 100)).unwrap().is_some(), "{n}");
                }
                let found = base.scan(&key(0), &[0x21], usize::MAX).unwrap();
                let kept = found.iter().filter(|(key, _)| rest.contains_key(key)).count();
                assert_eq!(kept, rest.len());
                rounds += 1;
            }
        });
        for round in 1..60_u32 {
            let more: BTreeMap<_, _> =
                (0..2_000).map(|n| (key(n * 100 + round), Some(bytes(2, 100)))).collect();
            fold(&base, &more, &mut counts);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}

impl SledBase {
    /// Writes or removes one row; tells whether there was one.
    pub(in crate::store::sled) fn write(&self, key: &[u8], value: Option<&[u8]>) -> Result<bool, StoreError> {
        let was_there = self.get(key)?.is_some();
        self.fold([(key, value)], &mut Counts::new(), &|| Ok(())).map(|()| was_there)
    }
}

#[test]
fn a_reader_between_two_leaves_looks_again_when_a_fold_splits_the_page_it_looks_for() {
    let dir = TempDir::new().unwrap();
    let base = std::sync::Arc::new(open(dir.path()));
    let key = |n: u8| vec![0x20, n];
    let rows = move |len| (0..60).map(move |n| (key(n), Some(bytes(n, len)))).collect::<BTreeMap<_, _>>();
    let bounds = |base: &SledBase| -> Vec<Vec<u8>> {
        let all = base.pages.tree.range([0x20].as_slice()..=[0x21].as_slice()).keys();
        all.map(|bound| bound.unwrap().to_vec()).collect()
    };
    fold(&base, &rows(10), &mut Counts::new());
    assert_eq!(bounds(&base), [[0x21]], "all rows are in one page");
    let splits = {
        let base = std::sync::Arc::clone(&base);
        move || {
            fold(&base, &rows(2_000), &mut Counts::new());
            let bounds = bounds(&base);
            // The reader was where the new pages are now: what it looks at next is the old one.
            let last_new = bounds[bounds.len() - 2].as_slice();
            [last_new, &[0]].concat()
        }
    };

    base.pages.once_between_leaves(splits);
    let read = base.get(&key(3)).unwrap();

    assert_eq!(read.as_deref(), Some(bytes(3, 2_000).as_slice()), "the row was there all the time");
}

#[test]
fn want_of_room_that_sled_remembers_is_no_damage() {
    let is_full = |error| translate(Path::new("sled"), ::sled::Error::Io(error)).is_disk_full();
    // As sled hands out again what it has met before: without its number.
    let remembered = |kind| std::io::Error::new(kind, "Os { code: 28, kind: StorageFull }");

    assert!(is_full(std::io::Error::from_raw_os_error(28)));
    assert!(is_full(remembered(std::io::ErrorKind::StorageFull)));
    assert!(!is_full(remembered(std::io::ErrorKind::Other)));
}

#[test]
fn rows_behind_the_one_that_was_found_last_are_not_looked_for_in_sled() {
    let dir = TempDir::new().unwrap();
    let (base, mut counts) = (open(dir.path()), Counts::new());
    let row = |n: u8| vec![0x20, n];
    let rows: BTreeMap<_, _> = (1..=9).map(|n| (row(n), Some(vec![n]))).collect();
    fold(&base, &rows, &mut counts);
    base.get(&row(5)).unwrap();
    let (bound, page) = base.pages.tree.range(row(5)..).next().unwrap().unwrap();

    base.pages.tree.insert(&bound, b"not what was written").unwrap();

    assert_eq!(base.get(&row(9)).unwrap().as_deref(), Some([9].as_slice()));
    assert_eq!(base.get(&row(10)).unwrap(), None);
    assert!(base.get(&row(4)).is_err(), "there may be another page before it");
    // A fold that changes the page has it be looked for again.
    base.pages.tree.insert(&bound, page).unwrap();
    base.get(&row(5)).unwrap();
    fold(&base, &[(row(9), None), (row(12), Some(vec![1]))].into(), &mut counts);
    assert_eq!(base.get(&row(9)).unwrap(), None);
    assert_eq!(base.get(&row(12)).unwrap().as_deref(), Some([1].as_slice()));
}
