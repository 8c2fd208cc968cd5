//! Promise: a dead letter can be retried now or later, edited, or recorded as done by hand; the flow goes on
//! from there, in order, over a restart, and every act is told once with who, why, before and after.
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
use kit::{Log, Switch, Told, job, wired, work};
use serde_json::{Value, json};
use tidegate::bus::view::{DeliveryStatus, FlowStatus, RepairView};
use tidegate::bus::{EmitByHand, Operator, QueryError, RepairRequest, When};
use tidegate::event::{Timestamp, emitted_id};
use tidegate::prelude::*;
use tidegate::testing::Harness;

/// Hears what the step `work` tells, and ends the flow with it.
struct Book;
impl Step for Book {
    const NAME: &'static str = "book";
    type State = Vec<u64>;
}
impl On<Told> for Book {
    type Emits = ();
    async fn on(&self, told: Told, booked: &mut Vec<u64>, cx: &StepContext) -> Result<(), StepError> {
        booked.push(told.n);
        cx.resolve(&json!({ "booked": told.n }))
    }
}

const POLICY: &str = "retry = { max_attempts = 2, backoff = { first = \"1s\", jitter = 0.0 } }";

/// Jobs under ten fail for good after two attempts while the switch is off; `book` hears of the others.
fn desk() -> (Harness, Log, Switch) {
    let mended = Switch::default();
    let is_mended = mended.clone();
    let (steps, log) = work(move |job, _| {
        if job.n < 10 && !is_mended.is_on() {
            Err(StepError::retry(format!("job {} is stuck", job.n)))
        } else {
            Ok(())
        }
    });
    let wiring = wired(POLICY) + "[subscription.book]\nstep = \"book\"\non = [\"job.told\"]\n";
    (Harness::new(steps.step(Book).on::<Told>(), &wiring), log, mended)
}

