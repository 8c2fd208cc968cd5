//! Promise: state, emitted events and "done" become durable together; a re-run emits the same events under
//! the same ids and repeats no journaled effect.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::format_collect,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kit::{job, wired, work};
use serde::{Deserialize, Serialize};
use tidegate::bus::PublishError;
use tidegate::bus::view::FlowStatus;
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::testing::{CrashPoint, Harness};

fn crashed(point: CrashPoint) -> (Harness, kit::Log) {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.run_until_idle();
    h.crash_at(point);
    h.publish_as("one", "job.given", job(5, "a"));
    h.run_until_idle();
    assert!(h.has_crashed());
    h.restart();
    h.run_until_idle();
    (h, log)
}

fn assert_once(h: &Harness) {
    assert_eq!(h.emitted::<kit::Told>("job.told").len(), 1);
    assert_eq!(h.state("work", "a"), serde_json::json!({"count": 1, "sum": 5}));
    let status = h.status("/http", "one");
    assert_eq!((status.status, status.open), (FlowStatus::Done, 0));
}

#[test]
fn a_crash_before_the_record_runs_the_step_again_and_emits_once() {
    let (h, log) = crashed(CrashPoint::BeforeSettle("work".to_owned()));

    assert_eq!(log.count(5), 2);
    assert_once(&h);
}

#[test]
fn a_crash_after_the_record_runs_no_code_again() {
    let (h, log) = crashed(CrashPoint::AfterSettle("work".to_owned()));

    assert_eq!(log.count(5), 1);
    assert_once(&h);
}

#[test]
fn a_publisher_who_met_a_crash_publishes_again_and_is_safe() {
    for (point, was_stored) in [(CrashPoint::BeforePublish, false), (CrashPoint::AfterPublish, true)] {
        let (steps, log) = work(|_, _| Ok(()));
        let mut h = Harness::new(steps, &wired(""));
        let data = job(5, "a").to_string().into_bytes().into();
        let draft =
            Draft { id: Some("one".to_owned()), ..Draft::json(EventName::new("job.given").unwrap(), data) };

        h.crash_at(point);
        let lost = h.try_publish(draft.clone());
        assert!(matches!(lost, Err(PublishError::Stopped { .. })), "{lost:?}");
        h.run_until_idle();
        assert!(h.has_crashed());
        h.restart();
        let again = h.publish_draft(draft);
        h.run_until_idle();

        assert_eq!(again.replayed, was_stored);
        assert_eq!(log.count(5), 1);
        assert_once(&h);
    }
}

#[test]
fn each_of_many_that_start_together_finds_the_state_of_its_key() {
    const KEYS: u64 = 100;
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired("concurrency = 200"));
    let publish = |h: &mut Harness, of: &str| {
        h.pause("work", true);
        for n in 0..KEYS {
            h.publish_as(&format!("{of}{n}"), "job.given", job(n, &format!("k{n}")));
        }
        h.pause("work", false);
        h.run_until_idle();
    };
    publish(&mut h, "a");
    // What it has in memory is gone.
    h.restart();
    publish(&mut h, "b");

    assert_eq!(log.all().len() as u64, 2 * KEYS);
    for n in 0..KEYS {
        assert_eq!(h.state("work", &format!("k{n}")), serde_json::json!({"count": 2, "sum": 2 * n}));
    }
}

#[test]
fn attempts_that_run_twice_come_to_the_same_end() {
    let seed = 3;
    println!("seed {seed}");
    let end =
        |percent: u8| {
            let (steps, log) = work(|job, cx| {
                if job.n % 3 == 0 && cx.attempt() == 1 { Err(StepError::retry("first")) } else { Ok(()) }
            });
            let mut h = Harness::new(steps, &wired(""));
            h.duplicate(seed, percent);
            for n in 0..60 {
                h.publish_as(&format!("e{n}"), "job.given", job(n, &format!("k{}", n % 4)));
            }
            h.advance(Duration::from_hours(1));
            let mut ids: Vec<String> = h.events("job.told").iter().map(|event| event.id.clone()).collect();
            ids.sort();
            let states: Vec<_> = (0..4).map(|k| h.state("work", &format!("k{k}"))).collect();
            (ids, states, log.all().len())
        };

    let (once, twice) = (end(0), end(100));

    assert_eq!((&once.0, &once.1), (&twice.0, &twice.1));
    assert_eq!(once.0.len(), 60);
    assert_eq!(twice.2, once.2 * 2);
}

#[derive(Serialize, Deserialize)]
struct Bill {
    n: u64,
}
impl Event for Bill {
    const NAME: &'static str = "bill.sent";
}

struct Charge(Arc<AtomicU32>);
impl Step for Charge {
    const NAME: &'static str = "charge";
    type State = ();
}
impl On<Bill> for Charge {
    type Emits = ();
    async fn on(&self, _: Bill, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        let charged = async { Ok::<u32, StepError>(self.0.fetch_add(1, Ordering::SeqCst)) };
        let receipt = cx.run("charge", charged).await?;
        if cx.attempt() < 3 {
            return Err(StepError::retry("after the charge"));
        }
        cx.resolve(&receipt)
    }
}

#[test]
fn a_journaled_effect_is_repeated_by_no_retry_and_no_crash() {
    let charges = Arc::new(AtomicU32::new(0));
    let steps = Registry::new().step(Charge(Arc::clone(&charges))).on::<Bill>();
    let mut h = Harness::new(steps, "[subscription.charge]\nstep = \"charge\"\non = [\"bill.sent\"]\n");
    h.run_until_idle();

    h.crash_at(CrashPoint::BeforeSettle("charge".to_owned()));
    let accepted = h.publish("bill.sent", serde_json::json!({"n": 1}));
    h.run_until_idle();
    h.restart();
    h.advance(Duration::from_hours(1));

    assert_eq!(charges.load(Ordering::SeqCst), 1);
    h.assert_flow(&accepted.flow, FlowStatus::Done);
    assert_eq!(h.flow(&accepted.flow).result.unwrap().get(), "0");
}
