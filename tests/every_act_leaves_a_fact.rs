//! Promise: every act of a person and every fact of the system is an event under `tidegate.`, stored with the
//! change that it tells of. It says who, when, why, what was before and what is after; it is listed in the
//! audit; a step gets it that subscribes to it by name, and no other does.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use kit::{Switch, job, wired, work};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate::bus::{
    FactFilter, FactView, JobAct, JobAsk, JobFilter, Operator, PublishError, RepairRequest, When,
};
use tidegate::event::{Draft, Envelope, EventName};
use tidegate::prelude::*;
use tidegate::testing::{CrashPoint, Harness};

const TRY_ONCE: &str = "retry = { max_attempts = 1 }";

/// The fact as the step that hears it reads it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Died {
    dead_letter: String,
    subscription: String,
    error: String,
    attempts: u32,
}
impl Event for Died {
    const NAME: &'static str = "tidegate.delivery.dead";
    fn key(&self) -> Cow<'_, str> {
        (&self.subscription).into()
    }
}

/// Hears of dead letters by type, of everything else by name.
struct Watch(Arc<Mutex<Vec<String>>>);
impl Step for Watch {
    const NAME: &'static str = "watch";
    type State = ();
}
impl On<Died> for Watch {
    type Emits = ();
    async fn on(&self, died: Died, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.lock().unwrap().push(format!("{} of {}: {}", died.dead_letter, died.subscription, died.error));
        if died.error.contains("job 13") { Err(StepError::fatal("superstition", "no")) } else { Ok(()) }
    }
}
impl OnAny for Watch {
    type Emits = ();
    async fn on_any(&self, event: &Envelope, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.lock().unwrap().push(event.name.to_string());
        Ok(())
    }
}

const WATCHING: &str = r#"
[subscription.watch]
step = "watch"
on = ["tidegate.delivery.dead", "tidegate.key.parked", "tidegate.subscription.paused"]
retry = { max_attempts = 1, exhausted = "skip" }
[subscription.all]
step = "all"
on = [">"]
"#;

/// Hears all that `>` matches.
struct All(Arc<Mutex<Vec<String>>>);
impl Step for All {
    const NAME: &'static str = "all";
    type State = ();
}
impl OnAny for All {
    type Emits = ();
    async fn on_any(&self, event: &Envelope, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.lock().unwrap().push(event.name.to_string());
        Ok(())
    }
}

/// Jobs fail while the switch is off.
fn failing() -> (Registry, Switch) {
    let mended = Switch::default();
    let is_mended = mended.clone();
    let (steps, _) = work(move |job, _| {
        if is_mended.is_on() { Ok(()) } else { Err(StepError::retry(format!("job {} is stuck", job.n))) }
    });
    (steps, mended)
}

fn bus() -> (Harness, Switch) {
    let (steps, mended) = failing();
    (Harness::new(steps, &wired(TRY_ONCE)), mended)
}

fn ann(why: &str) -> Operator {
    Operator { by: "ann".to_owned(), reason: why.to_owned() }
}

fn audit(h: &Harness, filter: FactFilter) -> Vec<FactView> {
    let page = h.wait_for(h.bus().audit(filter, None, 1_000)).unwrap();
    assert_eq!(page.next, None);
    page.items
}

fn named(h: &Harness, name: &str) -> Vec<FactView> {
    audit(h, FactFilter { name: Some(name.to_owned()), ..FactFilter::default() })
}

/// The only fact of this name, and its data.
#[track_caller]
fn only(h: &Harness, name: &str) -> (FactView, Value) {
    let facts = named(h, name);
    assert_eq!(facts.len(), 1, "{name}: {facts:?}");
    let fact = facts.into_iter().next().unwrap();
    let data = serde_json::from_str(fact.data.as_ref().unwrap().get()).unwrap();
    (fact, data)
}

fn retry_now() -> RepairRequest {
    RepairRequest::Retry { when: When::Now, force: false }
}

