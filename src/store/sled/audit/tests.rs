//! What verification promises: it changes nothing, a sound store is clean, and damage is found and named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::event::Timestamp;
use crate::store::conformance::{Engine, World, dead, routed, settle};
use crate::store::sled::base::SledBase;
use crate::store::{Ordinal, Outcome, Seq, SledStore, Store, StoreSettings};

pub(super) struct OnDisk(tempfile::TempDir);

impl OnDisk {
    pub(super) fn settings(&self) -> StoreSettings {
        StoreSettings {
            path: self.0.path().join("data"),
            cache_bytes: 8 << 20,
            checkpoint_bytes: 64 << 10,
            segment_bytes: 8 << 10,
            status_ttl: Duration::from_hours(1),
            ..StoreSettings::default()
        }
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(super) fn verify(&self) -> Result<VerifyReport, StoreError> {
        let scratch = self.0.path().join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        let report = verify_folder(&self.dir(), &scratch, &Progress::default());
        assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "the copy stays behind");
        report
    }
}

impl Engine for OnDisk {
    fn open(&mut self, _: &StoreSettings) -> Box<dyn Store> {
        Box::new(SledStore::open(self.settings(), Timestamp(1_800_000_000_000)).unwrap())
    }
}

/// A store with settled, open and dead deliveries over several segments; `is_clean`: closed, else as after a crash.
pub(super) fn stopped(is_clean: bool) -> OnDisk {
    let mut engine = OnDisk(tempfile::tempdir().unwrap());
    let dir = engine.dir();
    let mut world = World::new(&mut engine);
    let a = world.subscribe("a");
    for n in 1..=200 {
        world.publish(&format!("e{n}"), &[a]);
    }
    // A group that is packed.
    world.publish_all((201..=300).map(|n| routed(&format!("e{n}"), &[a])).collect());
    for n in 1..=40 {
        world.settle(settle(a, n, Seq(n), Outcome::Done));
    }
    world.settle(settle(a, 41, Seq(41), dead(true)));
    assert!(crate::store::sled::tests::has_packed(&dir));
    let store = world.store.take().unwrap();
    if is_clean {
        store.close().unwrap();
    } else {
        drop(store);
    }
    engine
}

/// A store whose first segments retention has removed.
pub(super) fn shortened() -> OnDisk {
    let mut engine = OnDisk(tempfile::tempdir().unwrap());
    let mut world = World::new(&mut engine);
    let a = world.subscribe("a");
    for n in 1..=200 {
        world.publish(&format!("e{n}"), &[a]);
        world.settle(settle(a, n, Seq(n), Outcome::Done));
    }
    world.publish("open", &[a]);
    world.reopen();
    world.pass_and_maintain(Duration::from_hours(3));
    world.store.take().unwrap().close().unwrap();
    let first = engine.dir().join(format!("journal/{:020}.journal", 1));
    assert!(!first.exists(), "retention has removed it");
    engine
}

/// All files of a folder with what is in them and when they were changed.
fn picture(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(picture(&path));
        } else {
            let changed = path.metadata().unwrap().modified().unwrap();
            files.insert(path.clone(), (std::fs::read(path).unwrap(), changed));
        }
    }
    files
}

pub(super) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(dir.join("journal")).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_store_is_clean_and_nothing_in_it_is_changed() {
    for is_clean in [true, false] {
        let engine = stopped(is_clean);
        let before = picture(&engine.dir());

        let report = engine.verify().unwrap();

        assert!(report.clean, "{report:#?}");
        assert_eq!((report.events, report.payloads, report.deliveries), (300, 300, 260));
        assert!(report.segments > 3 && report.rows > 300, "{report:#?}");
        assert!(picture(&engine.dir()) == before, "verification has changed the folder");
    }
}

#[test]
fn a_store_that_works_is_looked_at_without_being_stopped() {
    let engine = stopped(true);
    let mut store = SledStore::open(engine.settings(), Timestamp(1_800_000_000_000)).unwrap();

    let report = store.tools().unwrap().verify(&Progress::default()).unwrap();

    assert!(report.clean, "{report:#?}");
    assert_eq!((report.events, report.deliveries), (300, 260));
    store.sync().unwrap();
}

#[test]
fn a_folder_in_use_is_refused_and_so_is_one_that_is_none() {
    let engine = stopped(true);
    let store = SledStore::open(engine.settings(), Timestamp(1_800_000_000_000)).unwrap();
    assert!(matches!(engine.verify(), Err(StoreError::Locked { .. })));
    drop(store);

    let empty = tempfile::tempdir().unwrap();
    let none = verify_folder(empty.path(), empty.path(), &Progress::default());
    assert!(matches!(none, Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. })));
}

