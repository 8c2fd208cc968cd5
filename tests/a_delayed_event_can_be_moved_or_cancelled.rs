//! Promise: until it is due, a delayed event can be moved to any time or taken back by its id; whoever is told
//! "done" can rely on it, over a restart too. It holds up nothing else, and counting such events costs nothing.
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
use kit::{Log, job, wired, work};
use serde_json::json;
use tidegate::bus::view::{DeliveryStatus, FlowStatus, StatusView};
use tidegate::bus::{Operator, QueryError};
use tidegate::event::{Draft, EventName};
use tidegate::testing::Harness;

const SECOND: Duration = Duration::from_secs(1);

fn harness() -> (Harness, Log) {
    let (steps, log) = work(|_, _| Ok(()));
    (Harness::new(steps, &wired("")), log)
}

fn delayed(h: &mut Harness, n: u64, key: &str, by: Duration) -> tidegate::bus::Accepted {
    let due = h.clock().now().plus(by);
    let data = Bytes::from(job(n, key).to_string());
    let draft = Draft::json(EventName::new("job.given").unwrap(), data);
    h.publish_draft(Draft { id: Some(format!("e{n}")), due: Some(due), ..draft })
}

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "wrong day".to_owned() }
}

fn cancel(h: &Harness, n: u64) -> Result<StatusView, QueryError> {
    h.wait_for(h.bus().cancel("/http", &format!("e{n}"), ann()))
}

fn reschedule(h: &Harness, n: u64, by: Duration) -> Result<StatusView, QueryError> {
    let due = h.clock().now().plus(by);
    h.wait_for(h.bus().reschedule("/http", &format!("e{n}"), due, ann()))
}

#[test]
fn a_cancelled_event_never_comes_and_its_flow_rests() {
    let (mut h, log) = harness();
    let accepted = delayed(&mut h, 1, "a", 100 * SECOND);

    let status = cancel(&h, 1).unwrap();

    assert_eq!((status.status, status.open), (FlowStatus::Done, 0));
    h.restart();
    h.advance(200 * SECOND);
    assert_eq!(log.count(1), 0);
    let delivery = &h.flow(&accepted.flow).events[0].deliveries[0];
    assert_eq!((delivery.state, &*delivery.history[0].outcome), (DeliveryStatus::Skipped, "cancelled"));
    assert_eq!(delivery.history[0].error.as_deref(), Some("wrong day"));
    let fact = h.assert_emitted("tidegate.event.cancelled");
    assert_eq!((&fact["by"], &fact["reason"]), (&json!("ann"), &json!("wrong day")));
    assert_eq!((&fact["event"], &fact["source"]), (&json!("e1"), &json!("/http")));
    h.assert_not_emitted("job.told");
}

#[test]
fn a_moved_event_comes_at_its_new_time_and_only_then() {
    let (mut h, log) = harness();
    let start = h.clock().now().0;
    for n in 1..=3 {
        delayed(&mut h, n, "a", 100 * SECOND);
    }

    reschedule(&h, 1, 10 * SECOND).unwrap();
    reschedule(&h, 2, 1_000 * SECOND).unwrap();
    reschedule(&h, 3, Duration::from_hours(24 * 365 * 50)).unwrap();
    h.advance(50 * SECOND);
    h.restart();
    h.advance(2_000 * SECOND);

    let times: Vec<(u64, u64)> = log.all().iter().map(|call| (call.n, (call.at - start) / 1_000)).collect();
    assert_eq!(times, [(1, 10), (2, 1_000)]);
    let fact = h.assert_emitted("tidegate.event.rescheduled");
    assert!(fact["due"].as_str().unwrap().ends_with('Z'), "{fact}");
    h.advance(Duration::from_hours(24 * 365 * 50));
    assert_eq!(log.count(3), 1);
}

#[test]
fn a_time_that_has_passed_means_at_once() {
    let (mut h, log) = harness();
    delayed(&mut h, 1, "a", 100 * SECOND);

    let past = tidegate::event::Timestamp(1);
    h.wait_for(h.bus().reschedule("/http", "e1", past, ann())).unwrap();
    h.run_until_idle();

    assert_eq!(log.count(1), 1);
}

#[test]
fn what_was_released_is_refused_and_what_was_never_there_is_not_found() {
    let (mut h, log) = harness();
    delayed(&mut h, 1, "a", SECOND);
    h.advance(SECOND);
    assert_eq!(log.count(1), 1);

    for answer in [cancel(&h, 1), reschedule(&h, 1, SECOND)] {
        assert!(matches!(answer, Err(QueryError::Refused { .. })), "{answer:?}");
    }
    assert!(matches!(cancel(&h, 9), Err(QueryError::NotFound { .. })));
    delayed(&mut h, 2, "a", SECOND);
    cancel(&h, 2).unwrap();
    assert!(matches!(cancel(&h, 2), Err(QueryError::Refused { .. })), "taken back once");
    assert_eq!(h.events("tidegate.event.cancelled").len(), 1, "no fact of what did not happen");
    h.assert_not_emitted("tidegate.event.rescheduled");
}

/// A delayed event stands in nobody's way before it is due, not even of its own key.
#[test]
fn a_delayed_event_does_not_delay_the_others_of_its_key() {
    let (mut h, log) = harness();
    delayed(&mut h, 1, "a", 100 * SECOND);
    for n in 2..=5 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    assert_eq!(log.of_key("a"), [2, 3, 4, 5]);

    h.advance(100 * SECOND);

    assert_eq!(log.of_key("a"), [2, 3, 4, 5, 1], "behind what came in between");
}

/// The count is a figure that is kept, so asking for it costs the same however many there are.
#[test]
fn many_delayed_events_are_counted_without_looking_at_them() {
    let (mut h, _) = harness();
    let due = h.clock().now().plus(100 * SECOND);
    let drafts = |from: u64| {
        let draft = |n: u64| {
            let data = Bytes::from(job(n, "a").to_string());
            let draft = Draft::json(EventName::new("job.given").unwrap(), data);
            Draft { id: Some(format!("e{n}")), due: Some(due.plus_millis(n)), ..draft }
        };
        (from..from + 1_000).map(draft).collect::<Vec<_>>()
    };
    let delayed = |h: &Harness| h.metric("tidegate_delayed");
    let time = |h: &Harness| {
        let watch = tidegate::clock::Stopwatch::start();
        for _ in 0..50 {
            delayed(h);
        }
        watch.elapsed()
    };
    h.wait_for(h.bus().publish(drafts(0))).unwrap();
    let few = time(&h);
    for thousand in 1..20 {
        h.wait_for(h.bus().publish(drafts(thousand * 1_000))).unwrap();
    }

    let many = time(&h);

    assert_eq!(delayed(&h), Some(20_000.0));
    assert!(many < few * 5 + Duration::from_millis(50), "twenty times as many: {few:?}, {many:?}");
    cancel(&h, 7).unwrap();
    reschedule(&h, 8, Duration::ZERO).unwrap();
    h.run_until_idle();
    assert_eq!(delayed(&h), Some(19_998.0));
    h.restart();
    assert_eq!(delayed(&h), Some(19_998.0));
}
