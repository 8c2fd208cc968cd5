//! Promise: what finds no room on a full disk is not given up and not answered; it is stored when there is room again,
//! and the process lives through it. A bus that is told to end then does end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{Error, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tidegate::Registry;
use tidegate::bus::Readiness;
use tidegate::clock::Clock;
use tidegate::config::Settings;
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::runtime::Running;
use tidegate::store::{
    Change, Commit, Features, MemoryStore, Reader, Receipt, Store, StoreError, StoreSettings,
};

/// Whether the disk is full, and how often that was met.
#[derive(Debug, Default)]
struct Disk {
    is_full: AtomicBool,
    met: AtomicU64,
}

impl Disk {
    fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Release);
    }
}

/// The engine in memory on a disk that can be full.
struct Full(MemoryStore, Arc<Disk>);

impl Store for Full {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.0.stage(now, changes)
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        if self.1.is_full.load(Ordering::Acquire) {
            self.1.met.fetch_add(1, Ordering::AcqRel);
            return Err(StoreError::io("preallocate", "next", &Error::from(ErrorKind::StorageFull)));
        }
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

fn start(disk: &Arc<Disk>) -> Running {
    let mut settings = Settings::default();
    settings.bus.stall_after = Duration::from_millis(500);
    let store = Full(MemoryStore::new(&StoreSettings::default()).unwrap(), Arc::clone(disk));
    tidegate::runtime::start_on(Box::new(store), &settings, Registry::default(), &Clock::wall()).unwrap()
}

/// Publishes on a thread of its own; whether it was stored.
fn publish(running: &Running) -> JoinHandle<bool> {
    let bus = running.bus().clone();
    let draft = Draft::json(EventName::new("order.placed").unwrap(), Bytes::from_static(b"{}"));
    std::thread::spawn(move || {
        let waiter = tokio::runtime::Builder::new_current_thread().build().unwrap();
        waiter.block_on(bus.publish(vec![draft])).is_ok()
    })
}

/// Waits until the disk was found full so many times more.
fn until_met_again(disk: &Disk, times: u64) {
    let wanted = disk.met.load(Ordering::Acquire) + times;
    let patience = Duration::from_millis(2);
    for _ in 0..10_000 {
        if disk.met.load(Ordering::Acquire) >= wanted {
            return;
        }
        std::thread::park_timeout(patience);
    }
    panic!("nobody looks for room any more");
}

#[test]
fn what_finds_no_room_waits_for_it_in_its_order_and_the_process_lives() {
    let disk = Arc::new(Disk::default());
    let running = start(&disk);

    disk.fill(true);
    let first = publish(&running);
    until_met_again(&disk, 2);
    let second = publish(&running);
    // Longer than the disk may take for a commit: it is room that is missing, and the disk answers.
    until_met_again(&disk, 15);

    assert!(!first.is_finished() && !second.is_finished());
    assert_eq!((running.bus().readiness(), running.bus().stalled()), (Readiness::Ready, None));
    disk.fill(false);
    assert!(first.join().unwrap() && second.join().unwrap());
    running.shut_down(Duration::ZERO).unwrap();
}

#[test]
fn a_bus_that_is_told_to_end_does_not_wait_for_room() {
    let disk = Arc::new(Disk::default());
    let running = start(&disk);
    disk.fill(true);
    let unanswered = publish(&running);
    until_met_again(&disk, 2);

    let ended = running.shut_down(Duration::ZERO);

    assert!(ended.is_err_and(|error| error.is_disk_full()));
    assert!(!unanswered.join().unwrap(), "it is not stored, and nobody says that it is");
}