#[test]
fn damage_in_the_journal_is_named_with_its_place_and_its_events_and_what_is_behind_it_is_read() {
    let engine = stopped(true);
    let second = segments(&engine.dir())[1].clone();
    let bytes = std::fs::read(&second).unwrap();
    // In the source of an event in the middle of it.
    let at = 4_000 + bytes[4_000..].windows(5).position(|bytes| bytes == b"/test").unwrap();
    flip(&second, at);

    let report = engine.verify().unwrap();

    let [finding] = &*report.findings.iter().filter(|one| one.part == "journal").collect::<Vec<_>>() else {
        panic!("{report:#?}")
    };
    assert_eq!(finding.file, second.display().to_string());
    assert!(
        finding.offset.is_some_and(|offset| (at as u64 - 500..=at as u64).contains(&offset)),
        "{finding:#?}"
    );
    assert_eq!(
        (finding.events_total, finding.events[0].source.as_str()),
        (1, finding.events[0].source.as_str()),
        "{finding:#?}"
    );
    assert_eq!(finding.events[0].open, ["a"]);
    assert!(finding.meaning.contains("the data of 1 events is"), "{finding:#?}");
    // With its event all is said of the delivery that needs it.
    assert_eq!(report.findings_total, 1, "{report:#?}");
    assert_eq!(report.payloads, 299);
}

#[test]
fn damage_in_the_very_first_event_is_named_too() {
    let engine = stopped(true);
    let first = segments(&engine.dir())[0].clone();
    let at = std::fs::read(&first).unwrap().windows(5).position(|bytes| bytes == b"/test").unwrap();
    flip(&first, at);

    let report = engine.verify().unwrap();

    assert_eq!((report.findings_total, report.findings[0].events_total), (1, 1), "{report:#?}");
    assert_eq!(report.findings[0].events[0].id, "e1");
}

#[test]
fn a_segment_that_is_gone_is_told_with_its_commits() {
    let engine = stopped(true);
    let (third, fourth) = (segments(&engine.dir())[2].clone(), segments(&engine.dir())[3].clone());
    std::fs::remove_file(&third).unwrap();

    let report = engine.verify().unwrap();

    let number = |path: &Path| {
        path.file_stem().unwrap().to_str().unwrap().trim_start_matches('0').parse::<u64>().unwrap()
    };
    let told = format!("commits {} to {} are in no file", number(&third), number(&fourth) - 1);
    let finding = report
        .findings
        .iter()
        .find(|one| one.problem.starts_with(&told))
        .unwrap_or_else(|| panic!("{report:#?}"));
    assert!(
        finding.events_total > 10 && finding.events.len() as u64 == finding.events_total.min(50),
        "{finding:#?}"
    );
}

#[test]
fn a_lost_row_and_a_wrong_count_are_told() {
    let engine = stopped(true);
    let held = Arc::new(std::fs::File::create(engine.dir().join("lock")).unwrap());
    let base = SledBase::open(&engine.dir().join("sled"), 8 << 20, held).unwrap();
    // The bookkeeping of event 7, and the ready rows' neighbour: a row that says something else.
    base.write(&[&[0x20_u8], 100_u64.to_be_bytes().as_slice()].concat(), None).unwrap();
    base.sync().unwrap();
    drop(base);

    let report = engine.verify().unwrap();

    let told = |text: &str| report.findings.iter().any(|one| one.problem.contains(text));
    assert!(told("table 20 has 299 rows"), "{report:#?}");
    assert!(told("event 100 in subscription \"a\": its event has no bookkeeping"), "{report:#?}");
    assert!(
        told("1 of its events have no bookkeeping")
            || told("an event has no head")
            || report.findings_total >= 2
    );
}

#[test]
fn a_flow_whose_name_is_lost_is_told() {
    let engine = stopped(true);
    let mut store = SledStore::open(engine.settings(), Timestamp(1_800_000_000_000)).unwrap();
    {
        let mut view = store.shared.view_mut().unwrap();
        let names = view.rows().scan(&[0x3C], &[0x3D], usize::MAX).unwrap();
        let fourth = names.into_iter().find(|(_, first)| **first == [4]).unwrap().0;
        view.rows_mut().delete(fourth);
    }
    let report = store.tools().unwrap().verify(&Progress::default()).unwrap();
    drop(store.maintain(Timestamp(1_800_000_000_000)));

    let told = |text: &str| report.findings.iter().any(|one| one.problem.contains(text));
    let flow = crate::store::conformance::envelope("e4").flow.clone();
    assert!(told(&format!("flow {flow:?}: it is not found by its text")), "{report:#?}");
}