#[test]
fn a_dead_letter_and_the_key_that_it_parks_are_told_once() {
    let (mut h, _) = bus();
    let first = h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let (dead, data) = only(&h, "tidegate.delivery.dead");
    let letter = h.dead_letters().remove(0);
    assert_eq!((dead.about.as_deref(), dead.causation.as_deref()), (Some(&*letter.id), Some(&*first.id)));
    assert_eq!(
        data,
        json!({ "dead_letter": letter.id, "subscription": "work", "event": first.id, "source": "/http",
            "name": "job.given", "flow": first.flow, "key": "a", "reason": "attempts", "error": "job 1 is stuck",
            "attempts": 1 })
    );
    assert_eq!((dead.by.as_str(), dead.reason.as_str()), ("", ""), "nobody did it");
    assert_eq!(only(&h, "tidegate.key.parked").1["key"], "a");
    assert_eq!(h.flow(&first.flow).events.len(), 1, "the business flow reads as if nobody listened");
    h.restart();
    h.run_until_idle();
    assert_eq!(audit(&h, FactFilter::default()).len(), 2, "a restart tells nothing again");
}

#[test]
fn with_skip_no_key_is_parked() {
    let (steps, _) = failing();
    let mut h = Harness::new(steps, &wired("retry = { max_attempts = 1, exhausted = \"skip\" }"));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    only(&h, "tidegate.delivery.dead");
    assert_eq!(named(&h, "tidegate.key.parked").len(), 0);
}

#[test]
fn a_dead_letter_is_stored_with_its_fact_or_not_at_all() {
    for point in [CrashPoint::BeforeSettle("work".to_owned()), CrashPoint::AfterSettle("work".to_owned())] {
        let (mut h, _) = bus();
        h.crash_at(point);
        h.publish("job.given", job(1, "a"));
        h.run_until_idle();
        assert!(h.has_crashed());
        h.restart();
        h.run_until_idle();

        assert_eq!(h.dead_letters().len(), 1);
        only(&h, "tidegate.delivery.dead");
        only(&h, "tidegate.key.parked");
    }
}

#[test]
fn a_retry_and_a_skip_say_who_and_why_and_what_was_before_and_after() {
    let (mut h, _) = bus();
    let failed = h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    let letter = h.dead_letters()[0].id.clone();
    let at = h.clock().now();

    h.wait_for(h.bus().repair(&letter, retry_now(), ann("the bank is back"))).unwrap();
    h.run_until_idle();
    let (retried, data) = only(&h, "tidegate.dead_letter.retried");
    assert_eq!((retried.by.as_str(), retried.reason.as_str()), ("ann", "the bank is back"));
    assert_eq!((retried.time, retried.causation.as_deref()), (at.to_string(), Some(&*failed.id)));
    assert_eq!((&data["before"]["state"], &data["after"]["state"]), (&json!("dead"), &json!("ready")));
    assert_eq!(data["before"]["error"], "job 1 is stuck");
    assert_eq!(only(&h, "tidegate.key.resumed").1["key"], "a");
    assert_eq!(named(&h, "tidegate.delivery.dead").len(), 2, "it has failed again: another fact");
    assert_eq!(named(&h, "tidegate.key.parked").len(), 2);

    h.wait_for(h.bus().repair(&letter, RepairRequest::Skip, ann("paid by hand"))).unwrap();
    let (skipped, data) = only(&h, "tidegate.dead_letter.skipped");
    assert_eq!((skipped.by.as_str(), skipped.reason.as_str()), ("ann", "paid by hand"));
    assert_eq!(data["after"]["state"], "skipped");
    assert_eq!(named(&h, "tidegate.key.resumed").len(), 2);
    let refused = h.wait_for(h.bus().repair(&letter, RepairRequest::Skip, ann("again")));
    assert!(refused.is_err());
    only(&h, "tidegate.dead_letter.skipped");
}

