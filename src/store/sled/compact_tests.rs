//! What a compaction promises whose process dies: the folder has the old sled or the new one, whole.
//!
//! The process that dies is this test program once more, told by its environment which folder it compacts and where it dies.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::audit::bytes_of;
use super::base::SledBase;
use super::*;
use crate::store::conformance::{routed, snapshot};
use crate::store::journal::witness::{Deed, take};
use crate::store::{Progress, SubscriptionId, SubscriptionSpec, compact_folder, verify_folder};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const A: SubscriptionId = SubscriptionId(1);
const DIR: &str = "TIDEGATE_TEST_COMPACTS";
const DIES_AT: &str = "TIDEGATE_TEST_DIES_AT";
/// Deaths at pages that are drawn.
const DRAWN: u8 = 3;
/// Pages that are copied, at least.
const PAGES: u8 = 6;

/// How often each place was reached.
static REACHED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Lets the process die here, as by `kill -9`, when it was told to: `place:times`.
pub(super) fn reach(place: &str) {
    let Ok(fatal) = std::env::var(DIES_AT) else { return };
    let mut reached = REACHED.lock().unwrap();
    let times = reached.entry(place.to_owned()).or_default();
    *times += 1;
    if fatal == format!("{place}:{times}") {
        std::process::abort();
    }
}

fn settings(path: &Path) -> StoreSettings {
    StoreSettings {
        path: path.to_owned(),
        cache_bytes: 8 << 20,
        checkpoint_bytes: 64 << 10,
        status_ttl: Duration::from_mins(1),
        ..StoreSettings::default()
    }
}

/// A folder with open events, and a sled that has lost most of what was in it.
fn stopped(path: &Path) {
    let mut store = SledStore::open(settings(path), NOW).unwrap();
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let filter = crate::event::Filter::default();
    let spec = SubscriptionSpec { name, step, on, since: None, filter };
    store.stage(NOW, &mut vec![Change::Subscribe(spec)]).unwrap();
    for n in 1..=400 {
        store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("e{n}"), &[A])])]).unwrap();
    }
    Box::new(store).close().unwrap();
    let held = Arc::new(std::fs::File::create(path.join("lock")).unwrap());
    let base = SledBase::open(&path.join("sled"), 8 << 20, held).unwrap();
    // Rows that came and went: the file keeps their room.
    for is_kept in [true, false] {
        for n in 0..100_u32 {
            let key = [&[0x50], n.to_be_bytes().as_slice(), b"gone"].concat();
            // Bytes that do not shrink.
            let mut value = vec![0; 40 << 10];
            blake3::Hasher::new().update(&n.to_be_bytes()).finalize_xof().fill(&mut value);
            base.write(&key, is_kept.then_some(value.as_slice())).unwrap();
        }
        base.sync().unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn told(dir: &Path) -> Vec<String> {
    let store = SledStore::open(settings(dir), NOW).unwrap();
    snapshot(&*store.reader(), &std::collections::BTreeSet::new())
}

/// Compacts a folder in a process of its own; returns whether that lived to the end.
fn compact(dir: &Path, dies_at: &str) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "store::sled::compact_tests::the_process_that_compacts", "--ignored"]);
    child.env(DIR, dir).env(DIES_AT, dies_at).stdout(Stdio::null()).stderr(Stdio::null());
    child.status().unwrap().success()
}

#[test]
#[ignore = "it is the process that the tests beside let die"]
fn the_process_that_compacts() {
    let Ok(dir) = std::env::var(DIR) else { return };
    compact_folder(Path::new(&dir), NOW, &Progress::default()).unwrap();
}

#[test]
fn a_compaction_that_is_killed_anywhere_leaves_the_old_sled_or_the_new_one_whole() {
    let root = tempfile::tempdir().unwrap();
    let (origin, whole) = (root.path().join("origin"), root.path().join("whole"));
    stopped(&origin);
    let before = told(&origin);
    copy(&origin, &whole);
    assert!(compact(&whole, "never"), "the control ends by itself");
    let (old, new) = (bytes_of(&origin.join("sled")), bytes_of(&whole.join("sled")));
    assert!(new < old, "there is something to win: {old} and {new} bytes");

    let seed = std::process::id();
    println!("seed {seed}");
    let drawn =
        |n: u8| 1 + blake3::hash(&[&seed.to_be_bytes(), [n].as_slice()].concat()).as_bytes()[0] % PAGES;
    let places = ["begun", "counted", "stamped", "copied", "exchanged", "removing", "removed"];
    let mut fatal: Vec<String> = places.map(|place| format!("{place}:1")).into();
    fatal.extend((0..DRAWN).map(|n| format!("copying:{}", drawn(n))));
    for at in fatal {
        let dir = root.path().join("killed");
        copy(&origin, &dir);
        assert!(!compact(&dir, &at), "it was to die at {at}");

        let report = verify_folder(&dir, root.path(), &Progress::default()).unwrap();
        assert!(report.clean, "killed at {at}: {report:#?}");
        let is_new = ["exchanged", "removing", "removed"].iter().any(|place| at.starts_with(place));
        let sled = bytes_of(&dir.join("sled"));
        // Whichever it is, opening it has written a little.
        assert_eq!(sled < old.midpoint(new), is_new, "killed at {at}: {sled} bytes, {old} before");
        assert_eq!(told(&dir), before, "killed at {at}");
        // What it left is no hindrance, and gone afterwards.
        compact_folder(&dir, NOW, &Progress::default()).unwrap();
        assert!(!dir.join("sled.compacting").exists(), "killed at {at}");
        assert_eq!(told(&dir), before, "compacted after a death at {at}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn a_compaction_is_on_disk_before_the_names_change_and_the_change_before_the_old_sled_goes() {
    let root = tempfile::tempdir().unwrap();
    stopped(root.path());
    take();

    compact_folder(root.path(), NOW, &Progress::default()).unwrap();

    let (sled, fresh) = (root.path().join("sled"), root.path().join("sled.compacting"));
    let mut deeds = take();
    let ends = deeds.split_off(deeds.len() - 5);
    let folder = root.path().to_owned();
    let wanted = [
        (Deed::Synced, fresh.clone()),
        (Deed::Named, sled),
        (Deed::FolderSynced, folder.clone()),
        (Deed::Removed, fresh),
        (Deed::FolderSynced, folder),
    ];
    assert_eq!(ends, wanted);
}

#[test]
fn a_sled_that_has_lost_a_row_is_not_copied_as_if_it_were_whole() {
    let root = tempfile::tempdir().unwrap();
    stopped(root.path());
    let lock = recovery::lock(root.path()).unwrap();
    let sled = root.path().join("sled");
    let base = SledBase::open(&sled, 8 << 20, Arc::clone(&lock)).unwrap();
    let key = [&[0x20], 3_u64.to_be_bytes().as_slice()].concat();
    base.fold([(key.as_slice(), None)], &mut base.count().unwrap(), &|| Ok(())).unwrap();
    base.sync().unwrap();
    drop(base);

    let refused = compact::copy(&sled, &root.path().join("fresh"), &lock, &Progress::default());

    assert!(matches!(refused, Err(StoreError::Damaged { path, .. }) if path == sled));
}
