//! What the zeroes in front of the writer promise: never over a record, and no failure is kept from him.

use std::path::Path;
use std::sync::LazyLock;

use super::ahead::{Ahead, READY, STRETCH};
use super::*;

const SEGMENT: u64 = 24 << 20;

/// What records hold: bytes that cannot be packed.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; 12 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
});

fn open(dir: &Path, records: &mut Vec<(u64, usize)>) -> Journal {
    let settings = JournalSettings { dir: dir.to_owned(), segment_bytes: SEGMENT };
    let mut visit = |record: Record<'_>| {
        for (_, bytes) in &record.entries {
            assert!(*bytes == &NOISE[..bytes.len()]);
            records.push((record.commit.0, bytes.len()));
        }
        Ok(())
    };
    Journal::open(settings, &mut visit, Commit(0)).unwrap()
}

fn commit(journal: &mut Journal, bytes: usize) {
    journal.append(&[&NOISE[..bytes]]).unwrap();
    journal.sync().unwrap();
}

#[test]
fn zeroes_are_kept_in_front_of_the_records_and_never_over_one() {
    // Slow and steady, then faster than any thread writes ahead, over more than one segment.
    let sizes = [700, 100_000, 3 << 20, 700, 9 << 20, 5 << 20, 300, 2 << 20, 10 << 20, 4_096, 1];
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &mut Vec::new());
    let mut written = Vec::new();
    for round in 0..5 {
        for bytes in sizes.map(|bytes| bytes + round) {
            commit(&mut journal, bytes);
            written.push((written.len() as u64 + 1, bytes));
        }
    }
    assert!(journal.segments().len() > 5, "{}", journal.segments().len());
    journal.ahead.stop().unwrap();
    drop(journal);

    let mut found = Vec::new();
    open(dir.path(), &mut found);

    assert_eq!(found, written);
}

#[test]
fn some_megabytes_are_ready_before_they_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &mut Vec::new());

    commit(&mut journal, 100);

    if !journal.ahead.is_on() {
        eprintln!("LEFT OUT: this file system does not write in place");
        return;
    }
    journal.ahead.finish().unwrap();
    let until = journal.ahead.until();
    assert!((STRETCH..STRETCH + 8_192).contains(&until), "{until}");
    // Nothing more while that lasts, and more before it ends.
    commit(&mut journal, 1 << 20);
    journal.ahead.finish().unwrap();
    assert_eq!(journal.ahead.until(), until);
    commit(&mut journal, usize::try_from(STRETCH - READY).unwrap());
    journal.ahead.finish().unwrap();
    assert!(journal.ahead.until() > until);
    // Never behind what is reserved.
    (0..3).for_each(|_| commit(&mut journal, 3 << 20));
    journal.ahead.finish().unwrap();
    assert!(journal.ahead.until() <= SEGMENT && journal.segments().len() == 1);
    assert_eq!(std::fs::metadata(&journal.segments()[0].path).unwrap().len(), SEGMENT);
}

#[test]
fn a_failure_ahead_closes_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path(), &mut Vec::new());
    commit(&mut journal, 100);
    let failure = StoreError::io("write", dir.path(), &std::io::Error::from_raw_os_error(5));
    journal.ahead.fail_with(failure);

    journal.append(&[[7; 100]]).unwrap();
    let synced = journal.sync();

    assert!(matches!(synced, Err(StoreError::Io { .. })), "{synced:?}");
    assert!(journal.is_poisoned());
}

#[test]
fn small_segments_have_nothing_written_ahead() {
    assert!(!Ahead::new(STRETCH - 1).is_on());
}
