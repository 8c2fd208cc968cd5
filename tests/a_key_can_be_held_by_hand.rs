//! Promise: a person parks a key and everything of it waits in order, over restarts too, until a person resumes
//! it; other keys never wait; who did it and why is told.
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
use tidegate::bus::view::{DeliveryStatus, FlowStatus, ParkedKeyView};
use tidegate::bus::{Operator, QueryError};
use tidegate::prelude::*;
use tidegate::testing::Harness;

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "the customer asked".to_owned() }
}

fn park(h: &Harness, key: &str) -> ParkedKeyView {
    h.wait_for(h.bus().park_key("work", key, ann())).unwrap()
}

fn resume(h: &Harness, key: &str) -> Option<ParkedKeyView> {
    h.wait_for(h.bus().resume_key("work", key, ann())).unwrap()
}

fn keys(h: &Harness) -> Vec<ParkedKeyView> {
    h.wait_for(h.bus().parked_keys("work", None, 100)).unwrap().items
}

#[test]
fn everything_of_the_key_waits_in_order_and_over_restarts() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    park(&h, "a/ b");
    let first = h.publish("job.given", job(1, "a/ b"));
    for n in 2..200 {
        h.publish("job.given", job(n, if n % 2 == 0 { "a/ b" } else { "other" }));
    }
    h.run_until_idle();
    assert_eq!((log.of_key("a/ b").len(), log.of_key("other").len()), (0, 99));
    assert_eq!(h.status("/http", &first.id).deliveries[0].state, DeliveryStatus::Parked);
    h.assert_flow(&first.flow, FlowStatus::Failed);

    h.restart();
    h.publish("job.given", job(200, "a/ b"));
    h.advance(Duration::from_hours(1));
    assert_eq!(log.of_key("a/ b").len(), 0);
    let [key] = &keys(&h)[..] else { panic!("{:?}", keys(&h)) };
    assert_eq!((key.key.as_str(), key.by_hand, &key.behind, key.waiting), ("a/ b", true, &None, 101));
    assert_eq!((key.by.as_deref(), key.reason.as_deref()), (Some("ann"), Some("the customer asked")));

    assert_eq!(resume(&h, "a/ b"), None);
    h.run_until_idle();
    let handled = log.of_key("a/ b");
    assert!(handled.len() == 101 && handled.is_sorted(), "{handled:?}");
    assert!(keys(&h).is_empty());
    for (fact, count) in [("tidegate.key.parked", 1), ("tidegate.key.resumed", 1)] {
        let told: Vec<Value> = h.emitted(fact);
        assert_eq!(told.len(), count, "{fact}");
        assert_eq!((told[0]["key"].as_str(), told[0]["by"].as_str()), (Some("a/ b"), Some("ann")));
    }
}

#[test]
fn a_retry_of_the_key_waits_too_and_goes_first() {
    let mended = Switch::default();
    let is_mended = mended.clone();
    let (steps, log) =
        work(
            move |job, _| {
                if job.n == 1 && !is_mended.is_on() { Err(StepError::retry("not yet")) } else { Ok(()) }
            },
        );
    let mut h = Harness::new(steps, &wired(""));
    let first = h.publish("job.given", job(1, ""));
    h.publish("job.given", job(2, ""));
    h.run_until_idle();

    // The empty key is a key.
    park(&h, "");
    park(&h, "");
    assert_eq!(h.events("tidegate.key.parked").len(), 1, "twice is once");
    h.advance(Duration::from_hours(1));
    assert_eq!(log.all().len(), 1);
    assert_eq!(h.status("/http", &first.id).deliveries[0].state, DeliveryStatus::Parked);
    mended.turn(true);
    resume(&h, "");
    h.run_until_idle();

    assert_eq!(log.of_key(""), [1, 1, 2]);
}

#[test]
fn a_key_behind_a_dead_letter_can_be_held_as_well_and_both_have_to_let_go() {
    let (steps, log) =
        work(
            |job, cx| {
                if job.n == 1 && cx.attempt() == 1 { Err(StepError::fatal("no", "no")) } else { Ok(()) }
            },
        );
    let mut h = Harness::new(steps, &wired(""));
    for n in 1..4 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    let letter = h.dead_letters().remove(0).id;
    let [key] = &keys(&h)[..] else { panic!("{:?}", keys(&h)) };
    assert_eq!((key.by_hand, key.behind.as_ref(), key.waiting), (false, Some(&letter), 2));
    let refused = h.wait_for(h.bus().resume_key("work", "a", ann()));
    assert!(matches!(refused, Err(QueryError::Refused { .. })), "{refused:?}");

    park(&h, "a");
    h.retry(&letter);
    h.run_until_idle();
    assert_eq!(log.all().len(), 1, "the hand holds it still");
    assert_eq!(resume(&h, "a"), None);
    h.run_until_idle();
    assert_eq!(log.of_key("a"), [1, 1, 2, 3]);

    let refused = h.wait_for(h.bus().resume_key("work", "a", ann()));
    assert!(matches!(refused, Err(QueryError::Refused { .. })), "nothing is parked: {refused:?}");
}

#[test]
fn where_keys_do_not_order_none_can_be_parked() {
    let (steps, log) = kit_stateless();
    let mut h = Harness::new(steps, &wired("order = \"none\""));

    for (subscription, is_known) in [("work", true), ("other", false)] {
        let refused = h.wait_for(h.bus().park_key(subscription, "a", ann()));
        match refused {
            Err(QueryError::Refused { why }) if is_known => assert!(why.contains("order"), "{why}"),
            Err(QueryError::NotFound { .. }) if !is_known => {}
            other => panic!("{other:?}"),
        }
    }

    h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    assert_eq!(log.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn the_list_has_pages() {
    let (steps, _) = work(|job, _| if job.n < 3 { Err(StepError::fatal("no", "no")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired(""));
    for (n, key) in [(1, "b"), (2, "d")] {
        h.publish("job.given", job(n, key));
    }
    h.run_until_idle();
    for key in ["a", "c", "d", "e"] {
        park(&h, key);
    }

    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = h.wait_for(h.bus().parked_keys("work", cursor, 2)).unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|key| (key.key, key.by_hand, key.behind.is_some())));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected =
        [("a", true, false), ("b", false, true), ("c", true, false), ("d", true, true), ("e", true, false)];
    assert_eq!(seen, expected.map(|(key, hand, behind)| (key.to_owned(), hand, behind)));
}

struct Count(std::sync::Arc<std::sync::atomic::AtomicUsize>);
impl Step for Count {
    const NAME: &'static str = "work";
    type State = ();
}
impl On<kit::Job> for Count {
    type Emits = ();
    async fn on(&self, _: kit::Job, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }
}

fn kit_stateless() -> (Registry, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let count = std::sync::Arc::default();
    (Registry::new().step(Count(std::sync::Arc::clone(&count))).on::<kit::Job>().into(), count)
}
