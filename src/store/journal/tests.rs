//! What the journal promises, tried on files that were torn, flipped, removed and refused.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::roll::Spare;
use super::segment::{HEADER_BYTES, SPARE_NAME};
use super::*;

type Records = Vec<(u64, Vec<Vec<u8>>)>;

fn settings(dir: &Path, segment_bytes: u64) -> JournalSettings {
    JournalSettings { dir: dir.to_owned(), segment_bytes }
}

fn open_after(dir: &Path, segment_bytes: u64, after: u64) -> Result<(Journal, Records), StoreError> {
    let mut seen = Records::new();
    let mut visit = |record: Record<'_>| {
        seen.push((record.commit.0, record.entries.iter().map(|(_, entry)| entry.to_vec()).collect()));
        Ok(())
    };
    let journal = Journal::open(settings(dir, segment_bytes), &mut visit, Commit(after))?;
    Ok((journal, seen))
}

fn open(dir: &Path, segment_bytes: u64) -> Result<(Journal, Records), StoreError> {
    open_after(dir, segment_bytes, 0)
}

fn scan_all(journal: &Journal, from: u64) -> Result<Records, StoreError> {
    let mut seen = Records::new();
    journal.scan(Commit(from), &mut |record| {
        seen.push((record.commit.0, record.entries.iter().map(|(_, entry)| entry.to_vec()).collect()));
        Ok(())
    })?;
    Ok(seen)
}

/// Bytes without a zero among them, different for each number.
fn entry(number: u64, len: usize) -> Bytes {
    (0..len as u64).map(|i| u8::try_from((number * 31 + i * 7) % 255 + 1).unwrap()).collect()
}

/// Appends and syncs one record of two entries for each number.
fn write(journal: &mut Journal, numbers: std::ops::RangeInclusive<u64>, len: usize) -> Vec<Location> {
    let mut places = Vec::new();
    for number in numbers {
        let (commit, at) = journal.append(&[entry(number, len), entry(number + 1000, len / 2)]).unwrap();
        assert_eq!(commit, Commit(number));
        journal.sync().unwrap();
        places.extend(at);
    }
    places
}

fn expected(numbers: std::ops::RangeInclusive<u64>, len: usize) -> Records {
    numbers.map(|n| (n, vec![entry(n, len).to_vec(), entry(n + 1000, len / 2).to_vec()])).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for file in files(from) {
        std::fs::copy(&file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    to
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn is_damaged<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Damaged { .. }))
}

#[test]
fn what_was_synced_is_replayed_and_the_numbers_go_on() {
    let dir = TempDir::new().unwrap();
    let (mut journal, seen) = open(dir.path(), 4096).unwrap();
    assert!(seen.is_empty());
    assert_eq!((journal.first_commit(), journal.last_commit()), (Commit(1), Commit(0)));
    write(&mut journal, 1..=3, 50);
    drop(journal);

    let (mut journal, seen) = open(dir.path(), 4096).unwrap();
    assert_eq!(seen, expected(1..=3, 50));
    assert_eq!(journal.cut_tail(), None);
    write(&mut journal, 4..=4, 50);
    journal.close().unwrap();

    let (journal, seen) = open_after(dir.path(), 4096, 2).unwrap();
    assert_eq!(seen, expected(3..=4, 50));
    assert_eq!(scan_all(&journal, 1).unwrap(), expected(1..=4, 50));
}

#[test]
fn what_was_appended_and_not_synced_is_not_there() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 4096).unwrap();
    write(&mut journal, 1..=1, 50);
    let (commit, places) = journal.append(&[entry(2, 10)]).unwrap();

    assert_eq!((commit, journal.last_commit()), (Commit(2), Commit(1)));
    assert!(is_damaged(&journal.reader().read(&places[0])));
    drop(journal);

    assert_eq!(open(dir.path(), 4096).unwrap().1, expected(1..=1, 50));
}

#[test]
fn a_record_without_entries_and_an_entry_without_bytes_are_kept() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 4096).unwrap();
    journal.append::<Bytes>(&[]).unwrap();
    let (_, places) = journal.append(&[Bytes::new()]).unwrap();
    journal.sync().unwrap();

    assert_eq!(journal.reader().read(&places[0]).unwrap(), Bytes::new());
    drop(journal);
    assert_eq!(open(dir.path(), 4096).unwrap().1, vec![(1, vec![]), (2, vec![vec![]])]);
}

