//! Promise: a step that fails is retried as its policy says; what fails for good is a dead letter with its
//! reason, attempts, history and error, and a person's act brings it back or lets it go.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use kit::{Switch, job, wired, work};
use tidegate::bus::view::{DeliveryStatus, FlowStatus};
use tidegate::bus::{Operator, QueryError, RepairRequest, When};
use tidegate::prelude::*;
use tidegate::testing::Harness;

const POLICY: &str =
    "retry = { max_attempts = 3, backoff = { first = \"1s\", factor = 2.0, max = \"1m\", jitter = 0.0 } }";

fn skipping() -> String {
    wired(&POLICY.replace("max_attempts = 3", "max_attempts = 3, exhausted = \"skip\""))
}

/// Jobs with a number under ten fail while the switch is off.
fn failing() -> (Registry, kit::Log, Switch) {
    let mended = Switch::default();
    let is_mended = mended.clone();
    let (steps, log) = work(move |job, _| {
        if job.n < 10 && !is_mended.is_on() {
            Err(StepError::retry(format!("job {} is stuck", job.n)))
        } else {
            Ok(())
        }
    });
    (steps, log, mended)
}

#[test]
fn it_is_retried_at_the_times_of_its_policy_and_then_dead() {
    let (steps, log, _) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    let start = h.clock().now().0;

    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    h.assert_flow(&accepted.flow, FlowStatus::Processing);
    h.advance(Duration::from_mins(1));

    let times: Vec<u64> = log.all().iter().map(|call| call.at - start).collect();
    assert_eq!(times, [0, 1_000, 3_000]);
    let [letter] = &h.dead_letters()[..] else { panic!("{}", h.timelines()) };
    assert_eq!((letter.reason.as_str(), letter.attempts, letter.key.as_str()), ("attempts", 3, "a"));
    assert_eq!((letter.error.as_str(), letter.subscription.as_str()), ("job 1 is stuck", "work"));
    assert_eq!((&letter.event, &letter.flow), (&accepted.id, &accepted.flow));
    let outcomes: Vec<_> = letter.history.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["retry", "retry", "dead"]);
    let status = h.status("/http", &accepted.id);
    assert_eq!(
        (status.status, status.open, status.dead),
        (FlowStatus::Failed, 1, 1),
        "a dead letter is open"
    );
    assert_eq!(status.deliveries[0].state, DeliveryStatus::Dead);
    assert_eq!(h.subscription("work").dead, 1);
}

#[test]
fn with_park_the_later_events_of_its_key_wait_in_order_and_no_other_key_does() {
    let (steps, log, mended) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    let first = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    h.advance(Duration::from_mins(1));
    let behind = h.publish("job.given", job(11, "a"));
    let last = h.publish("job.given", job(12, "a"));
    let other = h.publish("job.given", job(13, "b"));
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [1, 1, 1]);
    h.assert_flow(&other.flow, FlowStatus::Done);
    let parked = h.status("/http", &behind.id);
    assert_eq!(parked.deliveries[0].state, DeliveryStatus::Parked);
    assert_eq!(
        (parked.status, parked.open, parked.dead),
        (FlowStatus::Failed, 1, 0),
        "only a person can move it"
    );

    mended.turn(true);
    let letter = h.dead_letters()[0].id.clone();
    h.retry(&letter);
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [1, 1, 1, 1, 11, 12]);
    for flow in [&first.flow, &behind.flow, &last.flow] {
        h.assert_flow(flow, FlowStatus::Done);
    }
    assert_eq!(h.dead_letters().len(), 0);
}

#[test]
fn with_skip_the_key_goes_on() {
    let (steps, log, _) = failing();
    let mut h = Harness::new(steps, &skipping());
    h.publish("job.given", job(1, "a"));
    let second = h.publish("job.given", job(11, "a"));
    h.run_until_idle();
    assert_eq!(log.of_key("a"), [1], "while it is retried its key waits");
    h.advance(Duration::from_mins(1));

    assert_eq!(log.of_key("a"), [1, 1, 1, 11]);
    h.assert_flow(&second.flow, FlowStatus::Done);
    assert_eq!(h.dead_letters().len(), 1);
}

#[test]
fn a_retry_by_hand_counts_afresh_and_is_a_letter_again_when_it_fails_again() {
    let (steps, log, _) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    let accepted = h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    let letter = h.dead_letters()[0].id.clone();

    h.retry(&letter);
    h.assert_flow(&accepted.flow, FlowStatus::Processing);
    h.run_until_idle();
    assert_eq!(log.count(1), 4);
    h.assert_flow(&accepted.flow, FlowStatus::Processing);
    h.advance(Duration::from_mins(1));

    assert_eq!(log.count(1), 6, "three more tries");
    let again = h.dead_letters();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].id.as_str(), again[0].attempts), (letter.as_str(), 6));
    let outcomes: Vec<_> = again[0].history.iter().map(|attempt| attempt.outcome.as_str()).collect();
    assert_eq!(outcomes, ["retry", "retry", "dead", "retried", "retry", "retry", "dead"]);
    h.assert_flow(&accepted.flow, FlowStatus::Failed);
}

