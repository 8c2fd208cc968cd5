//! Promise: an event that is acknowledged while the subscriptions are still reading what was pending before
//! the start is delivered as any other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::bus::view::FlowStatus;
use tidegate::prelude::*;
use tidegate::testing::Harness;

#[derive(Serialize, Deserialize)]
struct Made {
    n: u64,
}
impl Event for Made {
    const NAME: &'static str = "thing.made";
}

#[derive(Debug)]
struct Take;
impl Step for Take {
    const NAME: &'static str = "take";
    type State = ();
}
impl On<Made> for Take {
    type Emits = ();
    async fn on(&self, _: Made, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

#[test]
fn however_the_start_and_the_first_event_meet() {
    let wiring = "[subscription.take]\nstep = \"take\"\non = [\"thing.made\"]\n";
    for start in 0..60 {
        let mut h = Harness::new(Registry::new().step(Take).on::<Made>(), wiring);

        // A different number of events in between lets the meeting fall elsewhere.
        for n in 0..=start % 5 {
            h.publish_as(&format!("e{n}"), "thing.made", json!({"n": n}));
        }
        h.run_until_idle();

        for n in 0..=start % 5 {
            let status = h.status("/http", &format!("e{n}"));
            assert_eq!(status.status, FlowStatus::Done, "start {start}, event {n}: {status:?}");
        }
    }
}
