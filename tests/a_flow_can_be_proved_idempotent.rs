//! Promise: the test kit runs a flow against every crash point and every duplicate, demands the same end, and
//! finds a step that is not idempotent.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{job, wired, work};
use tidegate::bus::view::FlowStatus;
use tidegate::prelude::*;
use tidegate::testing::{Harness, prove_idempotent};

/// What was charged, by effect key; a repeat under the same key is known.
type Ledger = Arc<Mutex<BTreeMap<String, u64>>>;

fn charging(
    key: impl Fn(&StepContext) -> String + Send + Sync + Copy + 'static,
) -> (impl Fn() -> Harness, Ledger) {
    let ledger = Ledger::default();
    let bank = Arc::clone(&ledger);
    let make = move || {
        bank.lock().unwrap().clear();
        let bank = Arc::clone(&bank);
        let (steps, _) = work(move |job, cx| {
            bank.lock().unwrap().insert(key(cx), job.n);
            if job.n == 2 && cx.attempt() < 3 { Err(StepError::retry("again")) } else { Ok(()) }
        });
        Harness::new(steps, &wired("retry = { backoff = { first = \"1s\", jitter = 0.0 } }"))
    };
    (make, ledger)
}

fn three_jobs(h: &mut Harness) {
    for n in 1..=3 {
        h.publish("job.given", job(n, if n == 3 { "b" } else { "a" }));
    }
    h.advance(Duration::from_mins(1));
}

#[test]
fn a_step_that_passes_its_effect_key_on_comes_to_one_end() {
    let (make, ledger) = charging(|cx| cx.effect_key("charge"));

    let proof = prove_idempotent(make, |h| {
        three_jobs(h);
        ledger.lock().unwrap().values().copied().collect::<Vec<_>>()
    });

    assert!(proof.crashes >= 8, "{proof:?}");
}

#[test]
fn a_step_that_draws_a_new_key_each_time_is_found_out() {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let (make, ledger) = charging(|_| NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string());

    let proof = catch_unwind(AssertUnwindSafe(|| {
        prove_idempotent(make, |h| {
            three_jobs(h);
            ledger.lock().unwrap().values().copied().collect::<Vec<_>>()
        })
    }));

    let text = *proof.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("comes to another end") && text.contains("job.given"), "{text}");
}

#[test]
fn an_expectation_that_is_not_met_shows_the_timeline_and_the_cause() {
    let steps = work(|_, _| Err(StepError::fatal("stolen", "the card is stolen"))).0;
    let mut h = Harness::new(steps, &wired(""));
    let accepted = h.publish_as("one", "job.given", job(1, "a"));
    h.run_until_idle();

    let unmet = catch_unwind(AssertUnwindSafe(|| h.assert_flow(&accepted.flow, FlowStatus::Done)));

    let text = *unmet.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("work: Dead, attempts 1") && text.contains("repair dead letter work-1"), "{text}");
}
