//! Promise: what has failed as often as a lowered `max_attempts` allows becomes a visible dead letter at once, not
//! when its next attempt is due, and without one.
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
use tidegate::prelude::*;
use tidegate::testing::Harness;

fn policy(max_attempts: u32) -> String {
    wired(&format!(
        "retry = {{ max_attempts = {max_attempts}, backoff = {{ first = \"1s\", factor = 60.0, max = \"24h\", jitter = 0.0 }} }}"
    ))
}

fn failing() -> (Registry, kit::Log) {
    work(|job, _| if job.n < 10 { Err(StepError::retry("stuck")) } else { Ok(()) })
}

#[test]
fn at_a_start_what_is_over_the_limit_is_told_and_runs_no_more() {
    let (steps, log) = failing();
    let mut h = Harness::new(steps, &policy(12));
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(10, "a"));
    h.advance(Duration::from_secs(70));
    h.publish("job.given", job(2, "b"));
    h.run_until_idle();
    assert_eq!((log.count(1), log.count(2)), (3, 1));
    assert!(h.dead_letters().is_empty());

    let (steps, again) = failing();
    h.rewire(steps, &policy(3));
    h.run_until_idle();

    let [letter] = &h.dead_letters()[..] else { panic!("{}", h.timelines()) };
    assert_eq!((letter.reason.as_str(), letter.key.as_str()), ("attempts", "a"));
    assert!(letter.error.contains("3 attempts have failed, and max_attempts is 3 now"), "{}", letter.error);
    assert!(letter.history.iter().any(|attempt| attempt.error.as_deref() == Some("stuck")));
    assert!(again.all().is_empty(), "none of them has run");
    assert_eq!(h.subscription("work").backlog, 2, "the one behind it waits, the other for its time");

    let letter = letter.id.clone();
    h.skip(&letter);
    h.run_until_idle();
    assert_eq!(again.of_key("a"), [10]);
}
