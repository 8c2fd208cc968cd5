//! Promise: why an event does not move is told in one sentence with the facts, whatever the cause.
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
use serde_json::{Value, json};
use tidegate::bus::{Cause, CauseView, ExplainView, Operator};
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::store::{SledStore, StoreSettings};
use tidegate::testing::Harness;

fn explain(h: &Harness, id: &str) -> ExplainView {
    h.wait_for(h.bus().explain("/http", id)).unwrap_or_else(|error| panic!("{id}: {error}"))
}

/// The one cause of an event with one delivery; the sentence is its own.
#[track_caller]
fn cause(h: &Harness, id: &str, wanted: Cause) -> CauseView {
    let view = explain(h, id);
    let first = view.causes[0].clone();
    assert_eq!((first.cause, &view.sentence), (wanted, &first.sentence), "{view:#?}");
    assert!(!first.sentence.is_empty() && view.causes.len() == 1, "{view:#?}");
    first
}

fn draft(id: &str, key: &str) -> Draft {
    let name = EventName::new("job.given").unwrap();
    Draft { id: Some(id.to_owned()), ..Draft::json(name, job(1, key).to_string().into_bytes().into()) }
}

/// A step whose outcome is said by its key.
fn failing() -> Registry {
    let act = |job: &kit::Job, _: &StepContext| match job.key.as_str() {
        "fatal" => Err(StepError::fatal("stolen", "the card is stolen")),
        "fail" => Err(StepError::retry("no answer")),
        "later" => Err(StepError::snooze(Duration::from_mins(5))),
        "never" => Err(StepError::skip("nothing to do")),
        _ => Ok(()),
    };
    work(act).0
}

fn started(more: &str) -> Harness {
    Harness::new(failing(), &wired(more))
}

const SLOW_RETRY: &str = "retry = { max_attempts = 3, backoff = { first = \"1m\", jitter = 0.0 } }";

#[test]
fn what_is_through_is_told_as_done_or_skipped() {
    let mut h = started("");
    h.publish_as("one", "job.given", job(1, "a"));
    h.publish_as("two", "job.given", job(2, "never"));
    h.run_until_idle();

    let done = cause(&h, "one", Cause::Done);
    let skipped = cause(&h, "two", Cause::Skipped);

    assert_eq!(done.facts["attempts"], 1);
    assert_eq!(done.subscription.as_deref(), Some("work"));
    assert_eq!(skipped.facts["reason"], "nothing to do");
}

#[test]
fn a_retry_names_its_attempt_and_its_time() {
    let mut h = started(SLOW_RETRY);
    let now = h.clock().now();
    h.publish_as("one", "job.given", job(1, "fail"));
    h.publish_as("two", "job.given", job(2, "fail"));
    h.publish_as("snoozed", "job.given", job(3, "later"));
    h.run_until_idle();

    let waiting = cause(&h, "one", Cause::Waiting);
    let behind = cause(&h, "two", Cause::KeyBusy);
    let snoozed = cause(&h, "snoozed", Cause::Waiting);

    let due = now.plus(Duration::from_mins(1)).to_string();
    assert_eq!((&waiting.facts["attempt"], &waiting.facts["due"]), (&json!(2), &json!(due)));
    assert_eq!((&waiting.facts["error"], &waiting.facts["max_attempts"]), (&json!("no answer"), &json!(3)));
    assert_eq!((&behind.facts["behind"], &behind.facts["due"]), (&json!("one"), &json!(due)));
    assert_eq!((&snoozed.facts["snoozed"], &snoozed.facts["failures"]), (&json!(true), &json!(0)));
}

#[test]
fn a_dead_letter_and_what_waits_behind_it_name_the_letter() {
    let mut h = started("");
    h.publish_as("one", "job.given", job(1, "fatal"));
    h.publish_as("two", "job.given", job(2, "fatal"));
    h.run_until_idle();

    let dead = cause(&h, "one", Cause::Dead);
    let parked = cause(&h, "two", Cause::Parked);

    let letter = h.dead_letters()[0].id.clone();
    assert_eq!((&dead.facts["dead_letter"], &dead.facts["reason"]), (&json!(letter), &json!("fatal")));
    assert_eq!((&parked.facts["dead_letter"], &parked.facts["key"]), (&json!(letter), &json!("fatal")));
}

