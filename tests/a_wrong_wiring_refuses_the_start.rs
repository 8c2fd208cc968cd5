//! Promise: what is wired wrongly refuses the start with every problem at once; reserved and, in strict mode,
//! unheard names are refused when they are published.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use kit::{job, wired, work};
use tidegate::bus::PublishError;
use tidegate::clock::Clock;
use tidegate::event::{Draft, EventName, Timestamp};
use tidegate::runtime::{StartError, start_on};
use tidegate::store::{MemoryStore, StoreSettings};
use tidegate::testing::Harness;

#[test]
fn every_problem_is_told_at_once() {
    let wiring = "[subscription.one]\nstep = \"wrok\"\non = [\"job.given\"]\n[subscription.two]\nstep = \"gone\"\non = [\"job.given\"]\n";
    let settings = tidegate::config::load_text(wiring).unwrap().settings;
    let store = Box::new(MemoryStore::new(&StoreSettings::default()).unwrap());

    let refused = start_on(store, &settings, work(|_, _| Ok(())).0, &Clock::manual(Timestamp(1)));

    let Err(StartError::Wiring(problems)) = refused else { panic!("it started") };
    let text = problems.to_string();
    for part in ["wrok", "gone", "work"] {
        assert!(text.contains(part), "{text}");
    }
}

fn refusal(wiring: &str, name: &str) -> PublishError {
    let mut h = Harness::new(work(|_, _| Ok(())).0, wiring);
    let draft = Draft::json(EventName::new(name).unwrap(), job(1, "a").to_string().into_bytes().into());
    let refused = h.try_publish(draft).unwrap_err();
    h.run_until_idle();
    assert!(h.events(name).is_empty());
    refused
}

#[test]
fn a_name_of_the_bus_itself_is_refused() {
    let refused = refusal(&wired(""), "tidegate.audited");

    assert!(matches!(refused, PublishError::Reserved { .. }), "{refused}");
}

#[test]
fn in_strict_mode_a_name_that_nobody_hears_is_refused_with_the_nearest() {
    let refused = refusal(&("[http]\nstrict = true\n".to_owned() + &wired("")), "job.givne");

    assert!(
        matches!(&refused, PublishError::Unheard { suggestion: Some(near), .. } if near == "job.given"),
        "{refused}"
    );
}