/// A last record that was torn at any byte is cut, and everything before it is kept.
#[test]
fn a_write_torn_at_any_byte_is_cut_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 8192).unwrap();
    write(&mut journal, 1..=2, 300);
    let start = journal.active.end;
    write(&mut journal, 3..=3, 700);
    let end = journal.active.end;
    drop(journal);
    for at in start..=end {
        for zero_fill in [false, true] {
            let torn = copy(dir.path());
            let path = files(torn.path())[0].clone();
            if zero_fill {
                overwrite(&path, at, &vec![0; usize::try_from(end - at).unwrap()]);
            } else {
                OpenOptions::new().write(true).open(&path).unwrap().set_len(at).unwrap();
            }

            let (mut journal, seen) = open(torn.path(), 8192).unwrap();
            let mut kept = expected(1..=2, 300);
            if at == end {
                kept.extend(expected(3..=3, 700));
            }
            assert_eq!(seen, kept, "torn at {at}, zero-filled {zero_fill}");
            assert_eq!(journal.cut_tail().is_some(), at > start && at < end, "torn at {at}");
            let next = journal.last_commit().0 + 1;
            write(&mut journal, next..=next, 20);
            drop(journal);

            kept.extend(expected(next..=next, 20));
            let (journal, seen) = open(torn.path(), 8192).unwrap();
            assert_eq!((seen, journal.cut_tail()), (kept, None), "torn at {at}, reopened");
        }
    }
}

/// No flipped bit anywhere in three segments loses or changes a record in silence.
#[test]
fn every_flipped_bit_is_told_or_harmless() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 512).unwrap();
    write(&mut journal, 1..=5, 70);
    assert_eq!(journal.segments().len(), 3);
    drop(journal);
    let mut told = 0;
    for index in 0..3 {
        let path = files(dir.path())[index].clone();
        let bytes = std::fs::read(&path).unwrap();
        for (at, byte) in bytes.iter().enumerate() {
            for mask in [1_u8, 2, 4, 8, 16, 32, 64, 128, 0xFF] {
                let flipped = copy(dir.path());
                overwrite(&files(flipped.path())[index], at as u64, &[byte ^ mask]);

                match open(flipped.path(), 512) {
                    Ok((_, seen)) => {
                        assert_eq!(seen, expected(1..=5, 70), "segment {index}, byte {at}, mask {mask}");
                    }
                    Err(StoreError::Damaged { path, .. }) => {
                        assert_eq!(path.file_name(), files(dir.path())[index].file_name());
                        told += 1;
                    }
                    Err(other) => panic!("segment {index}, byte {at}, mask {mask}: {other}"),
                }
            }
        }
    }
    assert!(told > 7000, "only {told} flips were told");
}

#[test]
fn a_zeroed_block_in_the_middle_is_damage() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 64 * 1024).unwrap();
    write(&mut journal, 1..=20, 1000);
    let end = journal.active.end;
    drop(journal);
    // The last record starts behind the last block that is tried.
    for block in (0..end - 4096 - 2000).step_by(512) {
        let zeroed = copy(dir.path());
        overwrite(&files(zeroed.path())[0], block, &[0; 4096]);

        assert!(is_damaged(&open(zeroed.path(), 64 * 1024)), "zeroed at {block}");
    }
}

#[test]
fn a_seal_makes_damage_to_the_last_record_told() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 8192).unwrap();
    write(&mut journal, 1..=2, 300);
    let start = journal.active.end;
    write(&mut journal, 3..=3, 300);
    let len = usize::try_from(journal.active.end - start).unwrap();
    journal.close().unwrap();
    overwrite(&files(dir.path())[0], start, &vec![0; len]);

    let result = open(dir.path(), 8192);

    assert!(matches!(result, Err(StoreError::Damaged { offset, .. }) if offset == start), "{result:?}");
}

