//! Promise: a flow that fails or is cancelled is undone, the last thing first, each undo durable and retried,
//! through crashes; past the point of no return it is not.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::Switch;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::bus::view::FlowStatus;
use tidegate::event::Draft;
use tidegate::prelude::*;
use tidegate::testing::{CrashPoint, Harness};
use tokio::sync::Notify;

macro_rules! events {
    ($($name:ident $text:literal)+) => { $(
        #[derive(Debug, Clone, Serialize, Deserialize)]
        struct $name { order: String }
        impl Event for $name {
            const NAME: &'static str = $text;
            fn key(&self) -> std::borrow::Cow<'_, str> { (&self.order).into() }
        }
    )+ };
}
events! {
    Asked "order.asked"
    Reserved "order.reserved"
    Packed "order.packed"
    Charged "order.charged"
    Release "reservation.release"
    Unpack "parcel.unpack"
    Unpacked "parcel.unpacked"
}

/// What the outside world would say was done, in order.
#[derive(Debug, Clone, Default)]
struct World {
    done: Arc<Mutex<Vec<String>>>,
    /// How `charge` fails: `fatal`, `abort`, `retry`; `slow` waits until it is let go; empty when it does not.
    charge: Arc<Mutex<&'static str>>,
    /// Whether `unpack` fails for good.
    unpack_fails: Switch,
    /// Whether `pack` waits until it is let go.
    pack_waits: Switch,
    at_pack: Arc<Notify>,
    go: Arc<Notify>,
}

