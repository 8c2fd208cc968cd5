//! Promise: the same (source, id) with the same body is one event and is answered the same; with another
//! body it is refused, and nothing is stored.
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
use serde_json::Value;
use tidegate::bus::PublishError;
use tidegate::event::{Draft, EventName};
use tidegate::testing::Harness;

fn draft(id: &str, data: &Value) -> Draft {
    let name = EventName::new("job.given").unwrap();
    Draft { id: Some(id.to_owned()), ..Draft::json(name, data.to_string().into_bytes().into()) }
}

#[test]
fn a_repeat_gets_the_same_answer_and_is_marked() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));

    let first = h.publish_as("one", "job.given", job(1, "a"));
    h.run_until_idle();
    h.advance(Duration::from_hours(1));
    h.restart();
    let again = h.publish_as("one", "job.given", job(1, "a"));
    h.run_until_idle();

    assert!(!first.replayed && again.replayed);
    assert_eq!(
        (first.id.clone(), first.flow.clone(), first.source.clone()),
        (again.id.clone(), again.flow.clone(), again.source.clone())
    );
    assert_eq!(h.events("job.given").len(), 1);
    assert_eq!(log.count(1), 1);
}

#[test]
fn the_same_id_from_another_source_is_another_event() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));

    h.publish_draft(draft("one", &job(1, "a")));
    let other = h.publish_draft(Draft { source: "/elsewhere".to_owned(), ..draft("one", &job(1, "a")) });
    h.run_until_idle();

    assert!(!other.replayed);
    assert_eq!(log.count(1), 2);
}

#[test]
fn another_body_is_refused_and_nothing_of_its_batch_is_stored() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish_draft(draft("one", &job(1, "a")));

    let batch = vec![draft("two", &job(2, "a")), draft("one", &job(9, "a")), draft("three", &job(3, "a"))];
    let refused = h.wait_for(h.bus().publish(batch));
    h.run_until_idle();

    assert!(
        matches!(&refused, Err(PublishError::Conflict { index: 1, id, .. }) if id == "one"),
        "{refused:?}"
    );
    assert_eq!(h.events("job.given").len(), 1);
    assert_eq!(log.of_key("a"), [1]);
    assert!(h.wait_for(h.bus().status("/http", "two")).is_err(), "its neighbours are free to be published");
}

#[test]
fn one_id_twice_in_a_batch_is_one_event_or_a_conflict() {
    let (steps, log) = work(|_, _| Ok(()));
    let h = Harness::new(steps, &wired(""));

    let twins =
        h.wait_for(h.bus().publish(vec![draft("one", &job(1, "a")), draft("one", &job(1, "a"))])).unwrap();
    let torn = h.wait_for(h.bus().publish(vec![draft("two", &job(2, "a")), draft("two", &job(3, "a"))]));
    h.wait_for(async { h.bus().publish(vec![draft("last", &job(4, "a"))]).await }).unwrap();

    assert_eq!(twins.iter().map(|twin| twin.replayed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(twins[0].flow, twins[1].flow);
    assert!(matches!(torn, Err(PublishError::Conflict { index: 1, .. })), "{torn:?}");
    assert_eq!(h.events("job.given").len(), 2);
    drop(log);
}

#[test]
fn of_a_hundred_publishers_of_one_id_one_stores_and_all_are_answered_the_same() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    let bus = h.bus().clone();

    let answers = h.wait_for(futures_util::future::join_all((0..100).map(|_| {
        let bus = bus.clone();
        async move { bus.publish(vec![draft("one", &job(1, "a"))]).await.unwrap().remove(0) }
    })));
    h.run_until_idle();

    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(answers.iter().all(|answer| answer.flow == answers[0].flow && answer.id == "one"));
    assert_eq!(h.events("job.given").len(), 1);
    assert_eq!(log.count(1), 1);
}
