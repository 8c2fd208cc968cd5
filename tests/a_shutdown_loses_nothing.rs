//! Promise: a shutdown refuses publishers, lets running attempts end, counts what it interrupts as nothing,
//! and loses nothing acknowledged.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::{Job, Log, job};
use tidegate::bus::PublishError;
use tidegate::bus::view::FlowStatus;
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::testing::Harness;
use tokio::sync::Semaphore;

struct Gate {
    log: Log,
    started: Arc<Semaphore>,
    open: Arc<Semaphore>,
}
impl Step for Gate {
    const NAME: &'static str = "gate";
    type State = ();
}
impl On<Job> for Gate {
    type Emits = ();
    async fn on(&self, job: Job, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        self.log.note(&job, cx);
        self.started.add_permits(1);
        if job.key == "heeds" {
            tokio::select! {
                () = cx.cancelled() => return Err(StepError::retry("cut off")),
                passed = self.open.acquire() => drop(passed),
            }
        } else {
            drop(self.open.acquire().await);
        }
        Ok(())
    }
}

fn gated() -> (Harness, Log, Arc<Semaphore>, Arc<Semaphore>) {
    let (log, started, open) = (Log::default(), Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gate = Gate { log: log.clone(), started: Arc::clone(&started), open: Arc::clone(&open) };
    let wiring = "[subscription.gate]\nstep = \"gate\"\non = [\"job.given\"]\nretry = { max_attempts = 1 }\n";
    (Harness::new(Registry::new().step(gate).on::<Job>(), wiring), log, started, open)
}

#[test]
fn an_attempt_that_ends_in_time_is_recorded() {
    let (mut h, log, started, open) = gated();
    let accepted = h.publish("job.given", job(1, "a"));
    h.wait_for(async { started.acquire().await.unwrap().forget() });

    let bus = h.bus().clone();
    let running = h.take_running();
    let ending = std::thread::spawn(move || running.shut_down(Duration::from_secs(30)));
    h.wait_for(async {
        while bus.readiness() == tidegate::bus::Readiness::Ready {
            tokio::task::yield_now().await;
        }
    });
    let draft =
        Draft::json(EventName::new("job.given").unwrap(), job(2, "a").to_string().into_bytes().into());
    let refused = h.wait_for(bus.publish(vec![draft]));
    open.add_permits(1_000);
    ending.join().unwrap().unwrap();
    h.restart();
    h.run_until_idle();

    assert!(matches!(refused, Err(PublishError::Draining)), "{refused:?}");
    assert_eq!(log.all().len(), 1);
    h.assert_flow(&accepted.flow, FlowStatus::Done);
}

#[test]
fn an_attempt_that_is_cut_off_counts_as_nothing() {
    for key in ["deaf", "heeds"] {
        let (mut h, log, started, open) = gated();
        let accepted = h.publish("job.given", job(1, key));
        h.publish("job.given", job(2, key));
        h.wait_for(async { started.acquire().await.unwrap().forget() });

        h.take_running().shut_down(Duration::ZERO).unwrap();
        open.add_permits(1_000);
        h.restart();
        h.run_until_idle();

        assert_eq!(log.of_key(key), [1, 1, 2], "{key}");
        assert!(log.all().iter().all(|call| call.attempt == 1), "{key}: {:?}", log.all());
        h.assert_flow(&accepted.flow, FlowStatus::Done);
        assert!(h.dead_letters().is_empty(), "{key}");
    }
}
