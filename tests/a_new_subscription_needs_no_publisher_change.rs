//! Promise: who listens is said in the wiring alone; publishers and the other listeners notice nothing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::format_collect,
    reason = "a promise ends where it is broken"
)]

mod kit;

use kit::{job, wired, work};
use tidegate::bus::view::FlowStatus;
use tidegate::testing::Harness;

fn also(name: &str, on: &str, more: &str) -> String {
    format!("[subscription.{name}]\nstep = \"work\"\non = {on}\n{more}\n")
}

#[test]
fn every_subscription_gets_its_own_delivery() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(
        steps,
        &(wired("") + &also("second", "[\"job.given\"]", "") + &also("third", "[\"job.given\"]", "")),
    );

    let accepted = h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let mut called: Vec<String> = log.all().into_iter().map(|call| call.subscription).collect();
    called.sort();
    assert_eq!(called, ["second", "third", "work"]);
    assert_eq!(h.flow(&accepted.flow).events[0].deliveries.len(), 3);
    h.assert_flow(&accepted.flow, FlowStatus::Done);
}

#[test]
fn each_keeps_its_own_state() {
    let (steps, _) = work(|job, cx| {
        if cx.subscription() == "second" && job.n == 2 {
            Err(tidegate::StepError::skip("not mine"))
        } else {
            Ok(())
        }
    });
    let mut h = Harness::new(steps, &(wired("") + &also("second", "[\"job.given\"]", "")));

    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();

    assert_eq!(h.state("work", "a")["sum"], 3);
    assert_eq!(h.state("second", "a")["sum"], 1);
}

#[test]
fn patterns_take_what_they_say_and_not_the_exceptions() {
    let (steps, log) = anything();
    let wiring = [
        ("one_token", r#"["job.*"]"#),
        ("the_rest", r#"["job.>"]"#),
        ("but_one", r#"["job.>", "!job.lost"]"#),
        ("exact", r#"["job.given"]"#),
    ];
    let wiring: String = wiring
        .iter()
        .map(|(name, on)| format!("[subscription.{name}]\nstep = \"any\"\non = {on}\n"))
        .collect();
    let mut h = Harness::new(steps, &wiring);

    for name in ["job.given", "job.lost", "job.given.twice", "job", "other.given"] {
        h.publish(name, job(1, "a"));
    }
    h.run_until_idle();

    let of = |subscription: &str| {
        let mut names: Vec<String> = log
            .lock()
            .unwrap()
            .iter()
            .filter(|(s, _)| s == subscription)
            .map(|(_, name)| name.clone())
            .collect();
        names.sort();
        names
    };
    assert_eq!(of("one_token"), ["job.given", "job.lost"]);
    assert_eq!(of("the_rest"), ["job.given", "job.given.twice", "job.lost"]);
    assert_eq!(of("but_one"), ["job.given", "job.given.twice"]);
    assert_eq!(of("exact"), ["job.given"]);
}

#[test]
fn one_that_is_added_sees_from_now_or_from_the_start_as_it_says() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps.clone(), &wired(""));
    for n in 1..=3 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();

    let more = also("late", "[\"job.given\"]", "from = \"now\"")
        + &also("whole", "[\"job.given\"]", "from = \"start\"");
    h.rewire(steps.clone(), &(wired("") + &more));
    h.run_until_idle();
    h.publish("job.given", job(4, "a"));
    h.run_until_idle();

    assert_eq!(log.of("late"), [4]);
    assert_eq!(log.of("whole"), [1, 2, 3, 4]);
    assert_eq!(log.of("work"), [1, 2, 3, 4], "the others do not notice");

    // It is new once only: `start` does not begin again with every start of the process.
    h.rewire(steps, &(wired("") + &more));
    h.run_until_idle();
    assert_eq!(log.of("whole"), [1, 2, 3, 4]);
}

#[test]
fn one_that_is_taken_out_keeps_its_backlog_and_picks_up_when_it_is_back() {
    let (steps, log) = work(|_, _| Ok(()));
    let both = wired("") + &also("gone", "[\"job.given\"]", "");
    let mut h = Harness::new(steps.clone(), &both);
    h.pause("gone", true);
    for n in 1..=3 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();

    h.rewire(steps.clone(), &wired(""));
    h.run_until_idle();
    let orphan = h.subscription("gone");
    assert_eq!((orphan.state.as_str(), orphan.backlog), ("orphaned", 3));
    h.publish("job.given", job(4, "a"));
    h.run_until_idle();

    h.rewire(steps, &both);
    h.pause("gone", false);
    h.run_until_idle();
    let back = h.subscription("gone");
    assert_eq!((back.state.as_str(), back.backlog), ("running", 0));
    assert_eq!(log.of("gone"), [1, 2, 3], "what came while it was gone is not its own");
}

type Names = std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>;

struct Any(Names);
impl tidegate::Step for Any {
    const NAME: &'static str = "any";
    type State = ();
}
impl tidegate::OnAny for Any {
    type Emits = ();
    async fn on_any(
        &self,
        event: &tidegate::event::Envelope,
        (): &mut (),
        cx: &tidegate::StepContext,
    ) -> Result<(), tidegate::StepError> {
        self.0.lock().unwrap().push((cx.subscription().to_owned(), event.name.to_string()));
        Ok(())
    }
}

fn anything() -> (tidegate::Registry, Names) {
    let names = Names::default();
    (tidegate::Registry::new().step(Any(Names::clone(&names))).on_any().into(), names)
}
