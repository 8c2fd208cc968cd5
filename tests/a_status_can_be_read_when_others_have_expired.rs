//! Upkeep commits by itself on a quiet bus; who reads meanwhile is answered, and what is past its time is gone.

use std::time::Duration;

use serde_json::json;
use tidegate::bus::QueryError;
use tidegate::clock::Stopwatch;
use tidegate::testing::Harness;
use tidegate::{Event, On, Registry, Step, StepContext, StepError};

/// Guards the test against waiting for ever.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(serde::Serialize, serde::Deserialize)]
struct Asked {}

impl Event for Asked {
    const NAME: &'static str = "it.asked";
}

struct Answer;

impl Step for Answer {
    const NAME: &'static str = "answer";
    type State = ();
}

impl On<Asked> for Answer {
    type Emits = ();

    async fn on(&self, _: Asked, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

#[test]
fn on_a_quiet_bus_too() {
    let wiring = "[subscription.answer]\nstep = \"answer\"\non = [\"it.asked\"]\n";
    let mut h = Harness::new(Registry::new().step(Answer).on::<Asked>(), wiring);
    h.publish_as("old", "it.asked", json!({}));
    h.run_until_idle();

    h.advance(Duration::from_hours(25));

    let since = Stopwatch::start();
    let old = loop {
        let status =
            h.wait_for(async { tokio::time::timeout(PATIENCE, h.bus().status("/http", "old")).await });
        match status.expect("an answer, whatever upkeep has committed by itself") {
            Ok(_) => assert!(since.elapsed() < PATIENCE, "its time to live is over and it is still there"),
            Err(gone) => break gone,
        }
    };
    assert!(matches!(old, QueryError::Gone { .. } | QueryError::NotFound { .. }), "{old:?}");
    h.publish_as("new", "it.asked", json!({}));
    h.run_until_idle();
    assert_eq!(h.status("/http", "new").open, 0);
}
