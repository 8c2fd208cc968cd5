//! Promise: a delayed event whose payload is damaged on disk is told and stays delayed; the bus starts, the
//! others that are not packed with it come at their times, and a person can take the damaged one back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kit::{job, wired, work};
use tidegate::bus::Operator;
use tidegate::bus::view::FlowStatus;
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::store::{SledStore, Store as _, StoreSettings};
use tidegate::testing::Harness;

/// When the clock of a harness starts.
const START: Timestamp = Timestamp(1_774_944_000_000);

fn harness(dir: &Path) -> (Harness, kit::Log) {
    let (steps, log) = work(|_, _| Ok(()));
    let settings = tidegate::config::load_text(&wired("")).unwrap().settings;
    (Harness::on_store(steps, settings, Box::new(open(dir))), log)
}

fn open(dir: &Path) -> SledStore {
    let settings = StoreSettings {
        path: dir.to_owned(),
        cache_bytes: 8 << 20,
        segment_bytes: 64 << 10,
        checkpoint_bytes: 1,
        ..StoreSettings::default()
    };
    SledStore::open(settings, START).unwrap()
}

fn publish(h: &mut Harness, n: u64, key: &str, by: Duration) {
    let draft = Draft::json(EventName::new("job.given").unwrap(), Bytes::from(job(n, key).to_string()));
    let due = h.clock().now().plus(by);
    h.publish_draft(Draft { id: Some(format!("e{n}")), due: Some(due), ..draft });
}

/// A text of so many letters in which nothing comes twice, so that it cannot be packed.
fn noise(len: usize) -> String {
    let mut state = 1_u64;
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    (0..len / 8).map(|_| draw()).collect()
}

/// The files of the journal, the oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(dir.join("journal")).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|file| file.extension().is_some_and(|is| is == "journal")).collect();
    files.sort();
    files
}

/// Flips a bit of the first place that holds `needle` in the oldest file of the journal.
fn damage(dir: &Path, needle: &[u8]) {
    let files = segments(dir);
    assert!(files.len() > 1, "the oldest one is not read at a start");
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("the needle");
    bytes[at + 2] ^= 1;
    std::fs::write(&files[0], bytes).unwrap();
}

#[test]
fn the_bus_starts_the_others_come_and_it_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut h, _) = harness(dir.path());
    publish(&mut h, 1, "needle-in-the-journal", Duration::from_mins(1));
    // What is in the newest file is read at a start; older files are not.
    for n in 2..=6 {
        publish(&mut h, n, &noise(2_000 + 20_000 * usize::from(n < 6)), Duration::from_mins(1));
    }
    h.take_running().shut_down(Duration::from_secs(5)).unwrap();
    drop(h);
    // A checkpoint, so that no start has to read the first file again.
    Box::new(open(dir.path())).close().unwrap();
    damage(dir.path(), b"needle-in-the-journal");

    for _ in 0..2 {
        let (mut h, log) = harness(dir.path());
        h.advance(Duration::from_mins(2));

        assert!(!h.has_crashed(), "the store goes on");
        assert_eq!(log.count(1), 0);
        assert_eq!(h.metric("tidegate_delayed"), Some(1.0));
        for n in 2..=6 {
            assert_eq!(h.status("/http", &format!("e{n}")).status, FlowStatus::Done, "{n}");
        }
        let own = h.publish_as("e7", "job.given", job(7, "a"));
        h.run_until_idle();
        h.assert_flow(&own.flow, FlowStatus::Done);
        drop(h);
    }
    let (h, _) = harness(dir.path());
    let status = h.wait_for(h.bus().cancel("/http", "e1", Operator::default())).unwrap();
    assert_eq!((status.status, h.metric("tidegate_delayed")), (FlowStatus::Done, Some(0.0)));
}