impl World {
    fn note(&self, what: &str) {
        self.done.lock().unwrap().push(what.to_owned());
    }
    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

macro_rules! step {
    ($step:ident $name:literal) => {
        struct $step(World);
        impl Step for $step {
            const NAME: &'static str = $name;
            type State = ();
        }
    };
}
step!(Reserve "reserve");
step!(Pack "pack");
step!(Charge "charge");
step!(Ship "ship");
step!(DoRelease "release");
step!(DoUnpack "unpack");
step!(Shelve "shelve");

impl On<Asked> for Reserve {
    type Emits = Reserved;
    async fn on(&self, event: Asked, (): &mut (), cx: &StepContext) -> Result<Reserved, StepError> {
        self.0.note("reserve");
        cx.undo(Release { order: event.order.clone() })?;
        Ok(Reserved { order: event.order })
    }
}
impl On<Reserved> for Pack {
    type Emits = Packed;
    async fn on(&self, event: Reserved, (): &mut (), cx: &StepContext) -> Result<Packed, StepError> {
        if self.0.pack_waits.is_on() {
            self.0.at_pack.notify_one();
            self.0.go.notified().await;
        }
        self.0.note("pack");
        cx.undo(Unpack { order: event.order.clone() })?;
        Ok(Packed { order: event.order })
    }
}
impl On<Packed> for Charge {
    type Emits = Charged;
    async fn on(&self, event: Packed, (): &mut (), cx: &StepContext) -> Result<Charged, StepError> {
        let how = *self.0.charge.lock().unwrap();
        match how {
            "fatal" => Err(StepError::fatal("stolen", "the card is stolen")),
            "abort" => Err(StepError::abort("stolen", "the card is stolen")),
            "retry" => Err(StepError::retry("no answer")),
            how => {
                if how == "slow" {
                    self.0.at_pack.notify_one();
                    self.0.go.notified().await;
                }
                self.0.note("charge");
                cx.pivot();
                Ok(Charged { order: event.order })
            }
        }
    }
}
impl On<Charged> for Ship {
    type Emits = ();
    async fn on(&self, _: Charged, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        self.0.note("ship");
        cx.resolve("shipped")
    }
}
impl On<Release> for DoRelease {
    type Emits = ();
    async fn on(&self, _: Release, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.note("release");
        Ok(())
    }
}
impl On<Unpack> for DoUnpack {
    type Emits = Unpacked;
    async fn on(&self, event: Unpack, (): &mut (), _: &StepContext) -> Result<Unpacked, StepError> {
        if self.0.unpack_fails.is_on() {
            return Err(StepError::fatal("glue", "the parcel does not open"));
        }
        self.0.note("unpack");
        Ok(Unpacked { order: event.order })
    }
}
impl On<Unpacked> for Shelve {
    type Emits = ();
    async fn on(&self, _: Unpacked, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.note("shelve");
        Ok(())
    }
}

const WIRING: &str = r#"
[subscription.reserve]
step = "reserve"
on = ["order.asked"]
[subscription.pack]
step = "pack"
on = ["order.reserved"]
[subscription.charge]
step = "charge"
on = ["order.packed"]
compensate = true
retry = { max_attempts = 3, backoff = { first = "10m" } }
[subscription.ship]
step = "ship"
on = ["order.charged"]
[subscription.release]
step = "release"
on = ["reservation.release"]
[subscription.unpack]
step = "unpack"
on = ["parcel.unpack"]
[subscription.shelve]
step = "shelve"
on = ["parcel.unpacked"]
"#;

fn steps(world: &World) -> Registry {
    Registry::new()
        .step(Reserve(world.clone()))
        .on::<Asked>()
        .undoes::<Release>()
        .step(Pack(world.clone()))
        .on::<Reserved>()
        .undoes::<Unpack>()
        .step(Charge(world.clone()))
        .on::<Packed>()
        .step(Ship(world.clone()))
        .on::<Charged>()
        .step(DoRelease(world.clone()))
        .on::<Release>()
        .step(DoUnpack(world.clone()))
        .on::<Unpack>()
        .step(Shelve(world.clone()))
        .on::<Unpacked>()
        .into()
}

fn harness(charge: &'static str) -> (Harness, World) {
    harness_wired(charge, WIRING)
}

fn harness_wired(charge: &'static str, wiring: &str) -> (Harness, World) {
    let world = World::default();
    *world.charge.lock().unwrap() = charge;
    (Harness::new(steps(&world), wiring), world)
}

fn ask(h: &mut Harness) -> String {
    h.publish_as("o1", "order.asked", json!({"order": "o1"})).flow.clone()
}

fn asked() -> Draft {
    let name = tidegate::event::EventName::new("order.asked").unwrap();
    let data = bytes::Bytes::from_static(b"{\"order\":\"o1\"}");
    Draft { id: Some("o1".to_owned()), ..Draft::json(name, data) }
}

const UNDONE: [&str; 5] = ["reserve", "pack", "unpack", "shelve", "release"];

#[test]
fn a_full_run_undoes_nothing_and_passes_its_point_of_no_return() {
    let (mut h, world) = harness("");

    let flow = ask(&mut h);
    h.run_until_idle();

    assert_eq!(world.done(), ["reserve", "pack", "charge", "ship"]);
    h.assert_flow(&flow, FlowStatus::Done);
    let refused = h.try_cancel(&flow).unwrap_err().to_string();
    assert!(refused.contains("past its point of no return"), "{refused}");
    assert_eq!(h.flow(&flow).compensation, None);
}

#[test]
fn a_lowered_limit_that_ends_a_step_undoes_the_flow_as_well() {
    let (mut h, world) = harness("retry");
    let flow = ask(&mut h);
    h.run_until_idle();
    assert_eq!(world.done(), ["reserve", "pack"], "the charge waits for its second attempt");

    h.reload(&WIRING.replace("max_attempts = 3", "max_attempts = 1"));
    h.run_until_idle();

    assert_eq!(world.done(), UNDONE);
    h.assert_flow(&flow, FlowStatus::Compensated);
}

#[test]
fn a_dead_letter_or_an_abort_in_the_middle_undoes_what_was_done_the_last_thing_first() {
    let bare = WIRING.replace("compensate = true\n", "");
    for (charge, wiring) in [("fatal", WIRING), ("abort", &bare)] {
        let (mut h, world) = harness_wired(charge, wiring);

        let flow = ask(&mut h);
        h.run_until_idle();

        assert_eq!(
            world.done(),
            UNDONE,
            "{charge}: the second undo waits for all that follows from the first"
        );
        h.assert_flow(&flow, FlowStatus::Compensated);
        let view = h.flow(&flow);
        let back = view.compensation.unwrap();
        assert_eq!((back.undone, back.left, view.open, view.dead), (2, 0, 0, 0));
        assert!(back.reason.contains("charge: ") && back.reason.contains("stolen"), "{}", back.reason);
        assert_eq!(h.events("tidegate.flow.cancelled").len(), 1);
        assert_eq!(h.events("tidegate.flow.compensated").len(), 1);
        assert!(h.dead_letters().is_empty(), "nobody has to look at it any more");
    }
}

#[test]
fn a_dead_letter_undoes_nothing_when_nobody_has_asked_for_that() {
    let (mut h, world) = harness_wired("fatal", &WIRING.replace("compensate = true\n", ""));

    let flow = ask(&mut h);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Failed);
    assert_eq!(world.done(), ["reserve", "pack"]);
    h.cancel(&flow);
    h.run_until_idle();
    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(world.done(), UNDONE);
}

