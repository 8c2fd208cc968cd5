//! A commit that does not end is told by `/ready`, the metrics and the log, and no longer once it has ended.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidegate::Registry;
use tidegate::bus::Readiness;
use tidegate::clock::Clock;
use tidegate::config::Settings;
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::store::{
    Change, Commit, Features, MemoryStore, Reader, Receipt, Store, StoreError, StoreSettings,
};

/// Whether syncs hang.
#[derive(Debug, Default)]
struct Disk {
    is_stuck: Mutex<bool>,
    bell: Condvar,
}

impl Disk {
    fn stick(&self, is_stuck: bool) {
        *self.is_stuck.lock().unwrap() = is_stuck;
        self.bell.notify_all();
    }
}

/// The engine in memory on a disk that can be made to hang.
struct Hanging(MemoryStore, Arc<Disk>);

impl Store for Hanging {
    fn stage(&mut self, now: Timestamp, changes: Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.0.stage(now, changes)
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        let stuck = self.1.is_stuck.lock().unwrap();
        drop(self.1.bell.wait_while(stuck, |is_stuck| *is_stuck).unwrap());
        self.0.sync()
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.0.maintain(now)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.0.reader()
    }

    fn features(&self) -> Features {
        self.0.features()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Box::new(self.0).close()
    }
}

/// Looks again and again, by the disk's own bell as a pause, until it is so.
fn until(disk: &Disk, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        let guard = disk.is_stuck.lock().unwrap();
        drop(disk.bell.wait_timeout(guard, Duration::from_millis(5)).unwrap());
    }
    panic!("never: {what}");
}

#[test]
fn a_commit_that_does_not_end_is_told_until_it_has_ended() {
    let mut settings = Settings::default();
    settings.bus.stall_after = Duration::from_millis(50);
    let disk = Arc::new(Disk::default());
    let store = Hanging(MemoryStore::new(&StoreSettings::default()).unwrap(), Arc::clone(&disk));
    let running =
        tidegate::runtime::start_on(Box::new(store), &settings, Registry::default(), &Clock::wall()).unwrap();
    let (bus, metrics) = (running.bus().clone(), running.metrics());
    let stalled = || {
        let text = metrics();
        let line = text.lines().find(|line| line.starts_with("tidegate_commit_stalled_seconds")).unwrap();
        line.split(' ').next_back().unwrap() != "0"
    };
    assert!(bus.stalled().is_none() && !stalled());

    disk.stick(true);
    let draft = Draft::json(EventName::new("order.placed").unwrap(), Bytes::from_static(b"{}"));
    let publishing = std::thread::spawn({
        let bus = bus.clone();
        move || {
            tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(bus.publish(vec![draft]))
        }
    });
    until(&disk, "the stall is told", || bus.stalled().is_some());
    assert!(stalled());
    // It may answer yet: nothing is refused for it.
    assert_eq!(bus.readiness(), Readiness::Ready);

    disk.stick(false);
    assert_eq!(publishing.join().unwrap().unwrap().len(), 1);
    until(&disk, "the end of the stall is told", || bus.stalled().is_none());
    assert!(!stalled());
    running.shut_down(Duration::ZERO).unwrap();
}