#[test]
fn a_pause_and_a_resume_are_told() {
    let (h, _) = bus();

    h.wait_for(h.bus().pause("work", true, ann("maintenance"))).unwrap();
    h.wait_for(h.bus().pause("work", false, ann("done"))).unwrap();

    let (paused, data) = only(&h, "tidegate.subscription.paused");
    assert_eq!((paused.about.as_deref(), paused.by.as_str()), (Some("work"), "ann"));
    assert_eq!((&data["before"], &data["after"]), (&json!("running"), &json!("paused")));
    let (_, data) = only(&h, "tidegate.subscription.resumed");
    assert_eq!((&data["before"], &data["after"]), (&json!("paused"), &json!("running")));
}

#[test]
fn a_bulk_act_tells_of_itself_and_of_each_dead_letter() {
    let (mut h, mended) = bus();
    for n in 1..=5 {
        h.publish("job.given", job(n, &n.to_string()));
    }
    h.run_until_idle();
    mended.turn(true);
    let ask = JobAsk {
        act: JobAct::Retry,
        when: When::Now,
        force: false,
        filter: JobFilter::default(),
        pace: Some("1/s".parse().unwrap()),
    };

    let id = h.wait_for(h.bus().start_job(ask, ann("the bank is back"))).unwrap().id;
    h.run_until_idle();
    let bob = || Operator { by: "bob".to_owned(), reason: "wait".to_owned() };
    h.wait_for(h.bus().stop_job(&id, bob())).unwrap();
    h.wait_for(h.bus().resume_job(&id, bob())).unwrap();
    h.advance(std::time::Duration::from_secs(9));

    let (started, data) = only(&h, "tidegate.job.started");
    assert_eq!((started.about.as_deref(), started.by.as_str()), (Some(&*id), "ann"));
    assert_eq!((&data["counts"]["matched"], &data["rate"]), (&json!(5), &json!("1/s")));
    let (stopped, data) = only(&h, "tidegate.job.stopped");
    assert_eq!((stopped.by.as_str(), stopped.reason.as_str()), ("bob", "wait"));
    assert_eq!((&data["before"], &data["after"]), (&json!("running"), &json!("stopped")));
    assert_eq!(data["asked"], json!({ "by": "ann", "reason": "the bank is back" }));
    only(&h, "tidegate.job.resumed");
    let (finished, data) = only(&h, "tidegate.job.finished");
    assert_eq!((finished.by.as_str(), &data["after"]), ("ann", &json!("finished")));
    assert_eq!(data["counts"], json!({ "matched": 5, "done": 5, "refused": 0, "gone": 0 }));
    let retried = named(&h, "tidegate.dead_letter.retried");
    assert_eq!(retried.len(), 5);
    for fact in &retried {
        let data: Value = serde_json::from_str(fact.data.as_ref().unwrap().get()).unwrap();
        assert_eq!((&data["job"], fact.by.as_str()), (&json!(id), "ann"));
    }
    assert_eq!(named(&h, "tidegate.key.resumed").len(), 5);
}

#[test]
fn a_step_hears_the_facts_that_it_names_and_a_wildcard_hears_none() {
    let (heard, all) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let (steps, _) = failing();
    let steps =
        steps.step(Watch(Arc::clone(&heard))).on::<Died>().on_any().step(All(Arc::clone(&all))).on_any();
    let mut h = Harness::new(steps, &(wired(TRY_ONCE) + WATCHING));

    h.publish("job.given", job(7, "a"));
    h.run_until_idle();
    h.pause("work", true);
    h.run_until_idle();

    let letter = h.dead_letters()[0].id.clone();
    let heard = heard.lock().unwrap().clone();
    let expected = [
        format!("{letter} of work: job 7 is stuck"),
        "tidegate.key.parked".to_owned(),
        "tidegate.subscription.paused".to_owned(),
    ];
    assert_eq!(heard, expected);
    assert_eq!(*all.lock().unwrap(), ["job.given"]);
}