#[test]
fn rows_that_contradict_each_other_are_told() {
    let engine = stopped(true);
    let mut store = SledStore::open(engine.settings(), Timestamp(1_800_000_000_000)).unwrap();
    {
        let mut view = store.shared.view_mut().unwrap();
        // A dead letter whose row is gone: the queue has forgotten what the event calls open.
        let gone = [&[0x41_u8, 0, 0, 0, 1], 41_u64.to_be_bytes().as_slice()].concat();
        view.rows_mut().delete(gone);
    }
    let report = store.tools().unwrap().verify(&Progress::default()).unwrap();
    drop(store.maintain(Timestamp(1_800_000_000_000)));

    let told = |text: &str| report.findings.iter().any(|one| one.problem.contains(text));
    assert!(told("event 41: it is open for subscription 1, whose queue does not have it"), "{report:#?}");
    assert!(
        told("subscription \"a\" counts a backlog of 259 and 1 dead letters, its queue has 259 and 0"),
        "{report:#?}"
    );
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_told_and_the_journal_is_read_all_the_same() {
    let engine = stopped(true);
    flip(&engine.dir().join("checkpoint.mark"), 20);
    let report = engine.verify().unwrap();
    assert_eq!((report.findings_total, report.findings[0].part.as_str()), (1, "checkpoint"), "{report:#?}");
    assert!(report.findings[0].remedy.contains("rebuilds it"), "{report:#?}");
    assert_eq!(report.payloads, 300);

    let engine = stopped(true);
    std::fs::remove_dir_all(engine.dir().join("sled")).unwrap();
    let report = engine.verify().unwrap();
    assert_eq!((report.findings_total, report.findings[0].part.as_str()), (1, "checkpoint"), "{report:#?}");
}

#[test]
fn a_newer_format_is_refused_with_the_way_out() {
    let engine = stopped(true);
    let mark = engine.dir().join("checkpoint.mark");
    let mut bytes = std::fs::read(&mark).unwrap();
    bytes[8] = 9;
    let end = bytes.len() - 4;
    let check = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&check.to_le_bytes());
    std::fs::write(&mark, bytes).unwrap();

    let error = engine.verify().unwrap_err();

    assert!(matches!(error, StoreError::Newer { found: 9, .. }));
    assert!(error.to_string().contains("start the version that wrote it"), "{error}");
}

/// Every damage is told, or the store reads the same as before.
#[test]
fn no_flipped_bit_and_no_lost_end_is_passed_over() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut state = seed;
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let sound = stopped(true);
    let queue = |dir: &OnDisk| {
        let store = SledStore::open(dir.settings(), Timestamp(1_800_000_000_000)).ok()?;
        let queued = store.reader().queue(crate::store::SubscriptionId(1), Ordinal(0), 1_000).ok()?;
        Some(queued.iter().map(|queued| (queued.ordinal, queued.event.id.clone())).collect::<Vec<_>>())
    };
    let (mut told, mut harmless) = (0, 0);
    for _ in 0..60 {
        let damaged = OnDisk(tempfile::tempdir().unwrap());
        copy(&sound.dir(), &damaged.dir());
        let files: Vec<PathBuf> =
            picture(&damaged.dir()).into_keys().filter(|path| !path.ends_with("lock")).collect();
        let file = files[draw(files.len())].clone();
        let mut bytes = std::fs::read(&file).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        let at = draw(written);
        match draw(3) {
            0 => bytes[at] ^= 1 << draw(8),
            1 => bytes[at..written.min(at + 4_096)].fill(0),
            _ => bytes.truncate(at),
        }
        std::fs::write(&file, &bytes).unwrap();

        let report = damaged.verify().unwrap();

        if report.clean {
            harmless += 1;
            assert_eq!(
                queue(&damaged).as_deref().map(<[_]>::len),
                queue(&sound).as_deref().map(<[_]>::len),
                "{file:?} at {at}"
            );
        } else {
            told += 1;
        }
    }
    println!("told {told}, harmless {harmless}");
    assert!(told > 20);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { assert!(std::fs::copy(&path, &target).is_ok()) }
    }
}
