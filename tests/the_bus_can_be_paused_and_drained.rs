//! Promise: the whole bus can be paused: nothing starts, over restarts too, and publishing goes on; a drain waits
//! until nothing runs and says what still does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use kit::{Job, job, wired, work};
use tidegate::bus::Operator;
use tidegate::bus::view::BusView;
use tidegate::prelude::*;
use tidegate::testing::Harness;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "maintenance".to_owned() }
}

fn pause(h: &Harness, paused: bool) -> BusView {
    h.wait_for(h.bus().pause_bus(paused, ann())).unwrap()
}

#[test]
fn paused_it_starts_nothing_and_holds_the_flood() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));

    let paused = pause(&h, true);
    assert_eq!((paused.state.as_str(), paused.paused_by.as_deref()), ("paused", Some("ann")));
    for n in 0..100 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }
    h.restart();
    h.advance(Duration::from_hours(1));
    assert!(log.all().is_empty());
    let stands = h.wait_for(h.bus().bus()).unwrap();
    assert_eq!((stands.state.as_str(), stands.backlog, stands.inflight), ("paused", 100, 0));
    assert_eq!((stands.since, stands.reason.as_deref()), (paused.since, Some("maintenance")));
    assert_eq!(h.subscription("work").state, "paused");

    h.pause("work", true);
    assert_eq!(pause(&h, false).state, "running");
    h.run_until_idle();
    assert!(log.all().is_empty(), "the subscription is paused by itself, too");
    h.pause("work", false);
    h.run_until_idle();

    assert_eq!(log.all().len(), 100);
    assert_eq!(h.subscription("work").state, "running");
    pause(&h, false);
    for fact in ["tidegate.bus.paused", "tidegate.bus.resumed"] {
        assert_eq!(h.events(fact).len(), 1, "{fact}: twice is once");
    }
}

#[test]
fn what_comes_while_a_subscription_is_paused_or_has_many_to_read_is_handled_though_it_is_not_told_of_it() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    let mut published = 0;
    let mut publish = |h: &mut Harness, count: u64| {
        for n in published..published + count {
            h.publish("job.given", job(n, &format!("k{n}")));
        }
        published += count;
    };

    for round in 1..=3 {
        h.pause("work", true);
        publish(&mut h, 1_000);
        h.pause("work", false);
        h.run_until_idle();
        assert_eq!(log.all().len(), round * 5_001 - 4_001, "nothing else has told it");
        h.pause("work", true);
        publish(&mut h, 3_000);
        h.pause("work", false);
        // It reads those that are there, more than it holds at once, and these come meanwhile.
        publish(&mut h, 1_000);
        h.run_until_idle();
        assert_eq!(log.all().len(), round * 5_001 - 1);
        // It has caught up, and is told again.
        publish(&mut h, 1);
        h.run_until_idle();
        assert_eq!(log.all().len(), round * 5_001);
    }
}

/// Says that it runs, and ends when it is told to.
struct Slow(UnboundedSender<u64>, std::sync::Arc<tokio::sync::Notify>);
impl Step for Slow {
    const NAME: &'static str = "work";
    type State = ();
}
impl On<Job> for Slow {
    type Emits = ();
    async fn on(&self, job: Job, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.send(job.n).unwrap();
        self.1.notified().await;
        Ok(())
    }
}

fn slow() -> (Registry, UnboundedReceiver<u64>, std::sync::Arc<tokio::sync::Notify>) {
    let (calls, called) = unbounded_channel();
    let end = std::sync::Arc::new(tokio::sync::Notify::new());
    (Registry::new().step(Slow(calls, std::sync::Arc::clone(&end))).on::<Job>().into(), called, end)
}

#[test]
fn a_drain_says_what_still_runs_and_returns_when_nothing_does() {
    let (steps, mut called, end) = slow();
    let mut h = Harness::new(steps, &wired("concurrency = 1"));
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "b"));
    h.wait_for(called.recv()).unwrap();

    let hasty = h.wait_for(h.bus().drain("work", Duration::ZERO, ann())).unwrap();
    assert_eq!((hasty.state.as_str(), hasty.inflight), ("paused", 1));
    end.notify_one();
    let patient = h.wait_for(h.bus().drain("work", Duration::from_secs(20), ann())).unwrap();
    assert_eq!((patient.inflight, patient.backlog), (0, 1), "what ran has ended, the next has not begun");

    h.pause("work", false);
    h.wait_for(called.recv()).unwrap();
    let hasty = h.wait_for(h.bus().drain_bus(Duration::ZERO, ann())).unwrap();
    assert_eq!((hasty.state.as_str(), hasty.inflight), ("paused", 1));
    end.notify_one();
    let patient = h.wait_for(h.bus().drain_bus(Duration::from_secs(20), ann())).unwrap();
    assert_eq!((patient.inflight, patient.backlog), (0, 0));
}