#[test]
fn a_pause_of_the_subscription_of_the_bus_and_of_a_key_are_told_apart() {
    let mut h = started("");
    let person = || Operator { by: "ann".to_owned(), reason: "looking".to_owned() };
    h.wait_for(h.bus().park_key("work", "held", person())).unwrap();
    h.publish_as("held", "job.given", job(1, "held"));
    h.run_until_idle();
    let by_hand = cause(&h, "held", Cause::ParkedByHand);
    assert_eq!(by_hand.facts["key"], "held");

    h.pause("work", true);
    h.publish_as("paused", "job.given", job(1, "a"));
    h.run_until_idle();
    let paused = cause(&h, "paused", Cause::Paused);
    assert_eq!(paused.facts["backlog"], 2);

    h.wait_for(h.bus().pause_bus(true, person())).unwrap();
    h.run_until_idle();
    cause(&h, "paused", Cause::BusPaused);
}

#[test]
fn an_open_breaker_says_until_when() {
    let breaker = "breaker = { failures = 2, window = \"10s\", probe = \"30s\" }\nconcurrency = 1\n";
    let steps = work(|_, _| Err(StepError::retry("bank is down"))).0;
    let mut h = Harness::new(steps, &wired(&format!("{breaker}{SLOW_RETRY}")));
    let now = h.clock().now();
    for n in 0..4 {
        h.publish_as(&format!("e{n}"), "job.given", job(n, &format!("k{n}")));
    }
    h.run_until_idle();

    let open = cause(&h, "e3", Cause::BreakerOpen);

    let until = now.plus(Duration::from_secs(30)).to_string();
    assert_eq!((&open.facts["state"], &open.facts["until"]), (&json!("open"), &json!(until)));
}

#[test]
fn a_rate_says_when_the_next_start_is_allowed() {
    let mut h = started("rate = \"1/m\"");
    let now = h.clock().now();
    h.publish_as("one", "job.given", job(1, "a"));
    h.publish_as("two", "job.given", job(2, "b"));
    h.run_until_idle();

    let held = cause(&h, "two", Cause::Rate);

    assert_eq!(held.facts["next_start"], now.plus(Duration::from_mins(1)).to_string());
}

#[test]
fn a_delayed_event_says_until_when() {
    let mut h = started("");
    let due = h.clock().now().plus(Duration::from_hours(1));
    h.publish_draft(Draft { due: Some(due), ..draft("one", "a") });
    h.run_until_idle();

    assert_eq!(cause(&h, "one", Cause::Delayed).facts["due"], due.to_string());
}

#[test]
fn an_orphaned_subscription_keeps_its_backlog_and_says_so() {
    let mut h = started("");
    h.pause("work", true);
    h.publish_as("one", "job.given", job(1, "a"));
    h.run_until_idle();

    h.rewire(failing(), "");
    h.run_until_idle();

    assert_eq!(cause(&h, "one", Cause::Orphaned).facts["backlog"], 1);
}

#[test]
fn what_nobody_heard_and_what_a_filter_kept_out_are_told() {
    let mut h = started("where = { channel = \"web\" }");
    h.publish_as("unheard", "job.unknown", json!({}));
    h.publish_as("filtered", "job.given", job(1, "a"));
    h.run_until_idle();

    assert_eq!(cause(&h, "unheard", Cause::Unrouted).facts["name"], "job.unknown");
    assert_eq!(cause(&h, "filtered", Cause::Filtered).subscription.as_deref(), Some("work"));
}

#[test]
fn an_event_whose_time_was_over_is_told_as_expired() {
    let mut h = started("");
    let over = h.clock().now().plus(Duration::from_secs(5)).to_string();
    h.pause("work", true);
    let extensions = [("expirytime".to_owned(), over)].into();
    h.publish_draft(Draft { extensions, ..draft("one", "a") });
    h.advance(Duration::from_secs(10));
    h.pause("work", false);
    h.run_until_idle();

    assert_eq!(cause(&h, "one", Cause::Expired).facts["reason"], "expired");
}

