//! Promise: `After(duration, event)` comes at its time and not before, also over a restart, and until then its
//! flow is open. The test clock passes through every due time on its way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use kit::{job, wired, work};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::bus::view::{DeliveryStatus, FlowStatus};
use tidegate::prelude::*;
use tidegate::testing::Harness;

#[derive(Serialize, Deserialize)]
struct Wish {
    seconds: Vec<u64>,
}
impl Event for Wish {
    const NAME: &'static str = "wish.made";
}
struct Remind;
impl Step for Remind {
    const NAME: &'static str = "remind";
    type State = ();
}
impl On<Wish> for Remind {
    type Emits = Vec<After<kit::Job>>;
    async fn on(&self, wish: Wish, (): &mut (), _: &StepContext) -> Result<Self::Emits, StepError> {
        let job = |s: u64| kit::Job { n: s, key: "a".to_owned() };
        Ok(wish.seconds.into_iter().map(|s| After(Duration::from_secs(s), job(s))).collect())
    }
}

fn harness() -> (Harness, kit::Log) {
    let (steps, log) = work(|_, _| Ok(()));
    let wiring = wired("") + "[subscription.remind]\nstep = \"remind\"\non = [\"wish.made\"]\n";
    (Harness::new(steps.step(Remind).on::<Wish>(), &wiring), log)
}

#[test]
fn it_is_open_and_waits_until_then_over_a_restart_too() {
    let (mut h, log) = harness();
    let accepted = h.publish("wish.made", json!({"seconds": [100]}));
    h.run_until_idle();

    h.advance(Duration::from_millis(99_999));
    h.restart();
    h.run_until_idle();
    assert_eq!(log.count(100), 0);
    let flow = h.flow(&accepted.flow);
    assert_eq!((flow.status, flow.open), (FlowStatus::Processing, 1));
    assert_eq!(flow.events[1].deliveries[0].state, DeliveryStatus::Waiting);

    h.advance(Duration::from_millis(1));
    assert_eq!(log.count(100), 1);
    h.assert_flow(&accepted.flow, FlowStatus::Done);
}

#[test]
fn each_comes_at_its_own_time_however_far_the_clock_is_moved() {
    let (mut h, log) = harness();
    let start = h.clock().now().0;
    h.publish("wish.made", json!({"seconds": [30, 10, 20]}));

    h.advance(Duration::from_hours(1));

    let times: Vec<(u64, u64)> = log.all().iter().map(|call| (call.n, (call.at - start) / 1_000)).collect();
    assert_eq!(times, [(10, 10), (20, 20), (30, 30)]);
}

#[test]
fn ten_thousand_at_one_instant_come_once_each() {
    let (mut h, log) = harness();
    for _ in 0..10 {
        h.publish("wish.made", json!({"seconds": vec![60; 1_000]}));
    }
    h.advance(Duration::from_secs(59));
    assert_eq!(log.all().len(), 0);

    h.advance(Duration::from_secs(1));

    assert_eq!(log.all().len(), 10_000);
}

#[test]
fn retries_of_retries_come_at_their_own_times() {
    let (steps, log) = work(|_, cx| if cx.attempt() < 5 { Err(StepError::retry("again")) } else { Ok(()) });
    let mut h =
        Harness::new(steps, &wired("retry = { backoff = { first = \"1s\", factor = 2.0, jitter = 0.0 } }"));
    let start = h.clock().now().0;
    h.publish("job.given", job(1, "a"));

    h.advance(Duration::from_hours(1));

    let times: Vec<u64> = log.all().iter().map(|call| (call.at - start) / 1_000).collect();
    assert_eq!(times, [0, 1, 3, 7, 15]);
    assert_eq!(h.clock().now().0 - start, 3_600_000);
}
