//! A commit that does not end is told by `/ready`, the metrics and the log, and no longer once it has ended.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tidegate::Registry;
use tidegate::bus::Readiness;
use tidegate::clock::Clock;
use tidegate::config::Settings;
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::http::{self, Door, Durability};
use tidegate::runtime::Running;
use tidegate::store::{
    Change, Commit, Features, MemoryStore, Reader, Receipt, Store, StoreError, StoreSettings,
};

/// Whether syncs hang.
#[derive(Debug, Default)]
struct Disk {
    is_stuck: Mutex<bool>,
    /// Commits that were begun.
    begun: AtomicU64,
    bell: Condvar,
}

impl Disk {
    fn stick(&self, is_stuck: bool) {
        *self.is_stuck.lock().unwrap() = is_stuck;
        self.bell.notify_all();
    }
}

/// Lets the disk answer at the end of a test, also of one that fails: a bus that ends waits for its disk.
struct Freed(Arc<Disk>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.stick(false);
    }
}

/// The engine in memory on a disk that can be made to hang.
struct Hanging(MemoryStore, Arc<Disk>);

impl Store for Hanging {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.0.stage(now, changes)
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        let stuck = self.1.is_stuck.lock().unwrap();
        self.1.begun.fetch_add(1, Ordering::AcqRel);
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

fn start(disk: &Arc<Disk>, stall_after: Duration) -> Running {
    let mut settings = Settings::default();
    settings.bus.stall_after = stall_after;
    let store = Hanging(MemoryStore::new(&StoreSettings::default()).unwrap(), Arc::clone(disk));
    tidegate::runtime::start_on(Box::new(store), &settings, Registry::default(), &Clock::wall()).unwrap()
}

/// Publishes on a thread of its own, which ends with the answer.
fn publish(running: &Running) -> std::thread::JoinHandle<usize> {
    let bus = running.bus().clone();
    let draft = Draft::json(EventName::new("order.placed").unwrap(), Bytes::from_static(b"{}"));
    std::thread::spawn(move || {
        let waiter = tokio::runtime::Builder::new_current_thread().build().unwrap();
        waiter.block_on(bus.publish(vec![draft])).unwrap().len()
    })
}

/// Opens the door of a bus, on a thread that ends with the tests.
fn open_door(running: &Running) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let with = http::Settings { workers: Some(1), ..http::Settings::default() };
    let (metrics, counters) = (Arc::new(running.metrics()), running.counters());
    let door = Door::new(running.bus().clone(), Durability::Memory, metrics, counters, with);
    std::thread::spawn(move || {
        actix::System::new().block_on(async move { http::serve(listener, door).unwrap().await }).unwrap();
    });
    address
}

/// The status and the body of `/ready`.
fn ready(address: SocketAddr) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("http://{address}/ready")).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

#[test]
fn a_commit_that_does_not_end_is_told_until_it_has_ended() {
    let disk = Arc::new(Disk::default());
    let running = start(&disk, Duration::from_millis(50));
    let _freed = Freed(Arc::clone(&disk));
    let (bus, metrics, door) = (running.bus().clone(), running.metrics(), open_door(&running));
    let stalled = || {
        let text = metrics();
        let line = text.lines().find(|line| line.starts_with("tidegate_commit_stalled_seconds")).unwrap();
        line.split(' ').next_back().unwrap() != "0"
    };
    assert!(bus.stalled().is_none() && !stalled());
    assert_eq!(ready(door).0, 200);

    disk.stick(true);
    let publishing = publish(&running);
    until(&disk, "the stall is told", || bus.stalled().is_some());
    assert!(stalled());
    let (status, body) = ready(door);
    assert!(status == 503 && body.contains("the disk does not answer"), "{status}: {body}");
    // It may answer yet: nothing is refused for it.
    assert_eq!(bus.readiness(), Readiness::Ready);

    disk.stick(false);
    assert_eq!(publishing.join().unwrap(), 1);
    until(&disk, "the end of the stall is told", || bus.stalled().is_none());
    assert!(!stalled());
    assert_eq!(ready(door).0, 200);
    running.shut_down(Duration::ZERO).unwrap();
}

#[test]
fn a_commit_that_is_under_way_for_less_than_was_set_is_no_stall() {
    let disk = Arc::new(Disk::default());
    let running = start(&disk, Duration::from_hours(1));
    let _freed = Freed(Arc::clone(&disk));
    let before = disk.begun.load(Ordering::Acquire);

    disk.stick(true);
    let publishing = publish(&running);
    until(&disk, "it is under way", || disk.begun.load(Ordering::Acquire) > before);

    assert_eq!(running.bus().stalled(), None);
    disk.stick(false);
    assert_eq!(publishing.join().unwrap(), 1);
    running.shut_down(Duration::ZERO).unwrap();
}
