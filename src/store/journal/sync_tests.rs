//! What the journal promises of its syncs: told by the order of what the disk was told.

use std::path::{Path, PathBuf};

use super::witness::{Deed, take};
use super::*;

const SEGMENT: u64 = 4_096;

fn open(dir: &Path) -> Journal {
    let settings = JournalSettings { dir: dir.to_owned(), segment_bytes: SEGMENT };
    Journal::open(settings, &mut |_| Ok(()), Commit(0)).unwrap()
}

fn commit(journal: &mut Journal, bytes: usize) {
    journal.append(&[vec![7; bytes]]).unwrap();
    journal.sync().unwrap();
}

/// Everything in `deeds` that was written is synced behind it, everything that was named was synced before, and its name
/// before anything else is done to it; everything that was removed is known to the folder.
fn is_in_order(deeds: &[(Deed, PathBuf)]) {
    let has =
        |part: &[(Deed, PathBuf)], deed, path: &Path| part.iter().any(|one| *one == (deed, path.to_owned()));
    for (at, (deed, path)) in deeds.iter().enumerate() {
        let (before, behind) = (&deeds[..at], &deeds[at + 1..]);
        let folder = path.parent().unwrap();
        let is_right = match deed {
            Deed::Wrote => has(behind, Deed::Synced, path),
            Deed::Named => {
                matches!(before.last(), Some((Deed::Synced, _)))
                    && behind.first() == Some(&(Deed::FolderSynced, folder.to_owned()))
            }
            Deed::Removed => behind.first() == Some(&(Deed::FolderSynced, folder.to_owned())),
            Deed::Synced | Deed::FolderSynced => true,
        };
        assert!(is_right, "{at}: {:?} {} in {deeds:#?}", deed, path.display());
    }
}

#[test]
fn every_group_is_synced_before_it_is_answered_and_every_new_file_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    let mut named = 0;
    is_in_order(&take());

    for _ in 0..20 {
        commit(&mut journal, 700);
        let deeds = take();
        let is_of = |wanted: Deed| deeds.iter().filter(|(deed, _)| *deed == wanted).count();
        assert_eq!(is_of(Deed::Wrote), 1);
        named += is_of(Deed::Named);
        is_in_order(&deeds);
    }

    assert!(named > 2, "{named} new files");
    journal.close().unwrap();
    let deeds = take();
    assert!(matches!(&deeds[..], [(Deed::Wrote, _), (Deed::Synced, _)]), "the seal: {deeds:?}");
}

#[test]
fn the_last_write_of_a_process_that_was_killed_is_written_and_synced_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    commit(&mut journal, 100);
    drop(journal);
    take();

    open(dir.path());

    let deeds = take();
    assert!(matches!(&deeds[..2], [(Deed::Wrote, _), (Deed::Synced, _)]), "{deeds:?}");
    is_in_order(&deeds);
}

#[test]
fn where_the_journal_begins_is_on_disk_before_a_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    (0..20).for_each(|_| commit(&mut journal, 700));
    take();

    assert!(journal.remove_before(Commit(15)).unwrap() > 1);

    let deeds = take();
    let note = dir.path().join("journal.begin");
    assert_eq!(deeds.first(), Some(&(Deed::Synced, note)), "{deeds:?}");
    is_in_order(&deeds);
}
