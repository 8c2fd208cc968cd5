//! Entries read alone, marks and fold files, and histories by chance.

use std::path::Path;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::*;
use super::*;

#[test]
fn an_entry_read_by_its_location_is_verified() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 4096).unwrap();
    let places = write(&mut journal, 1..=3, 100);
    let reader = journal.reader();
    assert_eq!(reader.read(&places[2]).unwrap(), entry(2, 100));

    let at = places[2];
    for wrong in [
        Location { offset: at.offset + 1, ..at },
        Location { len: at.len - 1, ..at },
        Location { len: u32::MAX, ..at },
        Location { offset: u64::MAX - 5, ..at },
        Location { offset: 4090, ..at },
    ] {
        assert!(is_damaged(&reader.read(&wrong)), "{wrong:?}");
        assert!(is_damaged(&reader.read_many(&[places[0], wrong])), "{wrong:?}");
    }
    let bytes = std::fs::read(&files(dir.path())[0]).unwrap();
    for byte in at.offset..at.offset + 108 {
        let good = bytes[usize::try_from(byte).unwrap()];
        overwrite(&files(dir.path())[0], byte, &[good ^ 0x10]);
        assert!(is_damaged(&reader.read(&at)), "byte {byte}");
        assert_eq!(reader.read(&places[3]).unwrap(), entry(1002, 50));
        overwrite(&files(dir.path())[0], byte, &[good]);
    }
    assert_eq!(reader.read(&at).unwrap(), entry(2, 100));
}

#[test]
fn an_atomic_write_replaces_the_file_and_leaves_nothing_beside() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mark");

    write_atomic(&path, b"one").unwrap();
    write_atomic(&path, b"second").unwrap();

    assert_eq!(std::fs::read(&path).unwrap(), b"second");
    assert_eq!(files(dir.path()), [path]);
}

#[test]
fn a_mark_is_read_back_and_every_flip_and_cut_in_it_is_told() {
    let dir = TempDir::new().unwrap();
    assert_eq!(Mark::read(dir.path()).unwrap(), None);
    let counts = [("states".to_owned(), 7), ("flows".to_owned(), 9)].into();
    let mark = Mark { fold: Some("fold-7".to_owned()), stamp: 5, counts, ..Mark::at(Commit(42)) };
    mark.write(dir.path()).unwrap();
    assert_eq!(Mark::read(dir.path()).unwrap(), Some(mark.clone()));
    let path = files(dir.path())[0].clone();
    let bytes = std::fs::read(&path).unwrap();

    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            std::fs::write(&path, flipped).unwrap();
            assert!(is_damaged(&Mark::read(dir.path())), "byte {at}, bit {bit}");
        }
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(is_damaged(&Mark::read(dir.path())), "cut to {at}");
    }
    let newer = Mark::FORMAT + 1;
    Mark { format: newer, ..mark }.write(dir.path()).unwrap();
    assert!(matches!(Mark::read(dir.path()), Err(StoreError::Newer { found, .. }) if found == newer));
}

type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn fold(path: &Path, pairs: &Pairs) -> Result<u64, StoreError> {
    let mut writer = FoldWriter::create(path)?;
    for (key, value) in pairs {
        writer.push(key, value.as_deref())?;
    }
    Ok(writer.finish()?.pairs)
}

fn unfold(path: &Path) -> Result<Pairs, StoreError> {
    let mut pairs = Pairs::new();
    let count = read_fold(path, &mut |key, value| {
        pairs.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        Ok(())
    })?;
    assert_eq!(count, pairs.len() as u64);
    Ok(pairs)
}