#[test]
fn an_operator_cancels_a_flow_that_waits_for_a_retry_and_it_is_undone_at_once() {
    let (mut h, world) = harness("retry");
    let flow = ask(&mut h);
    h.run_until_idle();
    h.assert_flow(&flow, FlowStatus::Processing);

    h.cancel(&flow);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(world.done(), UNDONE);
    let view = h.flow(&flow);
    assert_eq!((view.open, view.compensation.unwrap().by.as_str()), (0, "test"));
    let fact: serde_json::Value = h.assert_emitted("tidegate.flow.cancelled");
    assert_eq!((fact["flow"].as_str(), fact["by"].as_str()), (Some(flow.as_str()), Some("test")));
    // The key is free again, long before the retry would have been due.
    *world.charge.lock().unwrap() = "";
    h.publish_as("o2", "order.asked", json!({"order": "o1"}));
    h.run_until_idle();
    assert!(world.done().contains(&"ship".to_owned()), "{:?}", world.done());
    // Cancelling again changes nothing.
    h.cancel(&flow);
    h.run_until_idle();
    assert_eq!(h.events("tidegate.flow.cancelled").len(), 1);
}

#[test]
fn a_flow_that_is_done_and_has_not_passed_its_point_of_no_return_can_still_be_undone() {
    let short = &WIRING[..WIRING.find("[subscription.charge]").unwrap()];
    let rest = &WIRING[WIRING.find("[subscription.release]").unwrap()..];
    let (mut h, world) = harness_wired("", &format!("{short}{rest}"));
    let flow = ask(&mut h);
    h.run_until_idle();
    h.assert_flow(&flow, FlowStatus::Done);

    h.cancel(&flow);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(world.done(), UNDONE);
}

#[test]
fn a_flow_without_undos_that_is_cancelled_is_compensated_at_once() {
    let (mut h, world) = harness("");
    h.pause("reserve", true);
    let flow = ask(&mut h);
    h.run_until_idle();

    h.cancel(&flow);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(h.flow(&flow).open, 1, "what cannot run is not waited for");
    h.restart();
    h.pause("reserve", false);
    h.run_until_idle();
    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!((h.flow(&flow).open, world.done()), (0, vec![]), "and never runs");
}

#[test]
fn an_attempt_that_runs_when_the_cancel_comes_may_end_and_is_undone_as_well() {
    let (mut h, world) = harness("");
    world.pack_waits.turn(true);
    let flow = ask(&mut h);
    h.wait_for(world.at_pack.notified());

    h.cancel(&flow);
    assert_eq!(h.flow(&flow).status, FlowStatus::Compensating);
    world.go.notify_one();
    h.run_until_idle();

    assert_eq!(world.done(), UNDONE, "and what it emitted is not handled");
    h.assert_flow(&flow, FlowStatus::Compensated);
}

#[test]
fn an_attempt_that_passes_the_point_of_no_return_calls_the_undoing_off() {
    let (mut h, world) = harness("slow");
    let flow = ask(&mut h);
    h.wait_for(world.at_pack.notified());

    h.cancel(&flow);
    world.go.notify_one();
    h.run_until_idle();

    assert_eq!(world.done(), ["reserve", "pack", "charge", "ship"], "what was charged is shipped");
    h.assert_flow(&flow, FlowStatus::Done);
    let back = h.flow(&flow).compensation.unwrap();
    assert_eq!((back.state.as_str(), back.undone), ("called_off", 0));
}

#[test]
fn a_stuck_undo_is_told_once_and_goes_on_when_it_is_repaired() {
    let (mut h, world) = harness("fatal");
    world.unpack_fails.turn(true);

    let flow = ask(&mut h);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Stuck);
    assert_eq!(h.flow(&flow).compensation.unwrap().state, "stuck");
    assert_eq!(world.done(), ["reserve", "pack"], "the undo before waits for this one");
    h.restart();
    h.run_until_idle();
    assert_eq!(h.events("tidegate.flow.stuck").len(), 1);
    let letter = h.dead_letters().remove(0);
    let fact: serde_json::Value = h.assert_emitted("tidegate.flow.stuck");
    assert_eq!(fact["dead_letters"][0], letter.id);

    h.retry(&letter.id);
    h.run_until_idle();
    assert_eq!(h.events("tidegate.flow.stuck").len(), 2, "failed again, told again");
    world.unpack_fails.turn(false);
    h.retry(&letter.id);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(world.done(), UNDONE);
}

