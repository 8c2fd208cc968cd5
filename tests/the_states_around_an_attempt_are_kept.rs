//! Promise: a subscription with `keep_states` shows for each attempt the state before and after it; others keep
//! nothing, and it can be turned on and off while the bus runs.
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
use serde_json::{Value, json};
use tidegate::StepError;
use tidegate::testing::Harness;

/// Per attempt: what came of it, and the states before and after it.
fn attempts(h: &Harness, flow: &str, with_state: bool) -> Vec<(String, Value)> {
    let bus = h.bus();
    let flow =
        if with_state { h.wait_for(bus.flow_with_state(flow)) } else { h.wait_for(bus.flow(flow)) }.unwrap();
    let history = &flow.events[0].deliveries[0].history;
    history
        .iter()
        .map(|attempt| (attempt.outcome.clone(), serde_json::to_value(&attempt.states).unwrap()))
        .collect()
}

fn around(before: &Value, after: &Value) -> Value {
    json!({"before": before, "after": after})
}

#[test]
fn each_attempt_shows_the_state_before_and_after_it() {
    let (steps, _) =
        work(
            |job, cx| {
                if job.n == 2 && cx.attempt() == 1 { Err(StepError::retry("not yet")) } else { Ok(()) }
            },
        );
    let mut h = Harness::new(steps, &wired("keep_states = true"));
    let first = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    let second = h.publish("job.given", job(2, "a"));
    h.advance(Duration::from_mins(1));
    h.publish("job.given", job(3, "a"));
    h.run_until_idle();
    h.restart();

    let one = json!({"count": 1, "sum": 1});
    let of_first = [("done".to_owned(), around(&Value::Null, &one))];
    assert_eq!(attempts(&h, &first.flow, true), of_first);
    let of_second = [
        ("retry".to_owned(), around(&one, &one)),
        ("done".to_owned(), around(&one, &json!({"count": 2, "sum": 3}))),
    ];
    assert_eq!(attempts(&h, &second.flow, true), of_second, "as it was then, and not as it is now");
    assert_eq!(attempts(&h, &first.flow, false), [("done".to_owned(), Value::Null)], "only when asked for");
}

#[test]
fn it_is_turned_on_and_off_by_a_reload() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    let mut flows = Vec::new();
    for (n, more) in ["", "keep_states = true", ""].into_iter().enumerate() {
        h.reload(&wired(more));
        flows.push(h.publish("job.given", job(n as u64, "a")).flow.clone());
        h.run_until_idle();
    }

    let kept: Vec<bool> = flows.iter().map(|flow| !attempts(&h, flow, true)[0].1.is_null()).collect();

    assert_eq!(kept, [false, true, false]);
}
