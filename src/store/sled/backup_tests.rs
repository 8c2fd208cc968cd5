//! What a backup promises: whatever was acknowledged before it began is in it, what it holds fits together, and a
//! restore takes nothing else for one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::store::backup::{About, BackupWriter, Manifest};
use crate::store::conformance::{routed, settle};
use crate::store::journal::witness::{Deed, take};
use crate::store::{
    Ordinal, Outcome, Progress, SubscriptionId, SubscriptionSpec, VerifyReport, backup_folder, check_backup,
    restore, verify_folder,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn settings(path: &Path, checkpoint_bytes: u64) -> StoreSettings {
    StoreSettings {
        path: path.to_owned(),
        cache_bytes: 8 << 20,
        checkpoint_bytes,
        checkpoint_interval: Duration::from_millis(1),
        segment_bytes: 64 << 10,
        ..StoreSettings::default()
    }
}

/// A store with one subscription.
fn opened(settings: &StoreSettings) -> SledStore {
    let mut store = SledStore::open(settings.clone(), NOW).unwrap();
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let filter = crate::event::Filter::default();
    let spec = SubscriptionSpec { name, step, on, since: None, filter };
    store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    store.sync().unwrap();
    store
}

fn publish(store: &mut SledStore, n: u64) {
    let id = SubscriptionId(1);
    store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("e{n}"), &[id])])]).unwrap();
    if n.is_multiple_of(3) {
        store.stage(NOW, &mut vec![Change::Settle(settle(id, n, Seq(n), Outcome::Done))]).unwrap();
    }
    store.sync().unwrap();
}

/// The ids of all events, by their numbers.
fn ids(reader: &dyn Reader) -> Vec<String> {
    reader.events_from(Seq(1), usize::MAX).unwrap().into_iter().map(|event| event.id.clone()).collect()
}

fn sound(dir: &Path, scratch: &Path) -> VerifyReport {
    let report = verify_folder(dir, scratch, &Progress::default()).unwrap();
    assert!(report.clean, "{report:#?}");
    report
}

#[test]
fn a_backup_under_load_holds_whatever_was_acknowledged_before_it_and_runs_on() {
    for checkpoint_bytes in [1, 20_000, 32 << 20] {
        let root = tempfile::tempdir().unwrap();
        let with = settings(&root.path().join("data"), checkpoint_bytes);
        let mut store = opened(&with);
        let tools = store.tools().unwrap();
        let (acknowledged, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        (1..=200).for_each(|n| publish(&mut store, n));
        acknowledged.store(200, Ordering::Release);
        let taken: Vec<(u64, PathBuf)> = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let mut n = 201;
                while !is_over.load(Ordering::Acquire) {
                    publish(&mut store, n);
                    acknowledged.store(n, Ordering::Release);
                    // As late as it can be: what a checkpoint has done with is there to be removed.
                    store.maintain(NOW.plus_millis(n)).unwrap();
                    n += 1;
                }
            });
            let taken = (0..6).map(|turn| {
                let before = acknowledged.load(Ordering::Acquire);
                let path = root.path().join(format!("{turn}.backup"));
                let mut file = File::create(&path).unwrap();
                tools.backup(NOW, &mut file, &Progress::default()).unwrap();
                (before, path)
            });
            let taken = taken.collect();
            is_over.store(true, Ordering::Release);
            load.join().unwrap();
            taken
        });
        drop((store, tools));
        for (before, path) in taken {
            let to = root.path().join("restored");
            let manifest = restore(&path, &to, &Progress::default()).unwrap();
            sound(&to, root.path());
            let mut restored = SledStore::open(settings(&to, checkpoint_bytes), NOW).unwrap();
            let found = ids(&*restored.reader());
            assert!(found.len() as u64 >= before, "{} of {before} are there", found.len());
            assert_eq!(found.len() as u64, manifest.events);
            assert!(found.iter().zip(1..).all(|(id, n)| *id == format!("e{n}")), "{found:?}");
            let open = restored.reader().queue(SubscriptionId(1), Ordinal(0), usize::MAX).unwrap();
            assert!(
                open.iter().all(|queued| !queued.seq.0.is_multiple_of(3) || queued.seq.0 == manifest.events)
            );
            publish(&mut restored, manifest.events + 1);
            Box::new(restored).close().unwrap();
            sound(&to, root.path());
            std::fs::remove_dir_all(&to).unwrap();
        }
    }
}

