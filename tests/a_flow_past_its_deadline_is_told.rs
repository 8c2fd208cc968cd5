//! Promise: a flow that began with an event of a deadline and is not at rest by then is marked, and a fact says
//! so, once, over restarts too. A flow that ends in time hears nothing of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use bytes::Bytes;
use kit::{Log, Switch, job, wired, work};
use serde_json::{Value, json};
use tidegate::bus::view::FlowStatus;
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::testing::Harness;

const MINUTE: Duration = Duration::from_mins(1);
const DEADLINE: &str = "[event.\"job.given\"]\ndeadline = \"10m\"\n";

/// A bus whose step fails for as long as the switch is off.
fn harness() -> (Harness, Log, Switch) {
    let switch = Switch::default();
    let is_well = switch.clone();
    let (steps, log) =
        work(move |_, _| if is_well.is_on() { Ok(()) } else { Err(StepError::retry("the bank is away")) });
    let retry = "retry = { backoff = { first = \"1m\", factor = 1.0, jitter = 0.0 }, max_attempts = 1000 }";
    (Harness::new(steps, &(wired(retry) + DEADLINE)), log, switch)
}

fn told(h: &Harness) -> Vec<Value> {
    h.emitted("tidegate.flow.overdue")
}

#[test]
fn an_open_flow_is_marked_at_its_deadline_once_over_restarts_too() {
    let (mut h, _, switch) = harness();
    let deadline = h.clock().now().plus(10 * MINUTE).to_string();
    let accepted = h.publish_as("e1", "job.given", job(1, "a"));
    h.advance(Duration::from_millis(10 * 60_000 - 1));
    h.restart();
    h.run_until_idle();
    let before = h.flow(&accepted.flow);
    assert_eq!((before.deadline.as_ref(), before.overdue), (Some(&deadline), false));
    assert_eq!(told(&h).len(), 0);

    h.advance(Duration::from_millis(1));

    let after = h.flow(&accepted.flow);
    assert_eq!((after.status, after.overdue), (FlowStatus::Processing, true), "marked, and it goes on");
    assert!(after.version > before.version, "watchers are told");
    assert!(h.status("/http", "e1").overdue);
    assert_eq!(told(&h), [json!({ "flow": accepted.flow, "deadline": deadline })]);
    h.restart();
    h.advance(60 * MINUTE);
    assert_eq!(told(&h).len(), 1);
    switch.turn(true);
    h.advance(MINUTE);
    let ended = h.flow(&accepted.flow);
    assert_eq!((ended.status, ended.overdue), (FlowStatus::Done, true), "the mark stays");
}

#[test]
fn what_passes_while_the_bus_is_down_is_marked_when_it_is_back() {
    let (mut h, _, _) = harness();
    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    h.clock().advance(60 * MINUTE);

    h.restart();
    h.run_until_idle();

    assert!(h.flow(&accepted.flow).overdue);
    assert_eq!(told(&h).len(), 1);
}

#[test]
fn a_flow_that_ends_in_time_hears_nothing_of_it() {
    let (mut h, _, switch) = harness();
    switch.turn(true);
    let accepted = h.publish("job.given", job(1, "a"));

    h.advance(60 * MINUTE);

    let flow = h.flow(&accepted.flow);
    assert_eq!((flow.status, flow.overdue, flow.deadline.is_some()), (FlowStatus::Done, false, true));
    assert_eq!(told(&h).len(), 0);
    assert_eq!(h.metric("tidegate_flows_overdue_total"), Some(0.0));
}

/// A flow that waits for a person is open too: that is what a deadline is for.
#[test]
fn a_dead_letter_is_past_its_deadline_as_well() {
    let (steps, _) = work(|_, _| Err(StepError::fatal("no", "never")));
    let mut h = Harness::new(steps, &(wired("") + DEADLINE));
    let accepted = h.publish("job.given", job(1, "a"));

    h.advance(10 * MINUTE);

    let flow = h.flow(&accepted.flow);
    assert_eq!((flow.status, flow.overdue), (FlowStatus::Failed, true));
    assert_eq!(h.metric("tidegate_flows_overdue_total"), Some(1.0));
}

/// The event begins flows when it comes from outside or by a schedule; emitted, it is a part of another flow.
#[test]
fn only_an_event_that_begins_a_flow_gives_it_a_deadline() {
    let (steps, _) = work(|_, _| Ok(()));
    let told_table = "[event.\"job.told\"]\ndeadline = \"1m\"\n";
    let schedule = "[schedule.s]\nevent = \"job.given\"\ncron = \"30 * * * *\"\ndata = { n = 7 }\n";
    let mut h = Harness::new(steps, &(wired("") + DEADLINE + told_table + schedule));
    let own = h.publish("job.given", job(1, "a"));
    let start = h.clock().now();

    h.advance(30 * MINUTE);

    assert_eq!(h.flow(&own.flow).deadline, Some(start.plus(10 * MINUTE).to_string()));
    let scheduled = h.events("job.given").remove(1);
    assert_eq!(h.flow(&scheduled.flow).deadline, Some(start.plus(40 * MINUTE).to_string()));
    assert_eq!(told(&h).len(), 0);
}

/// Who is delayed has its time from when it is due.
#[test]
fn a_delayed_event_has_its_time_from_when_it_is_due() {
    let (mut h, _, switch) = harness();
    switch.turn(true);
    let due = h.clock().now().plus(60 * MINUTE);
    let draft = Draft::json(EventName::new("job.given").unwrap(), Bytes::from(job(1, "a").to_string()));
    let accepted = h.publish_draft(Draft { due: Some(due), ..draft });

    h.advance(65 * MINUTE);

    let flow = h.flow(&accepted.flow);
    assert_eq!((flow.deadline, flow.overdue), (Some(due.plus(10 * MINUTE).to_string()), false));
}

/// Steps can listen: an escalation is a subscription like any other.
#[test]
fn a_step_can_subscribe_to_it() {
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Overdue {
        flow: String,
    }
    impl Event for Overdue {
        const NAME: &'static str = "tidegate.flow.overdue";
    }
    struct Escalate(std::sync::Arc<std::sync::Mutex<Vec<String>>>);
    impl Step for Escalate {
        const NAME: &'static str = "escalate";
        type State = ();
    }
    impl On<Overdue> for Escalate {
        type Emits = ();
        async fn on(&self, event: Overdue, (): &mut (), _: &StepContext) -> Result<(), StepError> {
            self.0.lock().unwrap().push(event.flow);
            Ok(())
        }
    }
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (steps, _) = work(|_, _| Err(StepError::fatal("no", "never")));
    let escalate = "[subscription.escalate]\nstep = \"escalate\"\non = [\"tidegate.flow.overdue\"]\n";
    let steps = steps.step(Escalate(std::sync::Arc::clone(&heard))).on::<Overdue>();
    let mut h = Harness::new(steps, &(wired("") + DEADLINE + escalate));
    let accepted = h.publish("job.given", job(1, "a"));

    h.advance(10 * MINUTE);

    assert_eq!(*heard.lock().unwrap(), std::slice::from_ref(&accepted.flow));
}