#[test]
fn a_running_attempt_and_who_waits_for_its_permit_and_its_key_are_told() {
    let gate = Switch::default();
    let open = gate.clone();
    let steps = work(move |_, _| {
        while !open.is_on() {
            std::thread::yield_now();
        }
        Ok(())
    });
    let mut h = Harness::new(steps.0, &wired("concurrency = 1"));
    h.run_until_idle();
    for (id, key) in [("runs", "a"), ("same", "a"), ("other", "b")] {
        h.publish_draft(draft(id, key));
    }
    let told = |id: &str, wanted: Cause| {
        for _ in 0..100_000 {
            let view = explain(&h, id);
            if view.causes[0].cause == wanted {
                return view.causes[0].clone();
            }
        }
        panic!("{:#?}", explain(&h, id));
    };

    let running = told("runs", Cause::Running);
    let same = told("same", Cause::KeyBusy);
    let other = told("other", Cause::PermitsBusy);
    gate.turn(true);
    h.run_until_idle();

    assert_eq!((&running.facts["attempt"], &running.facts["seconds"]), (&json!(1), &json!(0)));
    assert_eq!(same.facts["behind"], "runs");
    assert_eq!((&other.facts["running"], &other.facts["concurrency"]), (&json!(1), &json!(1)));
    cause(&h, "other", Cause::Done);
}

#[test]
fn an_event_that_was_refused_for_the_disk_is_explained_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = tidegate::config::load_text(&wired("")).unwrap().settings;
    settings.store.disk_reserve = u64::MAX / 2;
    let with = StoreSettings { path: folder.path().to_owned(), ..StoreSettings::default() };
    let store = SledStore::open(with, tidegate::event::Timestamp(0)).unwrap();
    let mut h = Harness::on_store(failing(), settings, Box::new(store));
    h.run_until_idle();
    let refused = h.try_publish(draft("one", "a"));

    let full = cause(&h, "one", Cause::DiskFull);

    assert!(refused.is_err());
    assert_eq!(full.facts["reserve_bytes"], u64::MAX / 2);
    assert_eq!(explain(&h, "one").status, None);
}

#[test]
fn an_event_that_was_never_seen_is_not_found() {
    let h = started("");

    let unknown = h.wait_for(h.bus().explain("/http", "never"));

    assert!(matches!(unknown, Err(tidegate::bus::QueryError::NotFound { .. })), "{unknown:?}");
}

#[test]
fn of_several_deliveries_the_one_that_needs_a_person_comes_first() {
    let wiring = format!("{}\n[subscription.also]\nstep = \"work\"\non = [\"job.given\"]\n", wired(""));
    let mut h = Harness::new(failing(), &wiring);
    h.pause("also", true);
    h.publish_as("one", "job.given", job(1, "fatal"));
    h.run_until_idle();

    let view = explain(&h, "one");

    let causes: Vec<Cause> = view.causes.iter().map(|cause| cause.cause).collect();
    assert_eq!(causes, [Cause::Dead, Cause::Paused]);
    let word: Value = serde_json::to_value(Cause::PermitsBusy).unwrap();
    assert_eq!(word, "permits_busy");
}

#[test]
fn who_asks_about_the_order_is_told_of_the_payment_that_it_led_to() {
    let wiring = format!("{}\n[subscription.tell]\nstep = \"refuse\"\non = [\"job.told\"]\n", wired(""));
    let steps = Registry::new().step(Refuse).on::<kit::Told>();
    let (work, _) = work(|_, _| Ok(()));
    let steps = Registry::from(steps).erased(work.get("work").unwrap());
    let mut h = Harness::new(steps, &wiring);
    h.publish_as("one", "job.given", job(1, "a"));
    h.run_until_idle();

    let view = explain(&h, "one");

    let first = &view.causes[0];
    assert_eq!((first.cause, first.subscription.as_deref()), (Cause::Dead, Some("tell")), "{view:#?}");
    assert_eq!(first.event.as_ref().unwrap().name, "job.told");
    assert!(view.sentence.starts_with("job.told: tell failed for good"), "{}", view.sentence);
}

struct Refuse;
impl Step for Refuse {
    const NAME: &'static str = "refuse";
    type State = ();
}
impl On<kit::Told> for Refuse {
    type Emits = ();
    async fn on(&self, _: kit::Told, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        Err(StepError::fatal("no", "never"))
    }
}
