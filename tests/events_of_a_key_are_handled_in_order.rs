//! Promise: per subscription and key one event at a time, in the order of acknowledgement, whatever fails;
//! other keys are not held up.
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

use std::time::Duration;

use kit::{Dice, job, wired, work};
use tidegate::prelude::*;
use tidegate::testing::Harness;

const POLICY: &str = "concurrency = 8\nretry = { max_attempts = 50, backoff = { first = \"1s\", factor = 1.5, max = \"5s\", jitter = 0.5 } }";

fn with_failures(seed: u64, policy: &str, is_restarted: bool) {
    println!("seed {seed}");
    let (steps, log) = work(move |job, cx| {
        let mut dice = Dice(seed ^ job.n << 8 ^ u64::from(cx.attempt()));
        dice.roll(2);
        if dice.roll(10) < 3 { Err(StepError::retry("bad luck")) } else { Ok(()) }
    });
    let mut h = Harness::new(steps, &wired(policy));
    h.shuffle(seed);
    let mut dice = Dice(seed);
    let mut published: Vec<(u64, String)> = Vec::new();

    for n in 0..2_000 {
        let key = format!("k{}", dice.roll(20));
        h.publish("job.given", job(n, &key));
        published.push((n, key));
        if n % 500 == 250 {
            h.advance(Duration::from_secs(1));
        }
        if n == 1_000 && is_restarted {
            h.restart();
        }
    }
    // Long enough for all of them, and not so long that what was done first expires while it is looked at.
    h.advance(Duration::from_hours(12));

    assert_eq!(h.emitted::<kit::Told>("job.told").len(), 2_000);
    for k in 0..20 {
        let key = format!("k{k}");
        let wanted: Vec<u64> = published.iter().filter(|(_, of)| *of == key).map(|(n, _)| *n).collect();
        // Each is called until it succeeds, and the next one only then.
        let mut called = log.of_key(&key);
        called.dedup();
        assert_eq!(called, wanted, "key {key}, seed {seed}");
        let told = h.emitted::<kit::Told>("job.told").into_iter().filter(|told| told.key == key);
        assert_eq!(told.map(|told| told.n).collect::<Vec<_>>(), wanted, "key {key}, seed {seed}");
    }
}

#[test]
fn under_random_failures() {
    with_failures(7, POLICY, false);
}

#[test]
fn with_a_step_that_may_run_ahead_too() {
    with_failures(11, &format!("{POLICY}\npure = true"), false);
}

#[test]
fn over_a_restart() {
    with_failures(7, POLICY, true);
}

#[test]
fn a_key_that_waits_holds_up_no_other() {
    let (steps, log) =
        work(|job, _| if job.key == "stuck" { Err(StepError::retry("stuck")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired("concurrency = 1"));

    for n in 0..50 {
        h.publish("job.given", job(n, if n % 2 == 0 { "stuck" } else { "free" }));
    }
    h.run_until_idle();

    assert_eq!(log.of_key("free").len(), 25);
    assert_eq!(log.of_key("stuck"), [0]);
}