#[test]
fn every_flip_and_cut_in_a_fold_file_is_told() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fold-1");
    let pairs: Pairs =
        vec![(b"a".to_vec(), Some(vec![0; 40])), (b"b".to_vec(), None), (b"c".to_vec(), Some(vec![]))];
    assert_eq!(fold(&path, &pairs).unwrap(), 3);
    assert_eq!(unfold(&path).unwrap(), pairs);
    let bytes = std::fs::read(&path).unwrap();

    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            std::fs::write(&path, flipped).unwrap();
            let result = unfold(&path);
            let is_newer = matches!(result, Err(StoreError::Newer { .. })) && (8..12).contains(&at);
            assert!(
                is_damaged(&result)
                    || is_newer
                    || result.as_ref().is_ok_and(|found| *found == pairs && at == 8)
            );
        }
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(is_damaged(&unfold(&path)), "cut to {at}");
    }
    std::fs::write(&path, [bytes.as_slice(), b"x"].concat()).unwrap();
    assert!(is_damaged(&unfold(&path)));
}

#[test]
fn a_fold_file_has_its_name_only_when_it_is_complete_and_takes_keys_in_order_only() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fold-1");
    let mut writer = FoldWriter::create(&path).unwrap();
    writer.push(b"b", None).unwrap();

    assert!(writer.push(b"b", None).is_err());
    assert!(writer.push(b"a", Some(b"x")).is_err());
    assert!(!path.exists());
    assert_eq!(writer.finish().unwrap().pairs, 1);
    assert_eq!(unfold(&path).unwrap(), vec![(b"b".to_vec(), None)]);
}

#[test]
fn what_is_kept_of_a_fold_file_is_what_stands_in_it_unless_it_is_much() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fold-1");
    let some: Pairs =
        (0..3_000_u32).map(|n| (n.to_be_bytes().to_vec(), (n % 7 > 0).then(|| vec![7; 100]))).collect();
    let much: Pairs = (0..300_u32).map(|n| (n.to_be_bytes().to_vec(), Some(vec![0; 60 << 10]))).collect();
    let folded = |pairs: &Pairs| {
        let mut writer = FoldWriter::create(&path).unwrap();
        for (key, value) in pairs {
            writer.push(key, value.as_deref()).unwrap();
        }
        writer.finish().unwrap()
    };

    let blocks = folded(&some).blocks.unwrap();

    let kept = blocks.iter().flat_map(FoldBlock::pairs);
    let kept: Pairs = kept.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
    assert!(blocks.len() > 1 && kept == some && unfold(&path).unwrap() == some);
    assert!(folded(&much).blocks.is_none());
    assert_eq!(unfold(&path).unwrap(), much);
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Runs of zeroes, as a payload may have them, beside ordinary bytes.
    let one = prop_oneof![vec(any::<u8>(), 0..400), (0..1500_usize).prop_map(|len| vec![0; len])];
    // And groups of entries that have most in common, which are packed.
    let like = |(first, count): (u8, u8)| {
        let entry = |n| [vec![n; 3], vec![b'a'; 200], (0..=n).collect()].concat();
        (first..first + count).map(entry).collect()
    };
    prop_oneof![3 => vec(one, 0..5), 1 => (0..200_u8, 20..50_u8).prop_map(like)]
}

