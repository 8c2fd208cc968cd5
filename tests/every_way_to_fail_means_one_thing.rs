//! Promise: each `StepError` says what happens next; a panic and a time-out are failed attempts, and neither
//! reaches another subscription.
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

const FAST: &str =
    "retry = { max_attempts = 3, backoff = { first = \"1s\", factor = 1.0, max = \"1s\", jitter = 0.0 } }";

#[test]
fn a_fatal_error_is_a_dead_letter_at_once() {
    let (steps, log) = work(|_, _| Err(StepError::fatal("stolen", "the card is stolen")));
    let mut h = Harness::new(steps, &wired(FAST));

    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));

    assert_eq!(log.count(1), 1);
    let letter = &h.dead_letters()[0];
    assert_eq!((letter.reason.as_str(), letter.attempts), ("fatal", 1));
    assert_eq!(letter.error, "fatal (stolen): the card is stolen");
}

#[test]
fn a_payload_that_does_not_decode_is_dead_as_such_and_runs_no_code() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(FAST));

    h.publish("job.given", json!({"n": "many"}));
    h.advance(Duration::from_mins(1));

    assert!(log.all().is_empty());
    let letter = &h.dead_letters()[0];
    assert_eq!(letter.reason, "undecodable");
    assert!(letter.error.contains('n'), "{}", letter.error);
}

#[test]
fn the_wait_a_step_asks_for_takes_the_place_of_the_backoff() {
    let (steps, log) = work(|_, cx| {
        if cx.attempt() == 1 { Err(StepError::retry_after(Duration::from_secs(40), "later")) } else { Ok(()) }
    });
    let mut h = Harness::new(steps, &wired(FAST));

    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_millis(39_999));
    assert_eq!(log.count(1), 1);
    h.advance(Duration::from_millis(1));

    assert_eq!(log.count(1), 2);
}

#[test]
fn a_snooze_counts_against_nothing() {
    let (steps, log) =
        work(
            |_, cx| {
                if cx.attempt() <= 10 { Err(StepError::snooze(Duration::from_secs(5))) } else { Ok(()) }
            },
        );
    let mut h = Harness::new(steps, &wired(FAST));

    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    assert_eq!(h.status("/http", &accepted.id).deliveries[0].state, DeliveryStatus::Waiting);
    h.advance(Duration::from_secs(50));

    assert_eq!(log.count(1), 11, "max_attempts is 3");
    h.assert_flow(&accepted.flow, FlowStatus::Done);
}

#[test]
fn a_skip_is_settled_with_its_reason_and_leaves_the_state_alone() {
    let (steps, _) = work(|_, _| Err(StepError::skip("not mine")));
    let mut h = Harness::new(steps, &wired(FAST));

    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let flow = h.flow(&accepted.flow);
    assert_eq!(flow.status, FlowStatus::Done);
    let delivery = &flow.events[0].deliveries[0];
    assert_eq!(delivery.state, DeliveryStatus::Skipped);
    assert_eq!(delivery.history[0].error.as_deref(), Some("not mine"));
    assert_eq!(h.state("work", "a"), json!(null));
    h.assert_not_emitted("job.told");
}

#[derive(Serialize, Deserialize)]
struct Bomb {
    n: u64,
}
impl Event for Bomb {
    const NAME: &'static str = "bomb.laid";
}
struct Burst;
impl Step for Burst {
    const NAME: &'static str = "burst";
    type State = ();
}
impl On<Bomb> for Burst {
    type Emits = ();
    async fn on(&self, bomb: Bomb, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        if bomb.n.is_multiple_of(2) {
            tokio::task::yield_now().await;
        }
        panic!("bomb {}", bomb.n);
    }
}

#[test]
fn a_thousand_panics_end_only_their_attempts() {
    std::panic::set_hook(Box::new(|_| ()));
    let (steps, log) = work(|_, _| Ok(()));
    let registry = steps.step(Burst).on::<Bomb>();
    let burst = "[subscription.burst]\nstep = \"burst\"\non = [\"bomb.laid\"]\norder = \"none\"\nretry = { max_attempts = 2, backoff = { first = \"1s\", jitter = 0.0 } }\n";
    let mut h = Harness::new(registry, &(wired("") + burst));

    for n in 0..500 {
        h.publish("bomb.laid", json!({"n": n}));
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    assert_eq!(log.all().len(), 500, "the other subscription is through while the bombs still wait");
    h.advance(Duration::from_mins(1));

    let letters = h.dead_letters();
    assert_eq!(letters.len(), 500);
    assert!(letters.iter().all(|letter| letter.attempts == 2 && letter.reason == "attempts"));
    assert!(letters.iter().all(|letter| letter.error.starts_with("the step panicked: bomb")));
    assert_eq!(h.subscription("burst").state, "running");
}

struct Hang;
impl Step for Hang {
    const NAME: &'static str = "hang";
    type State = ();
}
impl On<Bomb> for Hang {
    type Emits = ();
    async fn on(&self, _: Bomb, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        if cx.attempt() == 1 {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[test]
fn an_attempt_that_hangs_times_out_and_is_tried_again() {
    let wiring = "[subscription.hang]\nstep = \"hang\"\non = [\"bomb.laid\"]\ntimeout = \"50ms\"\n";
    let mut h = Harness::new(Registry::new().step(Hang).on::<Bomb>(), wiring);

    let accepted = h.publish("bomb.laid", json!({"n": 1}));
    h.run_until_idle();
    let delivery = h.status("/http", &accepted.id).deliveries.remove(0);
    assert_eq!(delivery.state, DeliveryStatus::Waiting);
    assert!(delivery.error.unwrap().contains("timed out"));
    h.advance(Duration::from_mins(1));

    h.assert_flow(&accepted.flow, FlowStatus::Done);
}

#[test]
fn one_poison_event_in_ten_thousand_is_tried_as_often_as_it_may_be() {
    let (steps, log) = work(|job, _| if job.n == 5_000 { Err(StepError::retry("poison")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired("retry = { max_attempts = 4 }"));

    for first in (0..10_000_u64).step_by(1_000) {
        let name = || tidegate::event::EventName::new("job.given").unwrap();
        let draft = |n: u64| {
            let data = job(n, &format!("k{}", n % 100)).to_string().into_bytes().into();
            tidegate::event::Draft::json(name(), data)
        };
        h.wait_for(h.bus().publish((first..first + 1_000).map(draft).collect())).unwrap();
    }
    // Not so long that what was done expires while it is looked at.
    h.advance(Duration::from_hours(12));

    assert_eq!(log.count(5_000), 4);
    let letters = h.dead_letters();
    assert_eq!((letters.len(), letters[0].attempts), (1, 4));
    // Ninety-nine keys are through; of the hundredth what came before.
    assert_eq!(h.emitted::<kit::Told>("job.told").len(), 9_900 + 50);
    assert_eq!(log.of_key("k0").len(), 50 + 4);
}
