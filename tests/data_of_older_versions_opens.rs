//! Data folders that other versions have written open, and hold what was in them.
//!
//! `tests/fixtures/data-vN` was left by a crash in the middle of a checkpoint: journal, mark and fold file are there, sled is
//! still empty. `data-vN-ended`, from version 2 on, was ended in order: all of it stands in sled. Each was written by the last
//! build of its version (`src/store/sled/fixture_tests.rs`); the zeros at the end of sled's file were cut off.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, which says where it is")]

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tidegate::event::{Identity, Timestamp};
use tidegate::store::{
    Change, DeliveryState, EventQuery, FlowQuery, Lookup, Ordinal, PendingState, Progress, Reader, Receipt,
    Routed, Seq, SledStore, Standing, Store, StoreSettings, SubscriptionId, verify_folder,
};

const A: SubscriptionId = SubscriptionId(1);
const NOW: Timestamp = Timestamp(1_800_000_000_000);
/// sled's file grows by so many bytes.
const SLED_SEGMENT: u64 = 8 << 20;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn fixture(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), dir.path());
    if let Ok(db) = std::fs::File::options().write(true).open(dir.path().join("sled/db")) {
        db.set_len(db.metadata().unwrap().len().next_multiple_of(SLED_SEGMENT)).unwrap();
    }
    dir
}

fn newest() -> u32 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let names = root.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_prefix("data-v")?.parse().ok()).max().unwrap()
}

fn open(dir: &Path) -> SledStore {
    let settings = StoreSettings { path: dir.to_owned(), cache_bytes: 8 << 20, ..StoreSettings::default() };
    SledStore::open(settings, NOW).unwrap()
}

/// Opens the folder, and opens it again after an ordered end; each time `check` looks. Nothing was taken for damage, and the
/// tool that looks at everything finds nothing wrong.
fn opens(name: &str, check: impl Fn(&dyn Reader)) {
    println!("{name}");
    let dir = fixture(name);
    for _ in 0..2 {
        let store = open(dir.path());
        check(&*store.reader());
        Box::new(store).close().unwrap();
    }
    let names = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("damaged")), "{names:?}");
    let scratch = tempfile::tempdir().unwrap();
    let report = verify_folder(dir.path(), scratch.path(), &Progress::default()).unwrap();
    assert!(report.clean, "{report:?}");

    goes_on(&dir);
}

/// A repeat of what is stored is known, and a new event is taken, listed and found again.
fn goes_on(dir: &TempDir) {
    let mut store = open(dir.path());
    let reader = store.reader();
    let known = reader.envelope(Seq(2)).unwrap().unwrap();
    let mut new = (*known).clone();
    (new.id, new.flow) = ("new".to_owned(), "flow-new".to_owned());
    let events = [known, Arc::new(new)].map(|event| Routed::new(event, vec![A]));

    let receipts = store.stage(NOW, &mut vec![Change::Publish(events.to_vec())]).unwrap();

    let published = receipts.iter().flat_map(|receipt| {
        if let Receipt::Published { events, .. } = receipt { events.as_slice() } else { &[] }
    });
    let seqs: Vec<_> = published.map(|event| (event.seq, event.replayed)).collect();
    let last = Seq(reader.stats().events);
    assert_eq!(seqs, [(Seq(2), true), (last, false)]);
    store.sync().unwrap();
    assert_eq!(by_key(&*reader, 1), [last.0]);
    assert_eq!(flows(&*reader, Standing::Open).first().unwrap(), "flow-new");
}

fn ready(reader: &dyn Reader) -> Vec<u64> {
    reader.queue(A, Ordinal(0), 999).unwrap().iter().map(|queued| queued.ordinal.0).collect()
}

fn pending(reader: &dyn Reader) -> Vec<(u64, PendingState)> {
    reader.pending(A, Ordinal(0), 99).unwrap().iter().map(|row| (row.ordinal.0, row.state)).collect()
}

/// The newest events of the key that all events have.
fn by_key(reader: &dyn Reader, limit: usize) -> Vec<u64> {
    let query = EventQuery { key: Some("k".to_owned()), ..EventQuery::default() };
    let found = reader.find_events(&query, None, limit).unwrap();
    found.items.iter().map(|found| found.event.seq.0).collect()
}

fn flows(reader: &dyn Reader, standing: Standing) -> Vec<String> {
    let query = FlowQuery { standing: Some(standing), ..FlowQuery::default() };
    let found = reader.find_flows(&query, None, 999).unwrap();
    found.items.into_iter().map(|found| found.flow).collect()
}

