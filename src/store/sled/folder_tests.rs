//! What compaction, export and import of a stopped folder promise.

use bytes::Bytes;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use super::base::SledBase;
use super::*;
use crate::store::conformance::{dead, routed, settle, snapshot};
use crate::store::journal::Mark;
use crate::store::{
    Outcome, Progress, StateWrite, SubscriptionId, SubscriptionSpec, compact_folder, export_folder, import,
    verify_folder,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const A: SubscriptionId = SubscriptionId(1);

fn settings(path: &Path) -> StoreSettings {
    StoreSettings {
        path: path.to_owned(),
        cache_bytes: 8 << 20,
        checkpoint_bytes: 64 << 10,
        segment_bytes: 64 << 10,
        status_ttl: Duration::from_mins(1),
        ..StoreSettings::default()
    }
}

/// A folder with 400 settled events whose status has expired, and after them: one done, one dead, one delayed, and
/// the state of a key.
fn stopped(path: &Path) {
    let mut store = SledStore::open(settings(path), NOW).unwrap();
    let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
    let filter = crate::event::Filter::default();
    store
        .stage(NOW, &mut vec![Change::Subscribe(SubscriptionSpec { name, step, on, since: None, filter })])
        .unwrap();
    for n in 1..=400 {
        store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("old{n}"), &[A])])]).unwrap();
        store.stage(NOW, &mut vec![Change::Settle(settle(A, n, Seq(n), Outcome::Done))]).unwrap();
        store.sync().unwrap();
    }
    store.maintain(NOW).unwrap();
    let now = NOW.plus(Duration::from_hours(1));
    while store.maintain(now).unwrap() {}
    for n in 401..=405 {
        let mut event = routed(&format!("e{n}"), &[A]);
        event.due = (n == 405).then(|| now.plus(Duration::from_hours(24)));
        store.stage(now, &mut vec![Change::Publish(vec![event])]).unwrap();
    }
    let mut done = settle(A, 401, Seq(401), Outcome::Done);
    (done.key, done.state) = ("k".into(), Some(StateWrite { value: Bytes::from_static(b"{\"n\":1}") }));
    store
        .stage(now, &mut vec![Change::Settle(done), Change::Settle(settle(A, 402, Seq(402), dead(true)))])
        .unwrap();
    Box::new(store).close().unwrap();
}

fn sound(dir: &Path, scratch: &Path) {
    let report = verify_folder(dir, scratch, &Progress::default()).unwrap();
    assert!(report.clean, "{report:#?}");
}

fn told(dir: &Path) -> Vec<String> {
    let store = SledStore::open(settings(dir), NOW).unwrap();
    snapshot(&*store.reader(), &std::collections::BTreeSet::from(["k".to_owned()]))
}

#[test]
fn a_compacted_store_tells_the_same_also_when_an_earlier_compaction_was_broken_off() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    stopped(&dir);
    let before = told(&dir);
    // Rows that came and went: the file keeps their room.
    let held = Arc::new(std::fs::File::create(dir.join("lock")).unwrap());
    let base = SledBase::open(&dir.join("sled"), 8 << 20, held).unwrap();
    for is_kept in [true, false] {
        for n in 0..600_u32 {
            let key = [&[0x50], n.to_be_bytes().as_slice(), b"gone"].concat();
            // Bytes that do not shrink.
            let mut value = vec![0; 40 << 10];
            blake3::Hasher::new().update(&n.to_be_bytes()).finalize_xof().fill(&mut value);
            base.write(&key, is_kept.then_some(value.as_slice())).unwrap();
        }
        base.sync().unwrap();
    }
    drop(base);
    // What a crash in the middle leaves: half a folder under the other name.
    std::fs::create_dir(dir.join("sled.compacting")).unwrap();
    std::fs::write(dir.join("sled.compacting/db"), "half").unwrap();
    assert_eq!(told(&dir), before);

    let done = compact_folder(&dir, NOW, &Progress::default()).unwrap();

    assert!(done.rows > 10 && done.after < done.before / 2, "{done:?}");
    assert!(!dir.join("sled.compacting").exists());
    sound(&dir, root.path());
    assert_eq!(told(&dir), before);
    let again = compact_folder(&dir, NOW, &Progress::default()).unwrap();
    assert!(again.rows == done.rows && again.after <= done.after, "{done:?} {again:?}");
    assert_eq!(told(&dir), before);
}

