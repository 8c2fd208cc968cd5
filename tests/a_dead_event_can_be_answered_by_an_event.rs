//! Promise: `on_dead` emits the named event with the dead event's data and the reason, or nothing when that
//! data is not what the named event's type says.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use kit::{job, wired, work};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::prelude::*;
use tidegate::testing::Harness;

#[derive(Debug, Serialize, Deserialize)]
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

fn harness() -> Harness {
    let (steps, _) = work(|_, _| Err(StepError::fatal("stolen", "the card is stolen")));
    let wiring = wired("on_dead = \"refund.started\"")
        + "[subscription.pay]\nstep = \"pay\"\non = [\"refund.started\"]\n";
    Harness::new(steps.step(Pay).on::<Refund>(), &wiring)
}

#[test]
fn with_its_data_and_the_reason_in_the_same_flow() {
    let mut h = harness();

    let accepted = h.publish("job.given", job(7, "a"));
    h.run_until_idle();

    let refund: Refund = h.emitted("refund.started").remove(0);
    assert_eq!((refund.n, refund.reason.as_str()), (7, "fatal (stolen): the card is stolen"));
    let event = &h.events("refund.started")[0];
    assert_eq!((&event.flow, event.causation.as_ref()), (&accepted.flow, Some(&accepted.id)));
    assert_eq!(h.dead_letters().len(), 1, "the letter waits for a person all the same");
}

#[test]
fn nothing_when_it_would_not_decode() {
    let mut h = harness();

    h.publish("job.given", json!({"n": "many"}));
    h.run_until_idle();

    h.assert_not_emitted("refund.started");
    assert_eq!(h.dead_letters()[0].reason, "undecodable");
}