/// The flow of each event is its own.
fn flow_names(seqs: impl Iterator<Item = u64>) -> Vec<String> {
    seqs.map(|seq| format!("flow-e{seq}")).collect()
}

/// Whether the version packs groups and has ids that spell bytes; its fixtures have both.
const fn packs(version: u32) -> bool {
    version >= 6
}

/// What an event was caused by, as the fixtures of such a version have it.
fn check_causation(version: u32, reader: &dyn Reader, seq: u64) {
    let spelled = match seq {
        _ if !packs(version) => None,
        even if even.is_multiple_of(2) => Some(format!("{even:032x}")),
        odd => Some(format!("00000000-0000-7000-8000-{odd:012x}")),
    };
    assert_eq!(reader.event(Seq(seq)).unwrap().unwrap().causation, spelled);
    assert_eq!(reader.envelope(Seq(seq)).unwrap().unwrap().causation, spelled);
}

/// Whether a record of the fixture's journal is packed.
fn is_packed(name: &str) -> bool {
    let dir = fixture(name);
    let files = dir.path().join("journal").read_dir().unwrap().map(|file| file.unwrap().path());
    files.into_iter().any(|file| std::fs::read(file).unwrap().windows(4).any(|word| word == b"TGcp"))
}

#[test]
fn a_checkpoint_that_any_version_has_broken_off_is_taken_up_again() {
    for version in 1..=newest() {
        assert_eq!(is_packed(&format!("data-v{version}")), packs(version));
        opens(&format!("data-v{version}"), |reader| {
            assert_eq!(reader.stats().events, 21);
            assert_eq!(ready(reader), (7..=21).collect::<Vec<_>>());
            assert_eq!(
                pending(reader),
                [(4, PendingState::Dead { parks: true }), (5, PendingState::Deferred)]
            );
            assert_eq!(reader.state(A, "k").unwrap().unwrap(), "{\"n\":6}");
            let event = reader.event(Seq(1)).unwrap().unwrap();
            assert_eq!((event.id.as_str(), &event.deliveries[0].state), ("e1", &DeliveryState::Done));
            assert_eq!(reader.envelope(Seq(21)).unwrap().unwrap().data, "\"e21\"");
            (1..=20).for_each(|seq| check_causation(version, reader, seq));
            assert_eq!(reader.flow("flow-e4").unwrap().unwrap().dead, 1);
            assert_eq!(flows(reader, Standing::Dead), ["flow-e4"]);
            let open = (4..=21).rev().filter(|seq| *seq != 6);
            assert_eq!(flows(reader, Standing::Open), flow_names(open));
            // Version 1 had no lists: what its journal still tells of is listed, and no more.
            if version > 1 {
                assert_eq!(by_key(reader, 999), (1..=21).rev().collect::<Vec<_>>());
            }
        });
    }
}

#[test]
fn a_store_that_any_version_has_ended_in_order_goes_on() {
    for version in 2..=newest() {
        assert_eq!(is_packed(&format!("data-v{version}-ended")), packs(version));
        opens(&format!("data-v{version}-ended"), |reader| {
            assert_eq!(reader.stats().events, 300);
            assert_eq!(ready(reader), (14..=300).collect::<Vec<_>>());
            assert_eq!(
                pending(reader),
                [(11, PendingState::Dead { parks: true }), (12, PendingState::Deferred)]
            );
            assert_eq!(reader.state(A, "k").unwrap().unwrap(), "{\"n\":6}");
            assert_eq!(reader.envelope(Seq(300)).unwrap().unwrap().data, "\"e300\"");
            for seq in [1, 150, 300] {
                check_causation(version, reader, seq);
                let identity = Identity::of("/test", &format!("e{seq}"));
                assert_eq!(reader.find(identity).unwrap(), Lookup::Known(Seq(seq)));
                let flow = reader.flow(&format!("flow-e{seq}")).unwrap().unwrap();
                assert_eq!(flow.events, [Seq(seq)]);
            }
            assert_eq!(flows(reader, Standing::Dead), ["flow-e11"]);
            assert_eq!(flows(reader, Standing::Open), flow_names((11..=300).rev().filter(|seq| *seq != 13)));
            assert_eq!(
                flows(reader, Standing::Rest),
                flow_names((1..=13).rev().filter(|seq| *seq < 11 || *seq == 13))
            );
            // A chunk that is full, and one that is not.
            assert_eq!(by_key(reader, 999), (1..=300).rev().collect::<Vec<_>>());
        });
    }
}