#[test]
fn an_undo_that_a_person_gives_up_lets_the_others_go_on() {
    let (mut h, world) = harness("fatal");
    world.unpack_fails.turn(true);
    let flow = ask(&mut h);
    h.run_until_idle();

    let letter = h.dead_letters().remove(0);
    h.skip(&letter.id);
    h.run_until_idle();

    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(world.done(), ["reserve", "pack", "release"]);
}

#[test]
fn a_crash_at_any_outcome_ends_the_same() {
    for name in ["reserve", "pack", "charge", "unpack", "shelve", "release"] {
        for point in [CrashPoint::BeforeSettle(name.to_owned()), CrashPoint::AfterSettle(name.to_owned())] {
            let (mut h, world) = harness("fatal");
            h.crash_at(point.clone());

            let flow = ask(&mut h);
            h.run_until_idle();
            assert!(h.has_crashed(), "{point:?}");
            h.restart();
            h.run_until_idle();

            h.assert_flow(&flow, FlowStatus::Compensated);
            let mut done = world.done();
            // A crash before the record repeats one call; none is left out, and the order holds.
            done.dedup();
            assert_eq!(done, UNDONE, "{point:?}");
            assert_eq!(
                h.events("parcel.unpack").len() + h.events("reservation.release").len(),
                2,
                "{point:?}"
            );
        }
    }
}

#[test]
fn a_crash_after_any_commit_ends_the_same() {
    let mut commits = 0;
    loop {
        let (mut h, world) = harness("fatal");
        h.crash_at(CrashPoint::AfterCommits(commits));

        let flow = h.try_publish(asked()).map(|accepted| accepted.flow.clone());
        h.run_until_idle();
        let is_over = !h.has_crashed();
        h.crash_at(CrashPoint::AfterCommits(u64::MAX));
        h.restart();
        let flow = flow.unwrap_or_else(|_| h.publish_draft(asked()).flow.clone());
        h.run_until_idle();

        h.assert_flow(&flow, FlowStatus::Compensated);
        let mut done = world.done();
        done.dedup();
        assert_eq!(done, UNDONE, "after {commits} commits");
        for fact in ["tidegate.flow.cancelled", "tidegate.flow.compensated"] {
            assert_eq!(h.events(fact).len(), 1, "{fact} after {commits} commits");
        }
        if is_over {
            assert!(commits > 8, "{commits}");
            return;
        }
        commits += 1;
    }
}

#[test]
fn what_belongs_to_an_undoing_cannot_be_said_from_outside() {
    let (mut h, world) = harness("");
    h.pause("reserve", true);
    let flow = ask(&mut h);
    h.cancel(&flow);
    h.run_until_idle();

    let name = tidegate::event::EventName::new("order.packed").unwrap();
    let mut draft = Draft::json(name, bytes::Bytes::from_static(b"{\"order\":\"o1\"}"));
    draft.flow = Some(flow.clone());
    draft.extensions.insert("tidegatecompensation".to_owned(), "1".to_owned());
    h.publish_draft(draft);
    h.run_until_idle();

    assert_eq!(world.done(), [""; 0], "it is skipped as everything else of the flow");
}

#[test]
fn a_delayed_event_and_its_deliveries_are_given_up() {
    let (mut h, world) = harness("");
    h.pause("pack", true);
    let flow = ask(&mut h);
    let name = tidegate::event::EventName::new("order.packed").unwrap();
    let mut draft = Draft::json(name, bytes::Bytes::from_static(b"{\"order\":\"o1\"}"));
    draft.flow = Some(flow.clone());
    draft.due = Some(h.clock().now().plus(Duration::from_hours(9)));
    h.publish_draft(draft);
    h.run_until_idle();

    h.cancel(&flow);
    h.pause("pack", false);
    h.run_until_idle();
    h.advance(Duration::from_hours(10));

    assert!(!world.done().contains(&"charge".to_owned()), "{:?}", world.done());
    h.assert_flow(&flow, FlowStatus::Compensated);
    assert_eq!(h.flow(&flow).open, 0);
}
