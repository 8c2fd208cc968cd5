//! Segments: made, filled, removed, refused by the disk.

use std::fs::{File, OpenOptions};

use bytes::Bytes;
use tempfile::TempDir;

use super::super::segment::{HEADER_BYTES, SPARE_NAME};
use super::super::*;
use super::*;

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
    overwrite(&files(dir.path())[0], 0, &segment::Header { format: segment::FORMAT + 1, ..header }.encode());

    let result = open(dir.path(), 1024);

    let Err(StoreError::Newer { found, supported, .. }) = result else { panic!("{result:?}") };
    assert_eq!((found, supported), (segment::FORMAT + 1, segment::FORMAT));
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
    journal.find_no_room();
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
