//! Data folders written by older versions open, and hold what was in them.
//!
//! `tests/fixtures/data-v1` was left by a crash in the middle of a checkpoint: journal, mark and fold
//! file are there, sled is still empty.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use tidegate::event::Timestamp;
use tidegate::store::{
    DeliveryState, Ordinal, PendingState, Seq, SledStore, Store, StoreSettings, SubscriptionId,
};

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

#[test]
fn version_1_opens_and_holds_what_was_in_it() {
    let dir = tempfile::tempdir().unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data-v1"), dir.path());
    let settings =
        StoreSettings { path: dir.path().to_owned(), cache_bytes: 8 << 20, ..StoreSettings::default() };

    let store = SledStore::open(settings.clone(), Timestamp(1_800_000_000_000)).unwrap();

    let check = |store: &SledStore| {
        let (reader, a) = (store.reader(), SubscriptionId(1));
        assert_eq!(reader.stats().events, 21);
        let ready: Vec<u64> =
            reader.queue(a, Ordinal(0), 99).unwrap().iter().map(|queued| queued.ordinal.0).collect();
        assert_eq!(ready, (7..=21).collect::<Vec<_>>());
        let pending = reader.pending(a, Ordinal(0), 99).unwrap();
        let told: Vec<_> = pending.iter().map(|row| (row.ordinal.0, row.state)).collect();
        assert_eq!(told, [(4, PendingState::Dead { parks: true }), (5, PendingState::Deferred)]);
        assert_eq!(reader.state(a, "k").unwrap().unwrap(), "{\"n\":6}");
        let event = reader.event(Seq(1)).unwrap().unwrap();
        assert_eq!((event.id.as_str(), &event.deliveries[0].state), ("e1", &DeliveryState::Done));
        assert_eq!(reader.envelope(Seq(21)).unwrap().unwrap().data, "\"e21\"");
        assert_eq!(reader.flow("flow-e4").unwrap().unwrap().dead, 1);
    };
    check(&store);
    Box::new(store).close().unwrap();
    assert!(
        dir.path().read_dir().unwrap().all(|entry| !entry
            .unwrap()
            .path()
            .to_string_lossy()
            .contains("damaged"))
    );
    check(&SledStore::open(settings, Timestamp(1_800_000_000_000)).unwrap());
}
