//! What the engine on disk promises beyond the suite: recovery, damage, retention.

use bytes::Bytes;
use std::path::Path;
use std::time::Duration;

use super::base::SledBase;
use super::*;
use crate::store::conformance::{Engine, World, routed, settle};
use crate::store::{Ordinal, Outcome, Replay, Routed};

#[path = "fixture_tests.rs"]
mod fixture;

/// Engines of one folder each; `checkpoint_bytes` of 1 folds at every chance.
pub(super) struct OnDisk {
    dir: tempfile::TempDir,
    checkpoint_bytes: u64,
    segment_bytes: u64,
}

impl OnDisk {
    pub(super) fn new(checkpoint_bytes: u64, segment_bytes: u64) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), checkpoint_bytes, segment_bytes }
    }

    pub(super) fn settings(&self, settings: &StoreSettings) -> StoreSettings {
        StoreSettings {
            path: self.dir.path().to_owned(),
            cache_bytes: 8 << 20,
            checkpoint_bytes: self.checkpoint_bytes,
            segment_bytes: self.segment_bytes,
            ..settings.clone()
        }
    }
}

impl Engine for OnDisk {
    fn open(&mut self, settings: &StoreSettings) -> Box<dyn Store> {
        Box::new(SledStore::open(self.settings(settings), Timestamp(1_800_000_000_000)).unwrap())
    }
}

mod unfolded {
    fn engine() -> super::OnDisk {
        super::OnDisk::new(32 << 20, 1 << 20)
    }

    crate::store_conformance!(engine);
}

mod folded_at_every_chance {
    fn engine() -> super::OnDisk {
        super::OnDisk::new(1, 64 << 10)
    }

    crate::store_conformance!(engine);
}

/// A store of `events` events of one subscription, each its own group, the first `done` settled.
fn filled(engine: &mut OnDisk, events: u64, done: u64) -> World<'_> {
    let mut world = World::new(engine);
    let a = world.subscribe("a");
    for n in 1..=events {
        world.publish(&format!("e{n}"), &[a]);
    }
    for n in 1..=done {
        world.settle(settle(a, n, Seq(n), Outcome::Done));
    }
    world
}

/// Whether a record of the journal is packed.
pub(super) fn has_packed(dir: &Path) -> bool {
    let is_packed =
        |file: std::path::PathBuf| std::fs::read(file).unwrap().windows(4).any(|word| word == b"TGcp");
    files(&dir.join("journal"), ".journal").into_iter().any(is_packed)
}

fn files(dir: &Path, part: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part)).collect()
}

pub(super) fn open(engine: &OnDisk) -> Result<SledStore, StoreError> {
    let settings = StoreSettings { status_ttl: Duration::from_hours(1), ..StoreSettings::default() };
    SledStore::open(engine.settings(&settings), Timestamp(1_800_000_000_000))
}

/// Fills a store, closes it, and returns how its queue read.
pub(super) fn closed(engine: &mut OnDisk) -> Vec<u64> {
    let mut world = filled(engine, 300, 10);
    let queue = world.queue(crate::store::SubscriptionId(1));
    world.store.take().unwrap().close().unwrap();
    queue
}

fn queue(store: &SledStore) -> Vec<u64> {
    let queued = store.reader().queue(crate::store::SubscriptionId(1), Ordinal(0), 1_000).unwrap();
    queued.iter().map(|queued| queued.ordinal.0).collect()
}

#[test]
fn a_clean_close_leaves_nothing_to_replay() {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    let before = closed(&mut engine);
    let dir = engine.dir.path().to_owned();
    assert!(files(&dir, "fold-").is_empty());

    let store = open(&engine).unwrap();

    assert_eq!((store.folded, store.reader().stats().checkpoint_lag), (store.staged, 0));
    assert_eq!(queue(&store), before);
}

#[test]
fn a_damaged_sled_is_moved_aside_and_rebuilt() {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    let before = closed(&mut engine);
    let dir = engine.dir.path().to_owned();
    let db = dir.join("sled/db");
    let mut bytes = std::fs::read(&db).unwrap();
    let middle = bytes.len().min(40_000);
    bytes[..middle].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&db, bytes).unwrap();

    let store = open(&engine).unwrap();

    assert_eq!(queue(&store), before);
    assert!(dir.join("sled.damaged-1").is_dir() && dir.join("checkpoint.mark.damaged-1").is_file());
}