#[test]
fn a_commit_that_the_caller_knows_must_be_there() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 8192).unwrap();
    write(&mut journal, 1..=3, 300);
    let end = journal.active.end;
    drop(journal);
    let torn = copy(dir.path());
    overwrite(&files(torn.path())[0], end - 100, &[0; 100]);
    let before = std::fs::read(&files(torn.path())[0]).unwrap();

    assert!(is_damaged(&open_after(torn.path(), 8192, 3)));
    assert_eq!(std::fs::read(&files(torn.path())[0]).unwrap(), before, "a refused open changes nothing");
    assert!(is_damaged(&open_after(dir.path(), 8192, 4)));
    assert!(is_damaged(&open_after(TempDir::new().unwrap().path(), 8192, 1)));
    assert_eq!(open_after(torn.path(), 8192, 2).unwrap().1, vec![]);
}

#[test]
fn the_second_half_of_one_unsynced_write_is_not_taken_for_proof() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 8192).unwrap();
    write(&mut journal, 1..=1, 100);
    let start = journal.active.end;
    for number in 2..=4 {
        journal.append(&[entry(number, 1000)]).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    let first_sector = start.next_multiple_of(512);
    overwrite(&files(dir.path())[0], first_sector, &[0; 512]);

    let (journal, seen) = open(dir.path(), 8192).unwrap();

    assert_eq!(seen, expected(1..=1, 100));
    assert_eq!(journal.cut_tail().unwrap().offset, start);
}

#[test]
fn the_records_of_the_last_write_are_the_doubtful_ones_until_a_seal_follows() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 8192).unwrap();
    write(&mut journal, 1..=3, 100);
    let start = journal.active.end;
    journal.append(&[entry(4, 10)]).unwrap();
    journal.append(&[entry(5, 10)]).unwrap();
    journal.sync().unwrap();
    let end = journal.active.end;
    let walk = || {
        let (mut window, header) = recover::open(dir.path(), 1).unwrap();
        recover::walk(&mut window, &header, recover::Extent::Last, Commit(0), &mut |_| Ok(())).unwrap()
    };

    let walked = walk();
    assert_eq!((walked.doubtful, walked.end, walked.sealed), (start, end, false));
    journal.close().unwrap();
    let walked = walk();
    assert_eq!((walked.doubtful, walked.end, walked.sealed), (end, end + 64, true));
    let bytes = std::fs::read(&files(dir.path())[0]).unwrap();
    drop(open(dir.path(), 8192).unwrap());
    assert_eq!(std::fs::read(&files(dir.path())[0]).unwrap(), bytes, "open after a clean stop adds nothing");
}

/// What comes after `start` once four more records were written to the journal in `dir`.
fn later_records(dir: &Path, start: u64) -> Bytes {
    let (mut journal, _) = open(dir, 8192).unwrap();
    let next = journal.last_commit().0 + 1;
    write(&mut journal, next..=next + 3, 100);
    let end = usize::try_from(journal.active.end).unwrap();
    std::fs::read(&files(dir)[0]).unwrap()[usize::try_from(start).unwrap()..end].to_vec().into()
}

/// Copied heads that claim a later sync: from another journal to the very offset they had there, and from
/// this journal to another offset.
#[test]
fn a_payload_that_looks_like_a_record_proves_nothing() {
    for is_other_journal in [true, false] {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = open(dir.path(), 8192).unwrap();
        write(&mut journal, 1..=1, 100);
        let start = journal.active.end;
        let other = if is_other_journal { TempDir::new().unwrap() } else { copy(dir.path()) };
        if is_other_journal {
            let (mut twin, _) = open(other.path(), 8192).unwrap();
            write(&mut twin, 1..=1, 100);
        }
        let shift = if is_other_journal { 0 } else { 64 };
        let stolen = later_records(other.path(), start + 64 + shift);
        // The head and the entry's prefix take 40 bytes: the copy stands at `start` + 64.
        journal.append(&[[&[1; 24], &stolen[..]].concat()]).unwrap();
        journal.sync().unwrap();
        let end = journal.active.end;
        drop(journal);
        overwrite(&files(dir.path())[0], end - 40, &[0; 40]);

        let (journal, seen) = open(dir.path(), 8192).unwrap();

        assert_eq!((seen, journal.cut_tail().unwrap().offset), (expected(1..=1, 100), start));
    }
}