fn to_bytes(entries: &[Vec<u8>]) -> Vec<Bytes> {
    entries.iter().map(|entry| Bytes::from(entry.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_many_is_reading_each(
        records in vec(payloads(), 1..12),
        picks in vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = open(dir.path(), 2048).unwrap();
        let (mut places, mut written) = (Vec::new(), Vec::new());
        for entries in &records {
            places.extend(journal.append(&to_bytes(entries)).unwrap().1);
            written.extend(to_bytes(entries));
            journal.sync().unwrap();
        }
        prop_assume!(!places.is_empty());
        let picked: Vec<usize> = picks.iter().map(|pick| pick.index(places.len())).collect();
        let asked: Vec<Location> = picked.iter().map(|index| places[*index]).collect();

        let many = journal.reader().read_many(&asked).unwrap();

        let wanted: Vec<Bytes> = picked.iter().map(|index| written[*index].clone()).collect();
        prop_assert_eq!(&many, &wanted);
        for (place, entry) in asked.iter().zip(&wanted) {
            prop_assert_eq!(&journal.reader().read(place).unwrap(), entry);
        }
    }

    /// Any sectors of the last, unsynced write may be missing: the synced records stay, no false alarm.
    #[test]
    fn any_part_of_an_unsynced_write_may_be_lost(
        synced in vec(payloads(), 0..6),
        unsynced in vec(payloads(), 1..6),
        lost in vec(any::<bool>(), 64),
        sector in prop::sample::select(vec![512_u64, 4096]),
    ) {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = open(dir.path(), 64 * 1024).unwrap();
        for entries in &synced {
            journal.append(&to_bytes(entries)).unwrap();
            journal.sync().unwrap();
        }
        let start = journal.active.end;
        for entries in &unsynced {
            journal.append(&to_bytes(entries)).unwrap();
        }
        journal.sync().unwrap();
        let end = journal.active.end;
        drop(journal);
        let mut at = start;
        for is_lost in lost.iter().cycle() {
            let next = ((at / sector) + 1) * sector;
            if *is_lost {
                overwrite(&files(dir.path())[0], at, &vec![0; usize::try_from(next.min(end) - at).unwrap()]);
            }
            at = next;
            if at >= end {
                break;
            }
        }

        let (mut journal, seen) = open(dir.path(), 64 * 1024).unwrap();

        let all: Records = synced.iter().chain(&unsynced).cloned().zip(1..).map(|(e, n)| (n, e)).collect();
        prop_assert!(seen.len() >= synced.len());
        prop_assert_eq!(&seen[..], &all[..seen.len()]);
        let (commit, _) = journal.append(&[Bytes::from_static(b"next")]).unwrap();
        prop_assert_eq!(commit.0, seen.len() as u64 + 1);
        journal.sync().unwrap();
        drop(journal);
        prop_assert_eq!(open(dir.path(), 64 * 1024).unwrap().1.len(), seen.len() + 1);
    }

    /// Appends, syncs, stops, crashes and removals, against a list.
    #[test]
    fn a_journal_is_a_list_that_survives(
        acts in vec((0..12_u8, payloads()), 1..40),
        segment_bytes in prop::sample::select(vec![256_u64, 1024, 16 * 1024]),
    ) {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = open(dir.path(), segment_bytes).unwrap();
        let (mut durable, mut waiting) = (Records::new(), Records::new());
        for (act, entries) in acts {
            match act {
                0..=5 => {
                    let (commit, _) = journal.append(&to_bytes(&entries)).unwrap();
                    waiting.push((commit.0, entries));
                }
                6 | 7 => {
                    journal.sync().unwrap();
                    durable.append(&mut waiting);
                }
                8 => {
                    journal.prepare().unwrap();
                }
                9 => {
                    journal.seal().unwrap();
                    durable.append(&mut waiting);
                }
                10 => {
                    let middle = durable.get(durable.len() / 2).map_or(0, |record| record.0);
                    journal.remove_before(Commit(middle)).unwrap();
                    durable.retain(|record| record.0 >= journal.first_commit().0);
                }
                _ => {
                    waiting.clear();
                    drop(journal);
                    let after = durable.first().map_or(0, |record| record.0 - 1);
                    let (opened, seen) = open_after(dir.path(), segment_bytes, after).unwrap();
                    prop_assert_eq!(&seen, &durable);
                    journal = opened;
                }
            }
        }
        prop_assert_eq!(&scan_all(&journal, journal.first_commit().0).unwrap(), &durable);
        prop_assert_eq!(journal.segments().iter().map(|s| s.bytes).sum::<u64>(), journal.bytes());
    }

    #[test]
    fn a_fold_file_comes_back_as_it_was_written(
        pairs in prop::collection::btree_map(vec(any::<u8>(), 0..40), prop::option::of(vec(any::<u8>(), 0..3000)), 0..100)
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("fold");
        let pairs: Pairs = pairs.into_iter().collect();

        prop_assert_eq!(fold(&path, &pairs).unwrap(), pairs.len() as u64);

        prop_assert_eq!(unfold(&path).unwrap(), pairs);
    }
}