#[test]
fn a_fact_that_dies_tells_nothing_further() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (steps, _) = failing();
    let all = All(Arc::default());
    let steps = steps.step(Watch(Arc::clone(&heard))).on::<Died>().on_any().step(all).on_any();
    let mut h = Harness::new(steps, &(wired(TRY_ONCE) + WATCHING));

    h.publish("job.given", job(13, "a"));
    h.run_until_idle();

    let mut dead: Vec<String> = h.dead_letters().into_iter().map(|letter| letter.name).collect();
    dead.sort();
    assert_eq!(dead, ["job.given", "tidegate.delivery.dead"]);
    only(&h, "tidegate.delivery.dead");
    assert_eq!(heard.lock().unwrap().len(), 2);
}

#[test]
fn the_audit_is_read_newest_first_page_by_page_and_by_what_it_shows() {
    let (mut h, _) = bus();
    for n in 1..=3 {
        h.publish("job.given", job(n, &n.to_string()));
        h.run_until_idle();
        h.advance(std::time::Duration::from_secs(1));
    }
    let letters = h.dead_letters();
    let middle = h.clock().now();
    h.wait_for(h.bus().repair(&letters[1].id, RepairRequest::Skip, ann("no"))).unwrap();
    let bob = Operator { by: "bob".to_owned(), reason: "no".to_owned() };
    h.wait_for(h.bus().repair(&letters[2].id, RepairRequest::Skip, bob)).unwrap();

    let all = audit(&h, FactFilter::default());
    let names: Vec<&str> = all.iter().map(|fact| fact.name.as_str()).collect();
    let told = ["tidegate.key.parked", "tidegate.delivery.dead"];
    let by_hand = ["tidegate.key.resumed", "tidegate.dead_letter.skipped"];
    assert_eq!(names, [by_hand, by_hand, told, told, told].concat());
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let page = h.wait_for(h.bus().audit(FactFilter::default(), cursor, 3)).unwrap();
        paged.extend(page.items.into_iter().map(|fact| fact.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, all.iter().map(|fact| fact.id.clone()).collect::<Vec<_>>());

    let count = |filter: FactFilter| audit(&h, filter).len();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(count(FactFilter { by: text("ann"), ..FactFilter::default() }), 2);
    assert_eq!(count(FactFilter { by: text("eve"), ..FactFilter::default() }), 0);
    assert_eq!(count(FactFilter { about: text(&letters[1].id), ..FactFilter::default() }), 4);
    assert_eq!(count(FactFilter { about: text(&letters[1].event), ..FactFilter::default() }), 4);
    assert_eq!(count(FactFilter { since: Some(middle), ..FactFilter::default() }), 4);
    assert_eq!(count(FactFilter { until: Some(middle), ..FactFilter::default() }), 6);
    let bad = h.wait_for(h.bus().audit(FactFilter::default(), text("x"), 3));
    assert!(bad.is_err());
}

#[test]
fn nobody_publishes_under_the_names_and_sources_of_the_bus() {
    let (mut h, _) = bus();
    let draft = |name: &str, source: &str| Draft {
        source: source.to_owned(),
        ..Draft::json(EventName::new(name).unwrap(), "{}".into())
    };

    let name = h.try_publish(draft("tidegate.delivery.dead", "/http"));
    assert!(matches!(name, Err(PublishError::Reserved { .. })), "{name:?}");
    for source in ["/tidegate", "/tidegate/", "/tidegate/work"] {
        let refused = h.try_publish(draft("job.given", source));
        assert!(matches!(refused, Err(PublishError::ReservedSource { .. })), "{source}: {refused:?}");
    }
    for source in ["/tidegates", "/other/tidegate", "tidegate"] {
        assert!(h.try_publish(draft("other.thing", source)).is_ok(), "{source}");
    }
}