#[test]
fn full_segments_roll_and_a_large_record_gets_its_own() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=7, 200);
    let (_, places) = journal.append(&[entry(8, 5000)]).unwrap();
    journal.append(&[entry(9, 10)]).unwrap();
    journal.sync().unwrap();

    let segments = journal.segments();
    assert_eq!(segments.iter().map(|s| s.first_commit.0).collect::<Vec<_>>(), [1, 3, 5, 7, 8, 9]);
    assert_eq!(segments.iter().map(|s| s.last_commit.0).collect::<Vec<_>>(), [2, 4, 6, 7, 8, 9]);
    for segment in &segments {
        assert_eq!(std::fs::metadata(&segment.path).unwrap().len(), segment.bytes);
    }
    assert_eq!(journal.bytes(), segments.iter().map(|s| s.bytes).sum::<u64>());
    assert_eq!(journal.reader().read(&places[0]).unwrap(), entry(8, 5000));
    drop(journal);
    let (journal, seen) = open_after(dir.path(), 1024, 6).unwrap();
    assert_eq!(seen.iter().map(|r| r.0).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(journal.segments(), segments);
    assert_eq!(scan_all(&journal, 1).unwrap().len(), 9);
}

#[test]
fn a_large_first_record_grows_the_empty_segment() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    journal.append(&[entry(1, 9000)]).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.segments().len(), 1);
    assert!(journal.bytes() > 9000);
    drop(journal);

    assert_eq!(open(dir.path(), 1024).unwrap().1, vec![(1, vec![entry(1, 9000).to_vec()])]);
}

#[test]
fn a_missing_segment_in_the_middle_is_damage_even_where_nothing_is_read() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=9, 200);
    drop(journal);
    std::fs::remove_file(&files(dir.path())[1]).unwrap();

    assert!(is_damaged(&open(dir.path(), 1024)));
    assert!(is_damaged(&open_after(dir.path(), 1024, 9)));
}

#[test]
fn damage_in_a_segment_that_is_not_the_last_is_never_cut() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=4, 200);
    drop(journal);
    let path = files(dir.path())[0].clone();
    let len = std::fs::metadata(&path).unwrap().len();
    for cut in [100, len / 2, len - 300] {
        let torn = copy(dir.path());
        OpenOptions::new().write(true).open(&files(torn.path())[0]).unwrap().set_len(cut).unwrap();

        let Err(StoreError::Damaged { path, offset, problem, .. }) = open(torn.path(), 1024) else {
            panic!("cut to {cut} and not told");
        };
        assert_eq!(path, files(torn.path())[0]);
        assert!(offset <= cut && problem.contains("had been synced"), "{offset} {problem}");
    }
}

#[test]
fn whole_segments_before_a_commit_are_removed_and_the_active_one_never() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    let places = write(&mut journal, 1..=9, 200);
    let reader = journal.reader();
    reader.read(&places[0]).unwrap();

    assert_eq!(journal.remove_before(Commit(2)).unwrap(), 0);
    assert_eq!(journal.remove_before(Commit(6)).unwrap(), 2);
    assert_eq!(journal.first_commit(), Commit(5));
    let gone = reader.read(&places[0]);
    assert!(matches!(gone, Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. })), "{gone:?}");
    assert!(is_damaged(&scan_all(&journal, 4)));
    assert_eq!(scan_all(&journal, 5).unwrap(), expected(5..=9, 200));
    assert_eq!(journal.remove_before(Commit(u64::MAX)).unwrap(), 2);
    assert_eq!((journal.segments().len(), journal.last_commit()), (1, Commit(9)));
    drop(journal);

    assert!(is_damaged(&open_after(dir.path(), 1024, 7)));
    assert_eq!(open_after(dir.path(), 1024, 8).unwrap().1, expected(9..=9, 200));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(dir.path(), 1024).unwrap();
    let header = journal.active.header;
    drop(journal);
    overwrite(&files(dir.path())[0], 0, &header.encode_as(2));

    let result = open(dir.path(), 1024);

    assert!(matches!(result, Err(StoreError::Newer { found: 2, supported: 1, .. })), "{result:?}");
}