#[test]
fn what_a_backup_has_kept_from_being_removed_goes_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let mut store = opened(&settings(&root.path().join("data"), 1));
    let held = store.hold.begin();
    for n in 1..=40 {
        publish(&mut store, n);
        store.maintain(NOW.plus_millis(n * 10)).unwrap();
        store.end_fold(NOW, true).unwrap();
    }
    let folds = |store: &SledStore| hold::fold_files(&store.settings.path).unwrap().len();
    assert!(folds(&store) > 2, "nothing was held");

    drop(held);
    store.maintain(NOW.plus_millis(1_000)).unwrap();
    store.end_fold(NOW, true).unwrap();
    store.maintain(NOW.plus_millis(1_000)).unwrap();

    assert!(folds(&store) <= 1);
}

/// A data folder of a stopped store with 300 events, and a backup of it.
fn backed_up(root: &Path) -> PathBuf {
    let with = StoreSettings { segment_bytes: 16 << 10, ..settings(&root.join("data"), 20_000) };
    let mut store = opened(&with);
    (1..=200).for_each(|n| publish(&mut store, n));
    // A group that is packed.
    let id = SubscriptionId(1);
    let group = (201..=300).map(|n| routed(&format!("e{n}"), &[id])).collect();
    store.stage(NOW, &mut vec![Change::Publish(group)]).unwrap();
    for n in (201..=300).filter(|n: &u64| n.is_multiple_of(3)) {
        store.stage(NOW, &mut vec![Change::Settle(settle(id, n, Seq(n), Outcome::Done))]).unwrap();
    }
    Box::new(store).close().unwrap();
    assert!(tests::has_packed(&with.path));
    let path = root.join("offline.backup");
    let mut file = File::create(&path).unwrap();
    let manifest = backup_folder(&with.path, root, NOW, &mut file, &Progress::default()).unwrap();
    assert_eq!((manifest.events, manifest.subscriptions[0].backlog), (300, 200));
    path
}

#[test]
fn a_stopped_folder_is_backed_up_and_restored_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let path = backed_up(root.path());
    let to = root.path().join("deep/er/restored");

    restore(&path, &to, &Progress::default()).unwrap();

    sound(&to, root.path());
    let (was, is) = (settings(&root.path().join("data"), 1 << 20), settings(&to, 1 << 20));
    let (was, is) = (SledStore::open(was, NOW).unwrap(), SledStore::open(is, NOW).unwrap());
    let keys = std::collections::BTreeSet::default();
    assert_eq!(
        crate::store::conformance::snapshot(&*was.reader(), &keys),
        crate::store::conformance::snapshot(&*is.reader(), &keys)
    );
}

#[test]
fn a_restore_touches_nothing_that_is_there_and_leaves_nothing_when_the_backup_is_damaged() {
    let root = tempfile::tempdir().unwrap();
    let path = backed_up(root.path());
    let to = root.path().join("restored");
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("mine"), "1").unwrap();
    let refused = restore(&path, &to, &Progress::default()).unwrap_err();
    assert!(refused.to_string().contains("it is not empty"), "{refused}");
    std::fs::remove_file(to.join("mine")).unwrap();

    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let bad = root.path().join("bad.backup");
    std::fs::write(&bad, bytes).unwrap();
    assert!(matches!(restore(&bad, &to, &Progress::default()), Err(StoreError::Damaged { .. })));
    assert!(matches!(check_backup(&bad, &Progress::default()), Err(StoreError::Damaged { .. })));
    let left: Vec<_> =
        std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("restoring")), "{left:?}");

    // An empty folder is as good as none.
    restore(&path, &to, &Progress::default()).unwrap();
    sound(&to, root.path());
}