#[test]
fn a_skip_by_hand_releases_the_key_and_ends_the_flow() {
    let (steps, log, _) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    let first = h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    h.publish("job.given", job(11, "a"));
    h.publish("job.given", job(12, "a"));
    h.run_until_idle();

    let letter = h.dead_letters()[0].id.clone();
    h.skip(&letter);
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [1, 1, 1, 11, 12]);
    let status = h.status("/http", &first.id);
    assert_eq!((status.status, status.open, status.dead), (FlowStatus::Done, 0, 0));
    assert_eq!(status.deliveries[0].state, DeliveryStatus::Skipped);
    assert_eq!(h.state("work", "a")["sum"], 23, "nothing of the failed attempts is in the state");
}

fn again() -> RepairRequest {
    RepairRequest::Retry { when: When::Now, force: false }
}

#[test]
fn a_letter_is_repaired_once() {
    let (steps, log, mended) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    let letter = h.dead_letters()[0].id.clone();
    mended.turn(true);

    let both = h.wait_for(async {
        let repair = || h.bus().repair(&letter, again(), Operator::default());
        futures_util::future::join(repair(), repair()).await
    });
    h.run_until_idle();

    assert_eq!(log.count(1), 4);
    let refused = [both.0, both.1].into_iter().filter(Result::is_err).count();
    assert_eq!(refused, 1);
    let late = h.wait_for(h.bus().repair(&letter, again(), Operator::default()));
    let Err(QueryError::Refused { why }) = late else { panic!("{late:?}") };
    assert!(why.contains("its delivery is done"), "{why}");
    let unknown = h.wait_for(h.bus().repair("work-99", again(), Operator::default()));
    assert!(matches!(unknown, Err(QueryError::NotFound { .. })), "{unknown:?}");
}

#[test]
fn dead_letters_and_what_waits_behind_them_survive_a_restart() {
    let (steps, log, mended) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    let behind = h.publish("job.given", job(11, "a"));
    h.publish("job.given", job(12, "a"));
    h.run_until_idle();

    h.restart();
    h.run_until_idle();
    h.publish("job.given", job(13, "a"));
    h.run_until_idle();
    assert_eq!(log.of_key("a"), [1, 1, 1]);
    assert_eq!(h.status("/http", &behind.id).deliveries[0].state, DeliveryStatus::Parked);
    mended.turn(true);
    // At once after a start, when the subscription is still reading what was pending.
    h.restart();
    let letter = h.dead_letters()[0].id.clone();
    h.retry(&letter);
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [1, 1, 1, 1, 11, 12, 13]);
    assert_eq!(h.dead_letters().len(), 0);
}

#[test]
fn nothing_overtakes_a_dead_letter_at_a_start() {
    let (steps, log, _) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));

    // Each start is another meeting of the first events with the reading of what was pending.
    for start in 0..40 {
        h.restart();
        for n in 0..=start % 4 {
            h.publish("job.given", job(100 + start * 10 + n, "a"));
        }
        h.run_until_idle();
        assert_eq!(log.of_key("a"), [1, 1, 1], "start {start}");
    }
}

#[test]
fn a_flow_is_accepted_then_processing_then_done_with_its_result() {
    let (steps, _) = work(|job, cx| {
        if cx.attempt() == 1 {
            return Err(StepError::retry("once"));
        }
        cx.resolve(&serde_json::json!({"n": job.n}))
    });
    let mut h = Harness::new(steps, &wired(POLICY));
    h.pause("work", true);

    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    let status = h.status("/http", &accepted.id);
    assert_eq!((status.status, status.open), (FlowStatus::Accepted, 1));
    assert_eq!(status.deliveries[0].state, DeliveryStatus::Ready);

    h.pause("work", false);
    h.run_until_idle();
    let status = h.status("/http", &accepted.id);
    assert_eq!(status.status, FlowStatus::Processing);
    assert_eq!(status.deliveries[0].state, DeliveryStatus::Waiting);
    assert!(status.deliveries[0].due.is_some() && status.result.is_none());

    h.advance(Duration::from_secs(1));
    let status = h.status("/http", &accepted.id);
    assert_eq!((status.status, status.open), (FlowStatus::Done, 0));
    assert_eq!(status.result.unwrap().get(), r#"{"n":1}"#);
}

#[test]
fn a_person_who_hangs_up_has_repaired_all_the_same() {
    let (steps, log, mended) = failing();
    let mut h = Harness::new(steps, &wired(POLICY));
    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    mended.turn(true);
    let letter = h.dead_letters()[0].id.clone();

    // Polled until the change is handed in, then dropped: the answer comes to nobody.
    for polls in 1..50 {
        let bus = h.bus().clone();
        h.wait_for(async {
            let mut repair = Box::pin(bus.repair(&letter, again(), Operator::default()));
            for _ in 0..polls {
                if futures_util::FutureExt::now_or_never(&mut repair).is_some() {
                    break;
                }
                std::thread::yield_now();
            }
        });
        h.run_until_idle();
        if h.dead_letters().is_empty() {
            break;
        }
    }

    // Whether the repair got through before the hanging up is open; that what is on disk is done is not.
    if h.dead_letters().is_empty() {
        assert_eq!(log.count(1), 4, "{}", h.timelines());
    }
}