#[test]
fn a_first_start_that_broke_off_is_begun_anew() {
    let engine = OnDisk::new(32 << 20, 64 << 10);
    let dir = engine.dir.path().to_owned();
    making::begin(&dir).unwrap();
    std::fs::create_dir(dir.join("sled")).unwrap();
    std::fs::write(dir.join("sled/conf"), "half of it").unwrap();

    drop(open(&engine).unwrap());
    assert!(dir.join("sled.damaged-1").is_dir());

    // As soon as there is a journal, the same damage is repaired from it, or told.
    std::fs::write(dir.join("sled/conf"), "half of it").unwrap();
    drop(open(&engine).unwrap());
    std::fs::remove_dir_all(dir.join("sled")).unwrap();
    std::fs::create_dir(dir.join("sled")).unwrap();
    std::fs::write(dir.join("sled/conf"), "half of it").unwrap();
    std::fs::remove_file(dir.join("journal/00000000000000000001.journal")).unwrap();
    assert!(matches!(open(&engine), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_lost_sled_is_noticed_and_rebuilt() {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    let before = closed(&mut engine);
    std::fs::remove_dir_all(engine.dir.path().join("sled")).unwrap();

    assert_eq!(queue(&open(&engine).unwrap()), before);
}

#[test]
fn rows_that_sled_lost_silently_are_noticed() {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    let before = closed(&mut engine);
    let dir = engine.dir.path().to_owned();
    {
        let lock = recovery::lock(&dir).unwrap();
        let base = SledBase::open(&dir.join("sled"), 8 << 20, lock).unwrap();
        let key = super::super::view::keys::place(Seq(1)).bytes();
        let mut counts = base.count().unwrap();
        let before = counts.clone();
        base.fold([(key.as_slice(), None)], &mut counts, &|| Ok(())).unwrap();
        assert_ne!(counts, before, "there was such a row");
        base.sync().unwrap();
    }

    assert_eq!(queue(&open(&engine).unwrap()), before);
    assert!(dir.join("sled.damaged-1").is_dir());
}

#[test]
fn a_missing_mark_means_a_replay_from_the_beginning() {
    let mut engine = OnDisk::new(4 << 10, 64 << 10);
    let before = closed(&mut engine);
    let dir = engine.dir.path().to_owned();
    std::fs::remove_file(dir.join("checkpoint.mark")).unwrap();

    let store = open(&engine).unwrap();

    assert_eq!(queue(&store), before);
    assert_eq!(store.folded, store.staged, "memory stays bounded: rows were folded on the way");
    drop(store);
    assert_eq!(queue(&open(&engine).unwrap()), before);
}

#[test]
fn a_damaged_sled_with_a_shortened_journal_is_an_error_that_says_what_to_do() {
    let mut engine = OnDisk::new(1, 64 << 10);
    let mut world = filled(&mut engine, 300, 300);
    world.pass_and_maintain(Duration::from_hours(3));
    // A clean close folds everything.
    world.reopen();
    world.pass_and_maintain(Duration::from_hours(3));
    world.store.take().unwrap().close().unwrap();
    drop(world);
    let dir = engine.dir.path().to_owned();
    assert!(
        files(&dir.join("journal"), "00000000000000000001.journal").is_empty(),
        "retention has removed it"
    );
    std::fs::remove_dir_all(dir.join("sled")).unwrap();

    let error = open(&engine).unwrap_err().to_string();

    assert!(error.contains("restore a backup") && error.contains("sled"), "{error}");
}

#[test]
fn a_fold_that_was_broken_off_is_taken_up_again() {
    let mut engine = OnDisk::new(32 << 20, 64 << 10);
    let settings = engine.settings(&StoreSettings::default());
    let mut world = filled(&mut engine, 300, 10);
    let before = world.queue(crate::store::SubscriptionId(1));
    drop(world.store.take());
    drop(world);
    // As far as the mark that names the fold file, with every second row in sled.
    {
        let lock = recovery::lock(&settings.path).unwrap();
        let mut found = recovery::recover(&settings, &lock).unwrap();
        found.open.write(&mut found.view).unwrap();
        let layer = found.view.freeze().unwrap().rows();
        let commit = found.journal.last_commit();
        checkpoint::break_off(&settings.path, &layer, commit);
        let half = layer.iter().step_by(2).map(|(key, value)| (key.as_slice(), value.as_deref()));
        found.base.now().unwrap().fold(half, &mut base::Counts::new(), &|| Ok(())).unwrap();
        found.base.now().unwrap().sync().unwrap();
    }
    assert_eq!(files(&settings.path, "fold-").len(), 1);

    let mut store = open(&engine).unwrap();

    assert_eq!(queue(&store), before);
    store.end_fold(Timestamp(1_800_000_000_000), true).unwrap();
    assert_eq!(queue(&store), before);
    assert!(files(&settings.path, "fold-").is_empty());
    drop(store);
    let store = open(&engine).unwrap();
    assert_eq!((queue(&store), store.folded), (before, store.staged));
    assert!(files(&settings.path, "damaged").is_empty(), "the counts are right after it");
}

#[test]
fn a_checkpoint_that_meets_a_full_disk_waits_and_goes_on() {
    let engine = OnDisk::new(1, 64 << 10);
    let now = Timestamp(1_800_000_000_000);
    let mut store = open(&engine).unwrap();
    let publish = |store: &mut SledStore, id: &str| {
        store.stage(now, &mut vec![Change::Publish(vec![routed(id, &[])])]).unwrap();
        store.sync().unwrap()
    };
    let commit = publish(&mut store, "e1");
    let file = engine.dir.path().join(format!("fold-{:020}.tmp", commit.0));
    std::os::unix::fs::symlink("/dev/full", &file).unwrap();

    store.maintain(now).unwrap();
    store.end_fold(now, true).unwrap();
    assert!(store.halted.is_some() && store.folded < commit);
    publish(&mut store, "e2");
    std::fs::remove_file(file).unwrap();
    store.maintain(now).unwrap();
    store.end_fold(now, true).unwrap();

    assert_eq!((store.halted.is_none(), store.folded), (true, commit));
    drop(store);
    let store = open(&engine).unwrap();
    assert_eq!((store.reader().stats().events, store.staged), (2, Commit(2)));
    assert!(files(engine.dir.path(), "damaged").is_empty(), "the counts are right after it");
}

#[test]
fn segments_go_when_nothing_needs_them() {
    let mut engine = OnDisk::new(20_000, 16 << 10);
    let dir = engine.dir.path().to_owned();
    let segments = || files(&dir.join("journal"), ".journal").len();
    let mut world = filled(&mut engine, 500, 499);
    let a = crate::store::SubscriptionId(1);
    let full = segments();
    assert!(full > 3, "{full}");
    world.reopen();
    world.pass_and_maintain(Duration::from_hours(3));
    let kept = segments();
    assert!(kept < full, "what is settled has gone: {kept} of {full}");
    assert_eq!(world.queue(a), [500], "the open one pins its segment");
    assert!(world.reader().envelope(Seq(1)).unwrap().is_none());

    world.crash();
    assert_eq!(world.queue(a), [500]);
    assert_eq!(world.reader().queue(a, Ordinal(0), 9).unwrap()[0].event.id, "e500");
    world.settle(settle(a, 500, Seq(500), Outcome::Done));
    world.reopen();
    world.pass_and_maintain(Duration::from_hours(3));
    assert!(segments() <= 3, "{}", segments());
    world.finish();
}

#[test]
fn a_subscription_that_looks_back_pins_what_retention_had_passed_over() {
    let mut engine = OnDisk::new(20_000, 16 << 10);
    let settings = StoreSettings {
        status_ttl: Duration::from_hours(1_000),
        retention: Duration::from_hours(1),
        ..StoreSettings::default()
    };
    let mut world = World::with(&mut engine, settings);
    let a = world.subscribe("a");
    for n in 1..=200 {
        world.publish(&format!("e{n}"), &[a]);
    }
    for n in (1..=200).filter(|n| *n != 20) {
        world.settle(settle(a, n, Seq(n), Outcome::Done));
    }
    // Looks at the first events and stops at the open one: a clean close has folded them.
    world.reopen();
    world.pass_and_maintain(Duration::from_hours(2));
    let late = world.subscribe_since("late", Some(Timestamp(0)));
    world.settle(settle(a, 20, Seq(20), Outcome::Done));
    for n in 10..=200 {
        world.settle(settle(late, n, Seq(n), Outcome::Done));
    }

    for _ in 0..3 {
        world.pass_and_maintain(Duration::from_hours(2));
    }

    assert_eq!(world.queue(late), (1..10).collect::<Vec<_>>());
    world.finish();
}

#[test]
fn a_replay_pins_what_retention_had_passed_over() {
    let mut engine = OnDisk::new(20_000, 16 << 10);
    let settings = StoreSettings {
        status_ttl: Duration::from_hours(1_000),
        retention: Duration::from_hours(1),
        ..StoreSettings::default()
    };
    let mut world = World::with(&mut engine, settings);
    let a = world.subscribe("a");
    for n in 1..=200 {
        world.publish(&format!("e{n}"), &[a]);
    }
    for n in (1..=200).filter(|n| *n != 20) {
        world.settle(settle(a, n, Seq(n), Outcome::Done));
    }
    // Looks at the first events and stops at the open one: a clean close has folded them.
    world.reopen();
    world.pass_and_maintain(Duration::from_hours(2));
    let replay = |seqs: Vec<Seq>| Change::Replay(Replay { subscription: a, seqs, generation: 1 });
    world.apply(replay(Vec::new()));
    world.apply(replay((1..10).map(Seq).collect()));
    world.settle(settle(a, 20, Seq(20), Outcome::Done));

    for _ in 0..3 {
        world.pass_and_maintain(Duration::from_hours(2));
    }

    let queued = world.reader().queue(a, Ordinal(0), 99).unwrap();
    assert_eq!(queued.iter().map(|queued| queued.seq.0).collect::<Vec<_>>(), (1..10).collect::<Vec<_>>());
    world.finish();
}

#[test]
fn after_a_failure_nothing_is_taken_any_more() {
    let engine = OnDisk::new(32 << 20, 64 << 10);
    let mut store = open(&engine).unwrap();
    let now = Timestamp(1_800_000_000_000);
    store.stage(now, &mut vec![Change::Publish(vec![routed("e1", &[])])]).unwrap();
    store.shared.fail(StoreError::io("sync", "journal", &std::io::Error::other("no")));

    assert!(matches!(store.sync(), Err(StoreError::Poisoned { .. })));
    assert!(matches!(store.stage(now, &mut Vec::new()), Err(StoreError::Poisoned { .. })));
    assert!(matches!(store.maintain(now), Err(StoreError::Poisoned { .. })));
    assert!(matches!(Box::new(store).close(), Err(StoreError::Poisoned { .. })));
}

/// A payload that is damaged on disk keeps its own delayed event back, and nothing that is not packed with it.
#[test]
fn a_delayed_event_that_cannot_be_read_stays_delayed_and_holds_up_nobody() {
    let mut engine = OnDisk::new(1, 64 << 10);
    let dir = engine.dir.path().to_owned();
    let mut world = World::new(&mut engine);
    let a = world.subscribe("a");
    let due = Some(world.now.plus_millis(1_000));
    let delayed = |id: &str| Routed { due, ..routed(id, &[a]) };
    for id in ["needle-in-the-journal", "e2", "e3"] {
        world.publish_all(vec![delayed(id)]);
    }
    // An older segment is not read again at a start.
    for n in 0..3 {
        let mut large = crate::store::conformance::envelope(&format!("large{n}"));
        let mut noise = vec![0; 40_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        large.data = noise.into();
        world.publish_all(vec![Routed::new(large.into(), vec![])]);
    }
    world.reopen();
    let segment = files(&dir.join("journal"), "").into_iter().min().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let needle = b"\"needle-in-the-journal\"";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at + 3] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let now = world.now.plus_millis(1_000);
    let mut released = (1..=2).map(|seq| Change::Release(Seq(seq))).collect();
    let receipts = world.store().stage(now, &mut released).unwrap();
    world.store().sync().unwrap();

    assert!(matches!(receipts[0], Receipt::Unreadable { .. }), "{receipts:?}");
    assert!(matches!(receipts[1], Receipt::Applied { .. }), "{receipts:?}");
    assert_eq!((world.queue(a), world.reader().stats().delayed), (vec![1], 2));
    world.crash();
    assert_eq!(world.reader().due(now, 9).unwrap().0, [Seq(1), Seq(3)]);
    let cancelled = Change::Reschedule { seq: Seq(1), due: None, reason: String::new() };
    assert!(matches!(world.apply(cancelled), Receipt::Applied { .. }), "a person can still take it back");
}

#[test]
fn what_was_staged_and_not_synced_leaves_no_trace_after_a_crash() {
    let engine = OnDisk::new(32 << 20, 64 << 10);
    let now = Timestamp(1_800_000_000_000);
    let mut store = open(&engine).unwrap();
    store.stage(now, &mut vec![Change::Publish(vec![routed("e1", &[])])]).unwrap();
    store.sync().unwrap();
    store.stage(now, &mut vec![Change::Publish(vec![routed("e2", &[])])]).unwrap();
    assert!(store.reader().envelope(Seq(2)).unwrap().is_some(), "readers see it at once");
    drop(store);

    let store = open(&engine).unwrap();

    assert_eq!((store.reader().stats().events, store.reader().staged()), (1, Commit(1)));
}
