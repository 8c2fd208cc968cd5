//! Promise: when more waits for the disk than the configured limit, publishing is refused, nothing of what is
//! refused is stored, what was accepted is all there, and later publishing works.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use kit::{job, wired, work};
use tidegate::bus::PublishError;
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::store::{
    Change, Commit, Features, MemoryStore, Reader, Receipt, Store, StoreError, StoreSettings,
};
use tidegate::testing::Harness;

/// A store whose disk stands still until it is let go on.
struct Slow {
    inner: MemoryStore,
    is_stuck: Arc<Mutex<bool>>,
    entered: Sender<()>,
    go: Receiver<()>,
}

impl Store for Slow {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.inner.stage(now, changes)
    }
    fn sync(&mut self) -> Result<Commit, StoreError> {
        if *self.is_stuck.lock().unwrap() {
            self.entered.send(()).unwrap();
            self.go.recv().unwrap();
        }
        self.inner.sync()
    }
    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.maintain(now)
    }
    fn reader(&self) -> Arc<dyn Reader> {
        self.inner.reader()
    }
    fn features(&self) -> Features {
        self.inner.features()
    }
    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn draft(n: u64) -> Draft {
    let name = EventName::new("job.given").unwrap();
    Draft { id: Some(format!("e{n}")), ..Draft::json(name, job(n, "a").to_string().into_bytes().into()) }
}

fn stuck(steps: tidegate::Registry) -> (Harness, Arc<Mutex<bool>>, Receiver<()>, Sender<()>) {
    let (entered, has_entered) = channel();
    let (let_go, go) = channel();
    let is_stuck = Arc::new(Mutex::new(false));
    let inner = MemoryStore::new(&StoreSettings::default()).unwrap();
    let store = Slow { inner, is_stuck: Arc::clone(&is_stuck), entered, go };
    let mut settings = tidegate::config::load_text(&wired("")).unwrap().settings;
    settings.bus.queue_events = 4;
    let h = Harness::on_store(steps, settings, Box::new(store));
    *is_stuck.lock().unwrap() = true;
    (h, is_stuck, has_entered, let_go)
}

#[test]
fn a_full_queue_refuses_and_takes_again() {
    let (steps, log) = work(|_, _| Ok(()));
    let (mut h, is_stuck, has_entered, let_go) = stuck(steps);
    let bus = h.bus().clone();
    let (refuse, was_refused) = channel();
    let first = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let publish = |n: u64| {
            let (bus, refuse) = (&bus, &refuse);
            async move {
                let answer = bus.publish(vec![draft(n)]).await;
                answer.inspect_err(|_| refuse.send(n).unwrap())
            }
        };
        runtime.block_on(futures_util::future::join_all((0..10).map(publish)))
    });

    // The disk stands still until the six are refused.
    (0..6).for_each(|_| assert!(was_refused.recv().unwrap() < 10));
    has_entered.recv().unwrap();
    *is_stuck.lock().unwrap() = false;
    let_go.send(()).unwrap();
    let answers = first.join().unwrap();
    h.run_until_idle();

    let refused = |answer: &Result<_, PublishError>| matches!(answer, Err(PublishError::Saturated { .. }));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 4);
    assert_eq!(answers.iter().filter(|answer| refused(answer)).count(), 6);
    assert_eq!(log.all().len(), 4, "of what was refused nothing is stored");
    h.publish_draft(draft(9));
    h.run_until_idle();
    assert_eq!(log.count(9), 1);
}

#[test]
fn a_publisher_who_hangs_up_keeps_his_room_until_his_event_is_through() {
    let (steps, log) = work(|_, _| Ok(()));
    let (mut h, is_stuck, has_entered, let_go) = stuck(steps);

    // Four times: hand in, then hang up.
    for n in 0..4 {
        let bus = h.bus().clone();
        h.wait_for(async move {
            assert!(Box::pin(bus.publish(vec![draft(n)])).now_or_never().is_none());
        });
    }
    has_entered.recv().unwrap();
    let bus = h.bus().clone();
    let fifth = h.wait_for(async move { Box::pin(bus.publish(vec![draft(5)])).now_or_never() });
    *is_stuck.lock().unwrap() = false;
    let_go.send(()).unwrap();
    h.run_until_idle();

    assert!(matches!(fifth, Some(Err(PublishError::Saturated { .. }))), "{fifth:?}");
    assert_eq!(log.all().len(), 4, "what was handed in is done, answered or not");
    h.publish_draft(draft(6));
}