#[test]
fn an_export_tells_all_events_and_states_and_an_import_takes_up_what_was_open() {
    let root = tempfile::tempdir().unwrap();
    let (dir, to) = (root.path().join("data"), root.path().join("other"));
    stopped(&dir);

    let mut lines = Vec::new();
    let exported = export_folder(&dir, root.path(), &mut lines, &Progress::default()).unwrap();

    let text = String::from_utf8(lines.clone()).unwrap();
    assert_eq!((exported.events, exported.open, exported.states, exported.without_data), (5, 4, 1, 0));
    assert!(text.contains(r#""state":"dead (fatal)""#) || text.contains(r#""state":"dead ("#), "{text}");
    assert!(text.contains(r#""kind":"state","subscription":"a","key":"k","state":{"n":1}"#), "{text}");

    let later = NOW.plus(Duration::from_hours(2));
    let imported = import(&mut BufReader::new(lines.as_slice()), &to, later, &Progress::default()).unwrap();

    assert_eq!((imported.events, imported.open), (5, 4));
    sound(&to, root.path());
    let (old, new) =
        (SledStore::open(settings(&dir), NOW).unwrap(), SledStore::open(settings(&to), NOW).unwrap());
    for seq in 1..=5 {
        let was = old.reader().envelope(Seq(seq + 400)).unwrap().unwrap();
        assert_eq!(new.reader().envelope(Seq(seq)).unwrap().unwrap(), was);
    }
    assert_eq!(new.reader().stats().delayed, 1);
    let refused =
        import(&mut BufReader::new(lines.as_slice()), &to, later, &Progress::default()).unwrap_err();
    assert!(refused.to_string().contains("it is not empty"), "{refused}");
}

#[test]
fn a_line_that_is_none_of_an_export_is_told_by_its_number() {
    let root = tempfile::tempdir().unwrap();
    let bad = |text: &str| {
        let to = root.path().join("to");
        let error = import(&mut BufReader::new(text.as_bytes()), &to, NOW, &Progress::default()).unwrap_err();
        std::fs::remove_dir_all(to).unwrap();
        error.to_string()
    };
    let head = r#"{"kind":"store","format":1,"tidegate":"0","commit":1,"events":1}"#;

    assert!(bad("{}").contains("line 1 is none of an export"));
    assert!(bad(&format!("{head}\n\nodd")).contains("line 3 is none of an export"));
    assert!(bad(r#"{"kind":"state","subscription":"a","key":"k"}"#).contains("begins with a line of kind"));
    assert!(bad(&head.replace(":1,\"tide", ":9,\"tide")).contains("format version 9"));
}

/// What each tool for a stopped folder says to one.
fn tools(dir: &Path, scratch: &Path) -> Vec<(&'static str, Option<StoreError>)> {
    let progress = Progress::default();
    vec![
        ("verify", verify_folder(dir, scratch, &progress).err()),
        ("backup", backup_folder(dir, scratch, NOW, &mut Vec::new(), &progress).err()),
        ("export", export_folder(dir, scratch, &mut Vec::new(), &progress).err()),
        ("compact", compact_folder(dir, NOW, &progress).err()),
    ]
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            assert!(std::fs::copy(&path, &target).is_ok());
        }
    }
}

#[test]
fn every_tool_takes_a_folder_of_every_version() {
    let fixtures = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")).unwrap();
    let fixtures: Vec<_> = fixtures.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(fixtures.len(), 2 * Mark::FORMAT as usize - 1, "two of each version but the first");
    for fixture in fixtures {
        println!("{}", fixture.display());
        every_tool_takes(&fixture);
    }
}

fn every_tool_takes(fixture: &Path) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    copy(fixture, &dir);
    // The repository does not have the zeros at the end of sled's file.
    if let Ok(db) = std::fs::File::options().write(true).open(dir.join("sled/db")) {
        db.set_len(db.metadata().unwrap().len().next_multiple_of(8 << 20)).unwrap();
    }

    sound(&dir, root.path());
    let file = root.path().join("folder.backup");
    let progress = Progress::default();
    backup_folder(&dir, root.path(), NOW, &mut std::fs::File::create(&file).unwrap(), &progress).unwrap();
    restore(&file, &root.path().join("restored"), &progress).unwrap();
    sound(&root.path().join("restored"), root.path());
    for (tool, refusal) in tools(&dir, root.path()) {
        assert!(refusal.is_none(), "{tool}: {refusal:?}");
    }
    sound(&dir, root.path());
    assert_eq!(told(&dir), told(&root.path().join("restored")));
}

#[test]
fn every_tool_refuses_a_newer_folder_with_the_way_out_and_leaves_it_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let sound = root.path().join("sound");
    stopped(&sound);
    // The format of the mark, and that of a segment; each with the checksum that belongs to it.
    let files = std::fs::read_dir(sound.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let segment = files.filter(|file| file.extension().is_some_and(|end| end == "journal")).max().unwrap();
    let segment = Path::new("journal").join(segment.file_name().unwrap());
    for (name, (file, covered)) in
        [("mark", (Path::new("checkpoint.mark"), None)), ("segment", (&*segment, Some(60)))]
    {
        let dir = root.path().join(name);
        copy(&sound, &dir);
        let mut bytes = std::fs::read(dir.join(file)).unwrap();
        bytes[8] = 9;
        let covered = covered.unwrap_or(bytes.len() - 4);
        let check = crc32c::crc32c(&bytes[..covered]).to_le_bytes();
        bytes[covered..covered + 4].copy_from_slice(&check);
        std::fs::write(dir.join(file), &bytes).unwrap();

        for (tool, refusal) in tools(&dir, root.path()) {
            let refusal = refusal.unwrap_or_else(|| panic!("{tool} took a newer {name}"));
            assert!(matches!(refusal, StoreError::Newer { found: 9, .. }), "{tool}: {refusal}");
            assert!(refusal.to_string().contains("start the version that wrote it"), "{tool}: {refusal}");
            assert_eq!(std::fs::read(dir.join(file)).unwrap(), bytes, "{tool} has changed it");
        }
    }
}

#[test]
fn after_a_failure_readers_see_what_is_on_disk_and_nothing_else() {
    for checkpoint_bytes in [1, 32 << 20] {
        let root = tempfile::tempdir().unwrap();
        let with = StoreSettings {
            checkpoint_bytes,
            checkpoint_interval: Duration::from_millis(1),
            ..settings(root.path())
        };
        let mut store = SledStore::open(with, NOW).unwrap();
        let (name, step, on) = ("a".to_owned(), "s".to_owned(), vec![">".to_owned()]);
        let filter = crate::event::Filter::default();
        store
            .stage(
                NOW,
                &mut vec![Change::Subscribe(SubscriptionSpec { name, step, on, since: None, filter })],
            )
            .unwrap();
        for n in 1..=100 {
            store.stage(NOW, &mut vec![Change::Publish(vec![routed(&format!("e{n}"), &[A])])]).unwrap();
            store.sync().unwrap();
            store.maintain(NOW.plus_millis(n)).unwrap();
        }
        let keys = std::collections::BTreeSet::new();
        let reader = store.reader();
        let before = snapshot(&*reader, &keys);
        // Staged and never synced: an event, and an outcome of one that is on disk.
        let settled = Change::Settle(settle(A, 1, Seq(1), Outcome::Done));
        store.stage(NOW, &mut vec![Change::Publish(vec![routed("lost", &[A])]), settled]).unwrap();
        assert_ne!(snapshot(&*reader, &keys), before);

        let commit = store.retreat().unwrap();

        assert_eq!((reader.staged(), reader.durable()), (commit, commit));
        assert_eq!(snapshot(&*reader, &keys), before);
        let all = reader.queue(A, crate::store::Ordinal(0), 1_000).unwrap();
        assert_eq!((all.len(), all[99].event.id.as_str()), (100, "e100"));
    }
}