/// Lets job 1 of key `a` die with 11 and 12 behind it; its flow and the letter's id.
fn one_dead(h: &mut Harness) -> (String, String) {
    let accepted = h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    for n in [11, 12] {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    (accepted.flow.clone(), h.dead_letters()[0].id.clone())
}

fn ann() -> Operator {
    Operator { by: "ann".to_owned(), reason: "seen to".to_owned() }
}

fn act(h: &Harness, letter: &str, request: RepairRequest) -> Result<RepairView, QueryError> {
    h.wait_for(h.bus().repair(letter, request, ann()))
}

fn bytes(data: &Value) -> Bytes {
    Bytes::from(data.to_string())
}

fn retry(when: When) -> RepairRequest {
    RepairRequest::Retry { when, force: false }
}

fn edit(data: &Value) -> RepairRequest {
    RepairRequest::Edit { data: bytes(data), force: false }
}

fn done(emits: &[(&str, Value)], result: Option<&Value>) -> RepairRequest {
    let by_hand =
        |(name, data): &(&str, Value)| EmitByHand { name: (*name).to_owned(), data: bytes(data), key: None };
    RepairRequest::Done {
        emits: emits.iter().map(by_hand).collect(),
        result: result.map(bytes),
        force: false,
    }
}

fn refused(answer: Result<RepairView, QueryError>) -> String {
    match answer {
        Err(QueryError::Refused { why }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn invalid(answer: Result<RepairView, QueryError>) -> (String, String) {
    match answer {
        Err(QueryError::Invalid { pointer, why }) => (pointer, why),
        other => panic!("not told to be wrong: {other:?}"),
    }
}

fn outcomes(h: &Harness, flow: &str, event: usize) -> Vec<String> {
    let event = &h.flow(flow).events[event];
    event.deliveries[0].history.iter().map(|attempt| attempt.outcome.clone()).collect()
}

#[test]
fn a_retry_is_no_duplicate_and_runs_before_what_waits_behind_it() {
    let (mut h, log, mended) = desk();
    let (flow, letter) = one_dead(&mut h);
    mended.turn(true);

    let answer = act(&h, &letter, retry(When::Now)).unwrap();
    h.run_until_idle();

    assert_eq!((answer.status, answer.due), (DeliveryStatus::Ready, None));
    assert_eq!(log.of_key("a"), [1, 1, 1, 11, 12]);
    assert_eq!(h.state("book", "a"), json!([1, 11, 12]), "what the step emits is not swallowed either");
    assert_eq!(h.flow(&flow).result.unwrap().get(), r#"{"booked":1}"#);
    assert_eq!(outcomes(&h, &flow, 0), ["retry", "dead", "retried", "done"]);
}

#[test]
fn a_retry_at_a_time_holds_its_key_until_then_also_over_a_restart() {
    for restarts in [false, true] {
        let (mut h, log, mended) = desk();
        let (flow, letter) = one_dead(&mut h);
        mended.turn(true);
        let due = h.clock().now().plus(Duration::from_mins(5));

        let answer = act(&h, &letter, retry(When::After(Duration::from_mins(5)))).unwrap();
        h.publish("job.given", job(21, "b"));
        h.run_until_idle();
        if restarts {
            h.restart();
        }
        h.advance(Duration::from_mins(4));
        assert_eq!((answer.status, answer.due), (DeliveryStatus::Waiting, Some(due.to_string())));
        assert_eq!((log.of_key("a"), log.of_key("b")), (vec![1, 1], vec![21]), "other keys never wait");
        h.assert_flow(&flow, FlowStatus::Processing);
        assert_eq!(h.flow(&flow).events[0].deliveries[0].due, Some(due.to_string()));
        assert_eq!(h.subscription("work").dead, 0);

        h.advance(Duration::from_mins(2));
        assert_eq!(log.of_key("a"), [1, 1, 1, 11, 12]);
        assert_eq!(log.all()[3].at, due.0, "at its time");
        h.assert_flow(&flow, FlowStatus::Done);
    }
}

#[test]
fn a_retry_at_a_time_that_is_over_is_at_once() {
    let (mut h, log, _) = desk();
    let (_, letter) = one_dead(&mut h);
    let before = Timestamp(h.clock().now().0 - 1);

    let answer = act(&h, &letter, retry(When::At(before))).unwrap();
    h.run_until_idle();

    assert_eq!(answer.status, DeliveryStatus::Ready);
    assert_eq!(log.of_key("a"), [1, 1, 1], "tried at once, and all its attempts are before it again");
    h.advance(Duration::from_secs(2));
    assert_eq!(log.of_key("a"), [1, 1, 1, 1]);
}

#[test]
fn what_dies_again_is_seen_again() {
    let (mut h, _, _) = desk();
    let (flow, letter) = one_dead(&mut h);
    let first = h.dead_letters().remove(0);

    act(&h, &letter, retry(When::Now)).unwrap();
    h.advance(Duration::from_mins(1));

    let again = h.dead_letters().remove(0);
    assert_eq!((&again.id, again.attempts), (&letter, 4));
    assert!(again.since > first.since, "{} {}", again.since, first.since);
    assert_eq!(outcomes(&h, &flow, 0), ["retry", "dead", "retried", "retry", "dead"]);
    h.assert_flow(&flow, FlowStatus::Failed);
    assert_eq!(h.wait_for(h.bus().dead_letter(&letter)).unwrap().behind, Some(2));
}

#[test]
fn an_edit_takes_its_place_and_those_behind_it_follow_in_order() {
    for restarts in [false, true] {
        let (mut h, log, _) = desk();
        let (flow, letter) = one_dead(&mut h);
        if restarts {
            // At once after a start, when the subscription is still reading what was pending.
            h.restart();
        }

        let answer = act(&h, &letter, edit(&job(10, "a"))).unwrap();
        if restarts {
            h.restart();
        }
        h.publish("job.given", job(13, "a"));
        h.run_until_idle();

        assert_eq!(h.state("book", "a"), json!([10, 11, 12, 13]));
        // What ran when the process ended may have run twice.
        assert!(restarts || log.of_key("a") == [1, 1, 10, 11, 12, 13], "{:?}", log.of_key("a"));
        let view = h.flow(&flow);
        let [old, new, told] = &view.events[..] else { panic!("{}", h.timelines()) };
        assert_eq!(
            (old.deliveries[0].state, new.deliveries[0].state),
            (DeliveryStatus::Skipped, DeliveryStatus::Done)
        );
        assert_eq!(outcomes(&h, &flow, 0)[2], format!("superseded by {}", new.id));
        assert_eq!(view.events[0].deliveries[0].history[2].error.as_deref(), Some("seen to (by ann)"));
        assert_eq!(
            (&new.name, &new.causation, new.source.as_str()),
            (&old.name, &Some(old.id.clone()), "/tidegate/edit")
        );
        assert_eq!(told.causation.as_ref(), Some(&new.id));
        assert_eq!((&answer.events[0].id, &answer.events[0].source), (&new.id, &new.source));
        assert_eq!(new.deliveries.len(), 1, "it goes to this subscription only");
        assert_eq!((view.status, view.open, view.dead), (FlowStatus::Done, 0, 0));
        assert_eq!(view.result.unwrap().get(), r#"{"booked":10}"#);
        let work = h.subscription("work");
        assert_eq!((work.backlog, work.dead), (0, 0));
    }
}

#[test]
fn an_edit_goes_to_the_subscription_it_is_for_and_to_no_other() {
    let (steps, log) = work(|job, cx| match cx.subscription() {
        "work" if job.n < 10 => Err(StepError::fatal("no", "under ten")),
        _ => Ok(()),
    });
    let hears = |name: &str| format!("[subscription.{name}]\nstep = \"work\"\non = [\"job.given\"]\n");
    let wiring = wired("") + &hears("also");
    let mut h = Harness::new(steps, &wiring);
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    let letter = h.dead_letters()[0].id.clone();
    // A subscription this new is given what was routed before it was there; an edit is not for it.
    h.reload(&(wiring + &hears("late")));

    act(&h, &letter, edit(&job(10, "a"))).unwrap();
    h.run_until_idle();

    assert_eq!((log.of("work"), log.of("also"), log.of("late")), (vec![1, 10], vec![1], vec![]));
    let unheard = h.wait_for(h.bus().unrouted(None, 9)).unwrap();
    assert_eq!(unheard.total, 2, "what the step has told twice, and not the edited event");
    assert!(unheard.items.iter().all(|event| event.name == "job.told"));
}

#[test]
fn an_edit_that_changes_the_key_releases_the_old_one_and_waits_its_turn_in_the_new_one() {
    let (mut h, log, _) = desk();
    let (flow, letter) = one_dead(&mut h);

    act(&h, &letter, edit(&job(10, "b"))).unwrap();
    h.run_until_idle();

    assert_eq!((log.of_key("a"), log.of_key("b")), (vec![1, 1, 11, 12], vec![10]));
    h.assert_flow(&flow, FlowStatus::Done);
    assert_eq!((h.subscription("work").backlog, h.dead_letters().len()), (0, 0));
}

#[test]
fn an_event_that_no_step_could_read_is_read_after_its_edit() {
    let (mut h, log, _) = desk();
    let accepted = h.publish("job.given", json!({"n": "ten", "key": "a"}));
    h.run_until_idle();
    let letter = h.dead_letters().remove(0);
    assert_eq!(letter.reason, "undecodable");

    act(&h, &letter.id, edit(&job(10, "a"))).unwrap();
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [10]);
    h.assert_flow(&accepted.flow, FlowStatus::Done);
}

#[test]
fn a_second_edit_is_told_and_the_edited_event_can_be_edited_when_it_dies() {
    let (mut h, log, _) = desk();
    let (flow, letter) = one_dead(&mut h);

    let both = h.wait_for(async {
        let repair = |n| h.bus().repair(&letter, edit(&job(n, "a")), ann());
        futures_util::future::join(repair(2), repair(3)).await
    });
    h.advance(Duration::from_mins(1));

    let (first, second) = match both {
        (Ok(first), Err(second)) => (2, (first, second)),
        (Err(second), Ok(first)) => (3, (first, second)),
        other => panic!("one of two must count: {other:?}"),
    };
    assert!(matches!(second.1, QueryError::Refused { .. }), "{}", second.1);
    assert_eq!(log.of_key("a"), [1, 1, first, first]);
    let late = refused(act(&h, &letter, edit(&job(4, "a"))));
    assert!(late.contains(&format!("superseded by {}", second.0.events[0].id)), "{late}");
    assert_eq!(h.events("tidegate.dead_letter.edited").len(), 1, "what was refused is not told");

    let edited = h.dead_letters().remove(0);
    assert_eq!((&edited.event, edited.attempts), (&second.0.events[0].id, 2));
    assert_eq!(h.wait_for(h.bus().dead_letter(&edited.id)).unwrap().behind, Some(2), "they wait on");
    act(&h, &edited.id, edit(&job(10, "a"))).unwrap();
    h.run_until_idle();

    assert_eq!(log.of_key("a"), [1, 1, first, first, 10, 11, 12]);
    assert_eq!(h.flow(&flow).result.unwrap().get(), r#"{"booked":10}"#);
}

#[test]
fn an_edit_that_is_not_what_the_type_says_changes_nothing() {
    let (mut h, log, _) = desk();
    let (flow, letter) = one_dead(&mut h);
    let before = h.flow(&flow).version;

    for data in [json!({"n": "ten"}), json!([]), json!({"key": "a"})] {
        let (pointer, why) = invalid(act(&h, &letter, edit(&data)));
        assert_eq!(pointer, "/data", "{why}");
    }
    let no_json = RepairRequest::Edit { data: Bytes::from_static(b"{"), force: false };
    assert_eq!(invalid(act(&h, &letter, no_json)).0, "/data");
    h.run_until_idle();

    assert_eq!((log.of_key("a"), h.flow(&flow).version), (vec![1, 1], before));
    assert_eq!(h.dead_letters().len(), 1);
    assert!(h.events("tidegate.dead_letter.edited").is_empty());
}

#[test]
fn done_by_hand_lets_the_flow_go_on_as_if_the_step_had_done_it() {
    for restarts in [false, true] {
        let (mut h, log, _) = desk();
        let (flow, letter) = one_dead(&mut h);
        let given = h.events("job.given").remove(0);

        let answer = act(&h, &letter, done(&[("job.told", job(1, "a"))], None)).unwrap();
        if restarts {
            h.restart();
        }
        h.run_until_idle();

        assert_eq!(log.count(1), 2, "the step is not run for it");
        assert_eq!(h.state("book", "a"), json!([1, 11, 12]));
        let told = h.events("job.told").remove(0);
        assert_eq!(
            told.id,
            emitted_id(&given, "work", 0, 0),
            "under the id that the step would have given it"
        );
        assert_eq!(
            (told.source.as_str(), &told.causation, &told.flow),
            ("/tidegate/work", &Some(given.id.clone()), &flow)
        );
        assert_eq!((&told.id, told.key.as_str()), (&answer.events[0].id, "a"));
        let view = h.flow(&flow);
        assert_eq!(
            (view.status, view.open, view.result.unwrap().get()),
            (FlowStatus::Done, 0, r#"{"booked":1}"#)
        );
        assert_eq!(view.events[0].deliveries[0].state, DeliveryStatus::Done);
        assert_eq!(outcomes(&h, &flow, 0), ["retry", "dead", "done by hand"]);
        let late = refused(act(&h, &letter, done(&[("job.told", job(1, "a"))], None)));
        assert!(late.contains("done by hand"), "{late}");
    }
}

#[test]
fn done_by_hand_can_end_the_flow_with_its_result_once() {
    let (mut h, _, _) = desk();
    let (flow, letter) = one_dead(&mut h);

    let answer = act(&h, &letter, done(&[], Some(&json!({"outcome": "paid in cash"})))).unwrap();
    h.run_until_idle();

    assert_eq!(answer.status, DeliveryStatus::Done);
    let view = h.flow(&flow);
    assert_eq!(
        (view.status, view.result.unwrap().get()),
        (FlowStatus::Done, r#"{"outcome":"paid in cash"}"#)
    );

    let (steps, _) = work(|_, cx| match cx.subscription() {
        "work" => Err(StepError::fatal("no", "never")),
        _ => cx.resolve(&1),
    });
    let wiring = wired("") + "[subscription.also]\nstep = \"work\"\non = [\"job.given\"]\n";
    let mut h = Harness::new(steps, &wiring);
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    let letter = h.dead_letters()[0].id.clone();
    let why = refused(act(&h, &letter, done(&[], Some(&json!(2)))));
    assert!(why.contains("has a result"), "{why}");
    act(&h, &letter, done(&[], None)).unwrap();
}

#[test]
fn done_by_hand_without_an_event_names_what_nobody_will_hear() {
    for (emits, result, left_out) in [
        (vec![], None, vec!["job.told"]),
        (vec![("job.told", job(1, "a"))], None, vec![]),
        (vec![], Some(json!("paid in cash")), vec![]),
    ] {
        let (mut h, _, _) = desk();
        let (_, letter) = one_dead(&mut h);

        let answer = act(&h, &letter, done(&emits, result.as_ref())).unwrap();

        assert_eq!(answer.left_out, left_out);
    }
}

#[test]
fn done_by_hand_emits_what_the_step_may_emit_and_nothing_else() {
    let (mut h, _, _) = desk();
    let (flow, letter) = one_dead(&mut h);
    let before = h.flow(&flow).version;

    let (pointer, why) =
        invalid(act(&h, &letter, done(&[("job.told", job(1, "a")), ("job.given", job(2, "a"))], None)));
    assert_eq!(pointer, "/emits/1/name");
    assert!(why.contains("job.told") && why.contains("job.given"), "it names what would be right: {why}");
    let (pointer, why) = invalid(act(&h, &letter, done(&[("job.told", json!({"n": -1}))], None)));
    assert_eq!(pointer, "/emits/0/data", "{why}");
    let (pointer, _) = invalid(act(&h, &letter, done(&[("Job Told", job(1, "a"))], None)));
    assert_eq!(pointer, "/emits/0/name");
    h.run_until_idle();

    assert_eq!((h.flow(&flow).version, h.dead_letters().len()), (before, 1));
    assert!(h.events("tidegate.dead_letter.done").is_empty());
}

#[test]
fn what_is_given_up_or_done_by_hand_says_why() {
    let (mut h, _, _) = desk();
    let (_, letter) = one_dead(&mut h);
    let silent = || Operator { by: "ann".to_owned(), reason: " ".to_owned() };

    for request in [RepairRequest::Skip, done(&[], None)] {
        let answer = h.wait_for(h.bus().repair(&letter, request, silent()));
        assert_eq!(invalid(answer).0, "/reason");
    }

    assert_eq!(h.dead_letters().len(), 1);
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Refund {
    n: u64,
    reason: String,
}
impl Event for Refund {
    const NAME: &'static str = "refund.started";
}
struct Pay;
impl Step for Pay {
    const NAME: &'static str = "pay";
    type State = ();
}
impl On<Refund> for Pay {
    type Emits = ();
    async fn on(&self, _: Refund, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

#[test]
fn a_flow_that_was_answered_by_on_dead_is_not_answered_again_unless_it_is_forced() {
    let (steps, log) =
        work(|job, _| if job.n < 10 { Err(StepError::fatal("no", "under ten")) } else { Ok(()) });
    let wiring = wired("on_dead = \"refund.started\"")
        + "[subscription.pay]\nstep = \"pay\"\non = [\"refund.started\"]\n";
    let mut h = Harness::new(steps.step(Pay).on::<Refund>(), &wiring);
    for n in 1..=5 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }
    h.run_until_idle();
    let letters: Vec<String> = h.dead_letters().into_iter().map(|letter| letter.id).collect();

    for request in [retry(When::Now), edit(&job(10, "k1")), done(&[("job.told", job(1, "k1"))], None)] {
        let why = refused(act(&h, &letters[0], request));
        assert!(why.contains("on_dead") && why.contains("skip") && why.contains("force"), "{why}");
    }
    h.run_until_idle();
    assert_eq!((log.all().len(), h.dead_letters().len()), (5, 5));

    act(&h, &letters[0], RepairRequest::Skip).unwrap();
    act(&h, &letters[1], RepairRequest::Retry { when: When::Now, force: true }).unwrap();
    act(&h, &letters[2], RepairRequest::Edit { data: bytes(&job(10, "k3")), force: true }).unwrap();
    act(&h, &letters[3], done(&[], None)).unwrap();
    let emits = vec![EmitByHand { name: "job.told".to_owned(), data: bytes(&job(5, "k5")), key: None }];
    act(&h, &letters[4], RepairRequest::Done { emits, result: None, force: true }).unwrap();
    h.run_until_idle();

    assert_eq!((log.of_key("k2"), log.of_key("k3")), (vec![2, 2], vec![3, 10]));
    let mut told: Vec<u64> = h.emitted::<Told>("job.told").into_iter().map(|told| told.n).collect();
    told.sort_unstable();
    assert_eq!(told, [5, 10]);
    assert_eq!(h.events("refund.started").len(), 5, "and no refund is started a second time");
}

#[test]
fn every_act_is_told_with_who_why_before_and_after() {
    let (mut h, _, _) = desk();
    for n in 1..=4 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }
    h.advance(Duration::from_mins(1));
    let letters = h.dead_letters();
    let after = When::After(Duration::from_hours(1));

    act(&h, &letters[0].id, retry(after)).unwrap();
    act(&h, &letters[1].id, RepairRequest::Skip).unwrap();
    act(&h, &letters[2].id, edit(&job(10, "k3"))).unwrap();
    act(&h, &letters[3].id, done(&[("job.told", job(4, "k4"))], None)).unwrap();
    h.run_until_idle();

    for (letter, (act, state)) in letters.iter().zip([
        ("retried", "waiting"),
        ("skipped", "skipped"),
        ("edited", "skipped"),
        ("done", "done"),
    ]) {
        let name = format!("tidegate.dead_letter.{act}");
        let fact: Value = h.assert_emitted(&name);
        assert_eq!((&fact["by"], &fact["reason"]), (&json!("ann"), &json!("seen to")), "{fact}");
        assert_eq!((&fact["dead_letter"], &fact["flow"]), (&json!(letter.id), &json!(letter.flow)));
        assert_eq!(
            (&fact["before"]["state"], &fact["before"]["error"], &fact["before"]["attempts"]),
            (&json!("dead"), &json!(letter.error), &json!(2))
        );
        assert_eq!(fact["after"]["state"], json!(state), "{fact}");
        let event = h.events(&name).remove(0);
        assert_eq!(
            (event.causation.as_ref(), event.subject.as_ref()),
            (Some(&letter.event), Some(&letter.id))
        );
    }
    let edited: Value = h.assert_emitted("tidegate.dead_letter.edited");
    assert_eq!(edited["data"], json!({"before": job(3, "k3"), "after": job(10, "k3")}));
    let done: Value = h.assert_emitted("tidegate.dead_letter.done");
    assert_eq!(done["after"]["emitted"][0]["name"], "job.told");
}
