//! What the journal promises, tried on files that were torn, flipped, removed and refused.

mod damage;
mod files;
mod packed;
mod segments;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;

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

/// Bytes without a zero among them, different for each number, that cannot be packed.
fn entry(number: u64, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into_iter().map(|byte: u8| byte.max(1)).collect()
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