#[test]
fn after_a_failed_write_nothing_is_taken_any_more() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=1, 20);
    journal.active.file = File::open(&journal.active.path).unwrap();
    journal.append(&[entry(2, 20)]).unwrap();

    assert!(matches!(journal.sync(), Err(StoreError::Io { action: "write", .. })));
    assert!(journal.is_poisoned());
    for refused in
        [journal.sync(), journal.seal(), journal.append::<Bytes>(&[]).map(drop), journal.prepare().map(drop)]
    {
        assert!(matches!(refused, Err(StoreError::Poisoned { .. })));
    }
    assert!(matches!(journal.remove_before(Commit(9)), Err(StoreError::Poisoned { .. })));
    assert_eq!(journal.last_commit(), Commit(1));
    assert_eq!(scan_all(&journal, 1).unwrap(), expected(1..=1, 20));
    drop(journal);
    assert_eq!(open(dir.path(), 1024).unwrap().1, expected(1..=1, 20));
}

#[test]
fn a_write_that_meets_a_full_disk_poisons_too() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    journal.active.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    journal.append(&[entry(1, 20)]).unwrap();

    assert!(journal.sync().unwrap_err().is_disk_full());
    assert!(matches!(journal.sync(), Err(StoreError::Poisoned { .. })));
}

#[test]
fn a_full_disk_at_the_next_segment_is_told_and_can_be_tried_again() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=2, 200);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    journal.spare = Some(Spare { file: full, allocated: u64::MAX });
    journal.append(&[entry(3, 200), entry(1003, 100)]).unwrap();

    assert!(journal.sync().unwrap_err().is_disk_full());
    assert!(!journal.is_poisoned());
    assert_eq!(journal.last_commit(), Commit(2));
    journal.sync().unwrap();
    assert_eq!(journal.last_commit(), Commit(3));
    drop(journal);
    assert_eq!(open(dir.path(), 1024).unwrap().1, expected(1..=3, 200));
}

#[test]
fn a_prepared_segment_is_used_and_a_left_over_one_is_removed() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=2, 200);
    assert!(journal.prepare().unwrap());
    assert!(!journal.prepare().unwrap());
    assert!(dir.path().join(SPARE_NAME).exists());
    write(&mut journal, 3..=3, 200);
    assert!(!journal.is_prepared());
    assert!(!dir.path().join(SPARE_NAME).exists());
    drop(journal);

    for left in [&[][..], &[0; 1024], b"TGJOURN\nhalf a header"] {
        std::fs::write(dir.path().join(SPARE_NAME), left).unwrap();
        let (_journal, seen) = open(dir.path(), 1024).unwrap();
        assert_eq!(seen, expected(1..=3, 200));
        assert!(!dir.path().join(SPARE_NAME).exists());
    }
}

#[test]
fn a_new_segment_without_records_opens_and_still_protects_the_one_before() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=3, 200);
    drop(journal);
    let path = files(dir.path())[1].clone();
    let len = std::fs::metadata(&path).unwrap().len();
    overwrite(&path, HEADER_BYTES, &vec![0; usize::try_from(len - HEADER_BYTES).unwrap()]);

    let (mut journal, seen) = open(dir.path(), 1024).unwrap();
    assert_eq!(seen, expected(1..=2, 200));
    write(&mut journal, 3..=3, 200);
    drop(journal);
    assert_eq!(open(dir.path(), 1024).unwrap().1, expected(1..=3, 200));
}

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
    Mark { format: 3, ..mark }.write(dir.path()).unwrap();
    assert!(matches!(Mark::read(dir.path()), Err(StoreError::Newer { found: 3, .. })));
}

type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn fold(path: &Path, pairs: &Pairs) -> Result<u64, StoreError> {
    let mut writer = FoldWriter::create(path)?;
    for (key, value) in pairs {
        writer.push(key, value.as_deref())?;
    }
    writer.finish()
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
    assert_eq!(writer.finish().unwrap(), 1);
    assert_eq!(unfold(&path).unwrap(), vec![(b"b".to_vec(), None)]);
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // Runs of zeroes, as a payload may have them, beside ordinary bytes.
    let one = prop_oneof![vec(any::<u8>(), 0..400), (0..1500_usize).prop_map(|len| vec![0; len])];
    vec(one, 0..5)
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
