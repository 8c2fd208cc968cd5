//! Damage is told, and what never was synced is cut.

use std::fs::OpenOptions;
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::super::*;
use super::*;

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
fn a_missing_segment_in_the_middle_is_damage_even_where_nothing_is_read() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), 1024).unwrap();
    write(&mut journal, 1..=9, 200);
    drop(journal);
    std::fs::remove_file(&files(dir.path())[1]).unwrap();

    assert!(is_damaged(&open(dir.path(), 1024)));
    assert!(is_damaged(&open_after(dir.path(), 1024, 9)));
}