#[test]
fn a_damaged_store_is_not_backed_up_as_if_it_were_sound() {
    let root = tempfile::tempdir().unwrap();
    backed_up(root.path());
    let journal = root.path().join("data/journal");
    let mut segments: Vec<_> =
        std::fs::read_dir(journal).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.sort();
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    bytes[9_000] ^= 1;
    std::fs::write(&segments[0], bytes).unwrap();

    let refused =
        backup_folder(&root.path().join("data"), root.path(), NOW, &mut Vec::new(), &Progress::default());

    assert!(matches!(refused, Err(StoreError::Damaged { path, .. }) if path == segments[0]));
}

#[test]
fn what_is_restored_is_on_disk_before_it_has_its_name() {
    let root = tempfile::tempdir().unwrap();
    let path = backed_up(root.path());
    let to = root.path().join("restored");
    take();

    restore(&path, &to, &Progress::default()).unwrap();

    let deeds = take();
    let at = deeds.iter().position(|(deed, path)| *deed == Deed::Named && *path == to).unwrap();
    let (before, behind) = deeds.split_at(at);
    let synced = |name: &str| {
        let is_it = |(deed, path): &(Deed, PathBuf)| *deed == Deed::Synced && path.ends_with(name);
        before.iter().any(is_it)
    };
    let names = std::fs::read_dir(to.join("journal")).unwrap();
    let names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let segments: Vec<&String> = names.iter().filter(|name| name.ends_with(".journal")).collect();
    assert!(segments.len() > 1, "each of them, and not the last one only: {names:?}");
    assert!(segments.iter().all(|name| synced(name)), "{segments:?} in {before:?}");
    assert!(synced("sled"), "{before:?}");
    let folders: Vec<&Path> = before
        .iter()
        .filter(|(deed, _)| *deed == Deed::FolderSynced)
        .map(|(_, path)| path.as_path())
        .collect();
    assert!(folders.iter().any(|path| path.ends_with("journal")), "{folders:?}");
    assert!(!folders[folders.len() - 1].ends_with("journal"), "the folder itself: {folders:?}");
    assert_eq!(behind.get(1), Some(&(Deed::FolderSynced, root.path().to_owned())), "{behind:?}");
}

#[test]
fn a_backup_with_entries_of_a_newer_version_is_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("newer.backup");
    let mut out = Vec::new();
    let about = About { entries: VERSION + 1, tidegate: "9.0.0".to_owned() };
    BackupWriter::begin(&mut out, &about).unwrap().finish(Manifest::default()).unwrap();
    std::fs::write(&path, out).unwrap();

    let refused = restore(&path, &root.path().join("restored"), &Progress::default());

    assert!(matches!(refused, Err(StoreError::Newer { found, .. }) if found == VERSION + 1));
    assert!(!root.path().join("restored").exists());
}

#[test]
fn a_store_whose_journal_is_older_than_its_checkpoint_is_not_backed_up() {
    let root = tempfile::tempdir().unwrap();
    let with = settings(&root.path().join("data"), 20_000);
    let (journal, old) = (with.path.join("journal"), root.path().join("old"));
    let mut store = opened(&with);
    (1..=30).for_each(|n| publish(&mut store, n));
    Box::new(store).close().unwrap();
    std::fs::create_dir(&old).unwrap();
    for entry in std::fs::read_dir(&journal).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), old.join(entry.file_name())).unwrap();
    }
    let mut store = SledStore::open(with.clone(), NOW).unwrap();
    (31..=60).for_each(|n| publish(&mut store, n));
    Box::new(store).close().unwrap();
    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::rename(&old, &journal).unwrap();

    let refused = backup_folder(&with.path, root.path(), NOW, &mut Vec::new(), &Progress::default());

    assert!(
        matches!(&refused, Err(StoreError::Damaged { problem, .. }) if problem.contains("the checkpoint says")),
        "{refused:?}"
    );
}
