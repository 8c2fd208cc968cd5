//! Promise: an outage stops a subscription before it uses up anybody's attempts, and lets it go on by itself;
//! events that fail by themselves neither stop the others nor take their permits.
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
use serde_json::Value;
use tidegate::prelude::*;
use tidegate::testing::Harness;

const POLICY: &str = "concurrency = 4\nretry = { max_attempts = 4, backoff = { first = \"1s\", max = \"4s\", jitter = 0.0 } }\nbreaker = { failures = 10, window = \"5s\", probe = \"10s\" }";

/// Every job fails while the switch is on.
fn bank() -> (Registry, kit::Log, Switch) {
    let out = Switch::default();
    let is_out = out.clone();
    let (steps, log) =
        work(move |_, _| if is_out.is_on() { Err(StepError::retry("the bank is out")) } else { Ok(()) });
    (steps, log, out)
}

#[test]
fn an_outage_of_an_hour_costs_no_event_its_life() {
    let (steps, log, out) = bank();
    let mut h = Harness::new(steps, &wired(POLICY));
    out.turn(true);
    for n in 0..100 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }

    h.advance(Duration::from_hours(1));
    let calls = log.all().len();
    assert!(calls < 10 + 4 + 361 + 1, "ten failures, what ran by then, and a try every ten seconds: {calls}");
    assert!(h.dead_letters().is_empty(), "{}", h.timelines());
    let stands = h.subscription("work");
    assert_eq!((stands.state.as_str(), stands.backlog, stands.inflight), ("running", 100, 0));
    let breaker = stands.breaker.expect("it is open");
    assert!(breaker.state == "open" && breaker.until.is_some());

    out.turn(false);
    h.advance(Duration::from_secs(30));
    let stands = h.subscription("work");
    assert_eq!((stands.backlog, stands.dead, stands.breaker), (0, 0, None));
}

#[test]
fn its_opening_and_closing_are_facts_and_metrics() {
    let (steps, _, out) = bank();
    let mut h = Harness::new(steps, &wired(POLICY));
    out.turn(true);
    // What the first outage leaves untried (five at most) is too little to open it again at the restart.
    for n in 0..15 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }
    h.run_until_idle();
    let opened: Vec<Value> = h.emitted("tidegate.breaker.opened");
    assert_eq!((opened.len(), opened[0]["subscription"].as_str()), (1, Some("work")));
    assert!(opened[0]["until"].is_string());
    let running = h.take_running();
    let metrics = running.metrics()();
    assert!(metrics.contains("tidegate_breaker_open{subscription=\"work\"} 1"), "{metrics}");
    drop(running);

    // In memory only: the next start finds it closed, and the outage opens it again.
    h.restart();
    assert_eq!(h.subscription("work").breaker, None);
    h.advance(Duration::from_secs(30));
    assert_eq!(h.events("tidegate.breaker.opened").len(), 2, "one for each outage, not for each try");
    out.turn(false);
    h.advance(Duration::from_secs(30));

    assert_eq!(h.events("tidegate.breaker.closed").len(), 1);
    assert_eq!(h.subscription("work").backlog, 0);
    let metrics = h.take_running().metrics()();
    assert!(metrics.contains("tidegate_breaker_open{subscription=\"work\"} 0"), "{metrics}");
    assert!(metrics.contains("tidegate_breaker_transitions_total{subscription=\"work\",to=\"half_open\"}"));
}

#[test]
fn poison_among_many_that_go_well_opens_nothing() {
    let (steps, log) = work(|job, _| if job.n % 20 == 0 { Err(StepError::retry("poison")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired(POLICY));

    for n in 0..600 {
        h.publish("job.given", job(n, &format!("k{n}")));
        h.advance(Duration::from_millis(100));
    }
    h.advance(Duration::from_mins(1));

    assert_eq!(h.events("tidegate.breaker.opened").len(), 0);
    assert_eq!((h.subscription("work").backlog, h.dead_letters().len()), (0, 30));
    assert_eq!(log.count(20), 4, "poison has all its attempts");
}

#[test]
fn what_fails_for_ever_does_not_take_the_permits_of_the_others() {
    // Five in a hundred fail for ever and are due all the time; each start costs a second of the rate.
    let (steps, log) = work(|job, _| if job.n < 50 { Err(StepError::retry("for ever")) } else { Ok(()) });
    let retry = "retry = { max_attempts = 100000, share = 0.25, backoff = { first = \"10ms\", factor = 1.0, jitter = 0.0 } }";
    let mut h = Harness::new(steps, &wired(&format!("concurrency = 4\nrate = \"100/s\"\n{retry}")));
    for n in 0..1_000 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }

    h.advance(Duration::from_secs(22));

    let done = log.all().iter().filter(|call| call.n >= 50).count();
    assert_eq!(done, 950, "half of the starts are theirs at least");
    assert_eq!(h.subscription("work").backlog, 50);
}
