//! Promise: who listens can be changed while the bus runs; nothing is lost, doubled or put out of order by it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::format_collect,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kit::{Dice, Job, Log, Switch, Told, job, wired, work};
use serde_json::Value;
use tidegate::bus::view::{DeadLetterFilter, FlowStatus};
use tidegate::bus::{Operator, ReloadError, SubscriptionDiff};
use tidegate::event::{Draft, EventName};
use tidegate::prelude::*;
use tidegate::testing::Harness;
use tidegate::{Registry, StepError};

fn also(name: &str, more: &str) -> String {
    format!("[subscription.{name}]\nstep = \"work\"\non = [\"job.given\"]\n{more}\n")
}

fn names(diffs: &[SubscriptionDiff]) -> Vec<&str> {
    diffs.iter().map(|diff| diff.name.as_str()).collect()
}

#[test]
fn a_subscription_that_is_added_gets_what_comes_from_then_on() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let diff = h.reload(&(wired("") + &also("late", "")));
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();

    assert!(diff.applied);
    assert_eq!((names(&diff.added), diff.unchanged), (vec!["late"], vec!["work".to_owned()]));
    assert_eq!((log.of("work"), log.of("late")), (vec![1, 2], vec![2]));
}

#[test]
fn one_that_is_added_from_the_start_has_no_gap_however_busy_the_bus_is() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    let crowd = Crowd::publish(&h, 4, 60);
    h.wait_for(crowd.reached(40));

    h.reload(&(wired("") + &also("whole", "from = \"start\"")));

    h.wait_for(crowd.end());
    h.run_until_idle();
    let mut seen = log.of("whole");
    seen.sort_unstable();
    assert_eq!(seen, (0..240).collect::<Vec<_>>());
    let keys: Vec<Vec<u64>> = (0..4).map(|k| of_key(&log, "whole", &format!("k{k}"))).collect();
    assert!(keys.iter().all(|of| of.is_sorted()), "in the order of acknowledgement: {keys:?}");
}

#[test]
fn one_that_is_taken_out_keeps_its_backlog_and_its_order_until_it_is_back() {
    let (steps, log) = work(|_, _| Ok(()));
    let both = wired("") + &also("gone", "");
    let mut h = Harness::new(steps, &both);
    h.pause("gone", true);
    let flows: Vec<_> = (1..=3).map(|n| h.publish("job.given", job(n, "a")).flow.clone()).collect();
    h.run_until_idle();

    let away = h.reload(&wired(""));
    h.publish("job.given", job(4, "a"));
    h.run_until_idle();

    assert_eq!((names(&away.orphaned), away.orphaned[0].backlog), (vec!["gone"], 3));
    let orphan = h.subscription("gone");
    assert_eq!((orphan.state.as_str(), orphan.backlog), ("orphaned", 3));
    h.assert_flow(&flows[0], FlowStatus::Processing);

    let back = h.reload(&both);
    h.pause("gone", false);
    h.publish("job.given", job(5, "a"));
    h.run_until_idle();

    assert_eq!((names(&back.attached), back.attached[0].backlog), (vec!["gone"], 3));
    assert_eq!(log.of("gone"), [1, 2, 3, 5], "what came while it was gone is not its own");
    assert_eq!(log.of("work"), [1, 2, 3, 4, 5]);
    h.assert_flow(&flows[0], FlowStatus::Done);
}

#[test]
fn patterns_change_for_what_comes_after() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let on = |name: &str| format!("[subscription.hear]\nstep = \"hear\"\non = [\"{name}\"]\n");
    let mut h = Harness::new(hearing(Registry::new(), &told), &on("job.given"));
    h.publish("job.given", 1);
    h.publish("job.other", 2);

    let diff = h.reload(&on("job.other"));
    h.publish("job.given", 3);
    h.publish("job.other", 4);
    h.reload(&on("job.*"));
    h.publish("job.given", 5);
    h.publish("job.other", 6);
    h.run_until_idle();

    let key = &diff.changed[0].keys[0];
    let change = (key.key.as_str(), key.from.as_deref(), key.to.as_deref());
    assert_eq!(change, ("on", Some("job.given"), Some("job.other")));
    assert_eq!(*told.lock().unwrap(), [1, 4, 5, 6]);
    assert_eq!(h.subscription("hear").on, ["job.*"]);
}

/// A reload that touches only limits ends no attempt: one that runs goes on under the new ones.
#[test]
fn concurrency_changes_in_place_while_attempts_run() {
    let gate = Gate::default();
    let (steps, _) = gate.steps();
    let mut h = Harness::new(steps, &gated("concurrency = 1"));
    for n in 0..6 {
        h.publish("job.given", job(n, &n.to_string()));
    }
    h.wait_for(gate.inside(1));

    let diff = h.reload(&gated("concurrency = 4"));

    h.wait_for(gate.inside(4));
    assert!(!diff.changed[0].is_replaced);
    assert_eq!(gate.starts(), 4, "the one that ran was not started again");
    gate.open();
    h.run_until_idle();
    assert_eq!((gate.starts(), gate.most()), (6, 4));
}

#[test]
fn retries_and_time_outs_change_in_place() {
    let (steps, log) = work(|_, _| Err(StepError::retry("the bank is down")));
    let policy =
        |n: u32| format!("retry = {{ max_attempts = {n}, backoff = {{ first = \"1s\", jitter = 0.0 }} }}");
    let mut h = Harness::new(steps, &wired(&policy(10)));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let diff = h.reload(&wired(&(policy(2) + "\ntimeout = \"7s\"\n")));
    h.advance(Duration::from_mins(5));

    let keys: Vec<&str> = diff.changed[0].keys.iter().map(|key| key.key.as_str()).collect();
    assert_eq!(keys, ["retry.max_attempts", "timeout"]);
    assert_eq!((log.count(1), h.subscription("work").dead), (2, 1));
}

#[test]
fn a_lowered_count_of_attempts_makes_dead_letters_of_what_is_over_it() {
    let (steps, log) = work(|_, _| Err(StepError::retry("the bank is down")));
    let policy =
        |n: u32| format!("retry = {{ max_attempts = {n}, backoff = {{ first = \"1h\", max = \"9h\" }} }}");
    let mut h = Harness::new(steps, &wired(&policy(10)));
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "b"));
    h.run_until_idle();

    h.reload(&wired(&policy(1)));
    h.run_until_idle();

    let letters = h.wait_for(h.bus().dead_letters(DeadLetterFilter::default(), None, 10)).unwrap().items;
    assert_eq!((letters.len(), letters[0].reason.as_str(), log.all().len()), (2, "attempts", 2));
}

/// What a person has switched by hand outlives another actor: the pause and the parked keys.
#[test]
fn what_is_held_by_hand_is_held_by_the_next_actor_as_well() {
    let log = Log::default();
    let steps = Registry::new().step(Old(log.clone())).on::<Job>().step(Renamed(log.clone())).on::<Job>();
    let by = |step: &str| format!("[subscription.desk]\nstep = \"{step}\"\non = [\"job.given\"]\n");
    let mut h = Harness::new(steps, &by("old"));
    h.wait_for(h.bus().park_key("desk", "a", Operator::default())).unwrap();
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "b"));
    h.run_until_idle();

    h.reload(&by("renamed"));
    h.publish("job.given", job(3, "b"));
    h.run_until_idle();
    assert_eq!(log.of("desk"), [2, 3]);
    h.reload("");
    h.reload(&by("old"));
    h.run_until_idle();
    assert_eq!(log.of("desk"), [2, 3]);
    h.wait_for(h.bus().resume_key("desk", "a", Operator::default())).unwrap();
    h.run_until_idle();

    assert_eq!(log.of("desk"), [2, 3, 1]);
}

#[test]
fn a_wiring_with_errors_keeps_the_old_one_and_says_why() {
    let (steps, log) = work(|_, _| Ok(()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = "[subscription.hear]\nstep = \"hear\"\non = [\"tidegate.wiring.refused\"]\n";
    let mut h = Harness::new(hearing(steps, &told), &(wired("") + heard));

    for (wiring, why) in [
        ("[subscription.work]\nstep = \"wrok\"\non = [\"job.given\"]\n", "unknown step `wrok`"),
        ("[subscription.work]\nstep = \"work\"\non = [\"job.giv", "topology.toml:3"),
        ("[subscription.work]\nstep = \"work\"\non = [\"job.given\"]\nconcurency = 1\n", "concurency"),
    ] {
        let Err(ReloadError::Refused { text, faults }) = h.try_reload(wiring, false) else { panic!("taken") };
        assert!(text.contains(why), "{text}");
        assert!(faults[0].place.starts_with("topology.toml:"), "{faults:?}");
    }
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    assert_eq!(log.of("work"), [1]);
    assert_eq!(told.lock().unwrap().len(), 3);
    assert!(told.lock().unwrap()[0]["problem"].as_str().unwrap().contains("unknown step"));
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));

    let diff = h.try_reload(&(wired("concurrency = 2") + &also("late", "")), true).unwrap();
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    assert!(!diff.applied);
    assert_eq!((names(&diff.added), names(&diff.changed)), (vec!["late"], vec!["work"]));
    assert_eq!(log.all().len(), 1);
    assert_eq!(h.wait_for(h.bus().subscriptions()).unwrap().len(), 1);
}

#[test]
fn what_needs_a_restart_is_listed_and_not_done() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));

    let diff = h.reload(&(wired("") + "[http]\nstrict = true\n[app.bank]\nlatency = \"1s\"\n"));

    let keys: Vec<&str> = diff.needs_restart.iter().map(|key| key.key.as_str()).collect();
    assert_eq!((keys, diff.applied), (vec!["app.bank.latency", "http.strict"], false));
    h.publish("nobody.listens", job(1, "a"));
}

#[test]
fn a_reload_is_told_with_its_difference_to_those_who_listen() {
    let (steps, _) = work(|_, _| Ok(()));
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = "[subscription.hear]\nstep = \"hear\"\non = [\"tidegate.wiring.reloaded\"]\n";
    let mut h = Harness::new(hearing(steps, &told), &wired(""));

    h.reload(&(wired("") + heard));
    h.reload(&(wired("concurrency = 3") + heard));
    h.reload(&(wired("concurrency = 3") + heard));
    h.run_until_idle();

    let told = told.lock().unwrap();
    assert_eq!(
        told.len(),
        2,
        "the first is told to the one that it has added; what changes nothing is not told"
    );
    assert_eq!(told[0]["added"][0]["name"], "hear");
    assert_eq!((&told[1]["changed"][0]["keys"][0]["to"], &told[1]["by"]), (&"3".into(), &"".into()));
}

/// Watermill's trap: a handler's name is its subscription's identity there, and renaming it consumes
/// everything again. Here the table's name is, and the step is only what runs.
#[test]
fn a_renamed_step_does_not_begin_anew() {
    let log = Log::default();
    let steps = Registry::new().step(Old(log.clone())).on::<Job>().step(Renamed(log.clone())).on::<Job>();
    let by = |step: &str| format!("[subscription.desk]\nstep = \"{step}\"\non = [\"job.given\"]\n");
    let mut h = Harness::new(steps, &by("old"));
    for n in 1..=3 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    h.pause("desk", true);
    h.publish("job.given", job(4, "a"));

    let diff = h.reload(&by("renamed"));
    h.pause("desk", false);
    h.publish("job.given", job(5, "a"));
    h.run_until_idle();

    assert!(diff.changed[0].is_replaced);
    assert_eq!(log.of("desk"), [1, 2, 3, 4, 5]);
    assert_eq!((h.state("desk", "a"), h.subscription("desk").step), (5.into(), "renamed".to_owned()));
}

/// An attempt that runs when its subscription gets another step ends on the old one, and only then does the
/// new one begin.
#[test]
fn a_running_attempt_ends_before_its_step_is_changed() {
    let gate = Gate::default();
    let (steps, log) = gate.steps();
    let steps = steps.step(Renamed(log.clone())).on::<Job>();
    let by = |step: &str| format!("[subscription.work]\nstep = \"{step}\"\non = [\"job.given\"]\n");
    let mut h = Harness::new(steps, &by("gated"));
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "a"));
    h.wait_for(gate.inside(1));

    // So that the second is still there for the new step, whenever the first is let go.
    h.pause("work", true);
    let opener = std::thread::spawn({
        let gate = gate.clone();
        move || gate.open()
    });

    let diff = h.reload(&by("renamed"));
    opener.join().unwrap();
    h.pause("work", false);
    h.run_until_idle();

    assert!(diff.changed[0].is_replaced);
    assert_eq!((log.of("work"), gate.starts()), (vec![1, 2], 1));
    assert_eq!(h.state("work", "a"), 2);
    assert_eq!(log.count(1), 1, "the outcome of the old one counts");
}

/// Who does not end in time is interrupted, which counts as nothing: the next one begins it anew.
#[test]
fn an_attempt_that_does_not_end_in_time_is_begun_again_by_the_next_step() {
    let gate = Gate::default();
    let (steps, log) = gate.steps();
    let steps = steps.step(Renamed(log.clone())).on::<Job>();
    let by = |step: &str| {
        format!("[shutdown]\ndrain = \"0s\"\n[subscription.work]\nstep = \"{step}\"\non = [\"job.given\"]\n")
    };
    let mut h = Harness::new(steps, &by("gated"));
    h.publish("job.given", job(1, "a"));
    h.wait_for(gate.inside(1));

    h.reload(&by("renamed"));
    h.run_until_idle();

    let attempts: Vec<u32> = log.all().iter().map(|call| call.attempt).collect();
    assert_eq!((log.of("work"), attempts), (vec![1, 1], vec![1, 1]));
    assert_eq!(h.state("work", "a"), 1);
}

/// A thread cannot be interrupted. As long as one is in the old step there is no new one: the reload is
/// refused as a whole, and everything goes on as it was.
#[test]
fn a_step_that_cannot_be_ended_refuses_the_reload_as_a_whole() {
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (log, entered) = (Log::default(), Arc::new(tokio::sync::Notify::new()));
    let stuck = Stuck { held: Mutex::new(held), entered: Arc::clone(&entered), log: log.clone() };
    let steps = Registry::new().step(stuck).on::<Job>().step(Renamed(log.clone())).on::<Job>();
    let by = |step: &str, more: &str| {
        format!(
            "[shutdown]\ndrain = \"0s\"\n[subscription.work]\nstep = \"{step}\"\non = [\"job.given\"]\n{more}"
        )
    };
    let late = "[subscription.late]\nstep = \"renamed\"\non = [\"job.given\"]\n";
    let mut h = Harness::new(steps, &by("stuck", ""));
    h.publish("job.given", job(1, "a"));
    h.wait_for(entered.notified());

    let refused = h.try_reload(&by("renamed", late), false);

    let Err(ReloadError::NotNow { why }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("work"), "{why}");
    assert_eq!(h.wait_for(h.bus().subscriptions()).unwrap().len(), 1, "nothing of it is applied");
    let_go.send(()).unwrap();
    h.run_until_idle();
    drop(let_go);
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();
    assert_eq!(log.of("work"), [1, 2], "it goes on with the step of before");
    assert!(h.reload(&by("renamed", late)).applied);
}

/// The message queues' trap 9: the handler of a dead letter is gone. It is listed all the same, and with its
/// handler it can be tried again.
#[test]
fn a_dead_letter_whose_subscription_is_gone_is_listed_and_can_be_taken_up_again() {
    let mended = Switch::default();
    let (steps, log) = work({
        let mended = mended.clone();
        move |_, _| if mended.is_on() { Ok(()) } else { Err(StepError::fatal("broken", "a broken part")) }
    });
    let mut h = Harness::new(steps, &(wired("") + &also("other", "")));
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();

    let diff = h.reload(&also("other", ""));

    assert_eq!((diff.orphaned[0].backlog, diff.orphaned[0].dead), (1, 1));
    let filter = DeadLetterFilter { subscription: Some("work".to_owned()), ..DeadLetterFilter::default() };
    let listed = h.wait_for(h.bus().dead_letters(filter, None, 10)).unwrap().items;
    assert_eq!((listed.len(), listed[0].key.as_str()), (1, "a"));
    let letter = listed[0].id.clone();

    mended.turn(true);
    h.reload(&(wired("") + &also("other", "")));
    h.run_until_idle();
    assert_eq!(log.of("work"), [1], "its key waits behind it as before");
    h.retry(&letter);
    h.run_until_idle();

    assert_eq!(log.of("work"), [1, 1, 2]);
    assert_eq!((h.subscription("work").dead, h.subscription("work").backlog), (0, 0));
}

/// A dead letter that is repaired while its subscription is away comes first when it is back.
#[test]
fn a_repair_while_it_is_away_counts_when_it_is_back() {
    let mended = Switch::default();
    let (steps, log) = work({
        let mended = mended.clone();
        move |_, _| if mended.is_on() { Ok(()) } else { Err(StepError::fatal("broken", "a broken part")) }
    });
    let both = wired("") + &also("other", "");
    let mut h = Harness::new(steps, &both);
    h.publish("job.given", job(1, "a"));
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();
    h.reload(&also("other", ""));
    mended.turn(true);
    h.retry("work-1");

    h.reload(&both);
    h.run_until_idle();

    assert_eq!(log.of("work"), [1, 1, 2]);
}

#[test]
fn a_reload_outlives_a_restart() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &(wired("") + &also("gone", "")));
    h.pause("gone", true);
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    h.reload(&(wired("") + &also("late", "")));
    h.restart();
    h.publish("job.given", job(2, "a"));
    h.run_until_idle();

    assert_eq!((h.subscription("gone").state.as_str(), h.subscription("gone").backlog), ("orphaned", 1));
    assert_eq!((log.of("late"), log.of("work")), (vec![2], vec![1, 2]));
}

/// Publishers go on during twenty reloads that add, take out, replace and tune. Whoever was wired all the time
/// gets each event once and each key in order; who came and went gets nothing twice and nothing out of order.
#[test]
fn nothing_is_lost_or_doubled_while_the_wiring_changes_again_and_again() {
    for seed in 0..3 {
        let (steps, log) = work(|_, _| Ok(()));
        let steps = steps.step(Old(log.clone())).on::<Job>().step(Renamed(log.clone())).on::<Job>();
        let mut dice = Dice(seed);
        let turned = |step: &str| format!("[subscription.turned]\nstep = \"{step}\"\non = [\"job.given\"]\n");
        let mut h = Harness::new(steps, &(wired("") + &turned("old")));
        let crowd = Crowd::publish(&h, 4, 75);

        for round in 0..20 {
            h.wait_for(crowd.reached(round * 12));
            let step = ["old", "renamed"][usize::try_from(dice.roll(2)).unwrap()];
            let mut wiring = wired(&format!("concurrency = {}\n", 1 + dice.roll(8)));
            wiring += &turned(step);
            if dice.roll(2) == 0 {
                wiring += &also("guest", "");
            }
            h.reload(&wiring);
        }

        h.wait_for(crowd.end());
        h.run_until_idle();
        for subscription in ["work", "turned"] {
            let mut seen = log.of(subscription);
            seen.sort_unstable();
            assert_eq!(seen, (0..300).collect::<Vec<_>>(), "seed {seed}, {subscription}");
        }
        for subscription in ["work", "turned", "guest"] {
            for key in 0..4 {
                let of = of_key(&log, subscription, &format!("k{key}"));
                assert!(of.is_sorted_by(|a, b| a < b), "seed {seed}, {subscription}, k{key}: {of:?}");
            }
        }
        let turned = h.subscription("turned");
        assert_eq!((turned.backlog, turned.dead), (0, 0), "seed {seed}");
    }
}

fn of_key(log: &Log, subscription: &str, key: &str) -> Vec<u64> {
    let calls = log.all().into_iter().filter(|call| call.subscription == subscription && call.key == key);
    calls.map(|call| call.n).collect()
}

/// Publishers on threads of their own, each with a key of its own: the n-th of publisher p of four has the
/// number 4n + p.
#[derive(Clone)]
struct Crowd {
    done: Arc<AtomicUsize>,
    rang: Arc<tokio::sync::Notify>,
    total: usize,
}

impl Crowd {
    fn publish(h: &Harness, publishers: u64, each: u64) -> Self {
        let total = usize::try_from(publishers * each).unwrap();
        let crowd = Self { done: Arc::default(), rang: Arc::default(), total };
        for publisher in 0..publishers {
            let (bus, crowd) = (h.bus().clone(), crowd.clone());
            std::thread::spawn(move || {
                let waiter = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for n in 0..each {
                    let data = job(n * publishers + publisher, &format!("k{publisher}"));
                    let name = EventName::new("job.given").unwrap();
                    let draft = Draft::json(name, Bytes::from(serde_json::to_vec(&data).unwrap()));
                    waiter.block_on(bus.publish(vec![draft])).unwrap();
                    crowd.done.fetch_add(1, Ordering::SeqCst);
                    crowd.rang.notify_waiters();
                }
            });
        }
        crowd
    }

    async fn reached(&self, count: usize) {
        loop {
            let rang = self.rang.notified();
            if self.done.load(Ordering::SeqCst) >= count {
                return;
            }
            rang.await;
        }
    }

    async fn end(&self) {
        self.reached(self.total).await;
    }
}

/// A step whose attempts wait until the test lets them go.
#[derive(Debug, Clone, Default)]
struct Gate(Arc<GateInner>);

#[derive(Debug, Default)]
struct GateInner {
    is_open: Switch,
    now: AtomicUsize,
    most: AtomicUsize,
    starts: AtomicUsize,
    changed: tokio::sync::Notify,
}

fn gated(more: &str) -> String {
    format!("[subscription.gated]\nstep = \"gated\"\non = [\"job.given\"]\n{more}\n")
}

impl Gate {
    fn steps(&self) -> (Registry, Log) {
        let log = Log::default();
        (Registry::new().step(Gated(self.clone(), log.clone())).on::<Job>().into(), log)
    }

    async fn until(&self, is_so: impl Fn(&GateInner) -> bool) {
        loop {
            let changed = self.0.changed.notified();
            if is_so(&self.0) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until so many attempts are inside.
    async fn inside(&self, count: usize) {
        self.until(|gate| gate.now.load(Ordering::SeqCst) >= count).await;
    }

    fn open(&self) {
        self.0.is_open.turn(true);
        self.0.changed.notify_waiters();
    }

    fn starts(&self) -> usize {
        self.0.starts.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.0.most.load(Ordering::SeqCst)
    }
}

struct Gated(Gate, Log);
impl Step for Gated {
    const NAME: &'static str = "gated";
    type State = u64;
}
impl On<Job> for Gated {
    type Emits = Told;
    async fn on(&self, job: Job, count: &mut u64, cx: &StepContext) -> Result<Told, StepError> {
        self.1.note(&job, cx);
        let gate = &self.0.0;
        gate.starts.fetch_add(1, Ordering::SeqCst);
        let now = gate.now.fetch_add(1, Ordering::SeqCst) + 1;
        gate.most.fetch_max(now, Ordering::SeqCst);
        gate.changed.notify_waiters();
        self.0.until(|gate| gate.is_open.is_on()).await;
        gate.now.fetch_sub(1, Ordering::SeqCst);
        *count += 1;
        Ok(Told { n: job.n, key: job.key })
    }
}

/// Blocks its thread until the test lets it go.
struct Stuck {
    held: Mutex<std::sync::mpsc::Receiver<()>>,
    entered: Arc<tokio::sync::Notify>,
    log: Log,
}
impl Step for Stuck {
    const NAME: &'static str = "stuck";
    const BLOCKING: bool = true;
    type State = u64;
}
impl On<Job> for Stuck {
    type Emits = ();
    async fn on(&self, job: Job, count: &mut u64, cx: &StepContext) -> Result<(), StepError> {
        self.log.note(&job, cx);
        self.entered.notify_one();
        // Whether it was let go or the test is over: the thread goes on.
        let _is_let_go = self.held.lock().unwrap().recv().is_ok();
        *count += 1;
        Ok(())
    }
}

/// Counts in the state of its key, as the one that is to follow it does.
struct Old(Log);
impl Step for Old {
    const NAME: &'static str = "old";
    type State = u64;
}
impl On<Job> for Old {
    type Emits = ();
    async fn on(&self, job: Job, count: &mut u64, cx: &StepContext) -> Result<(), StepError> {
        self.0.note(&job, cx);
        *count += 1;
        Ok(())
    }
}

struct Renamed(Log);
impl Step for Renamed {
    const NAME: &'static str = "renamed";
    type State = u64;
}
impl On<Job> for Renamed {
    type Emits = ();
    async fn on(&self, job: Job, count: &mut u64, cx: &StepContext) -> Result<(), StepError> {
        self.0.note(&job, cx);
        *count += 1;
        Ok(())
    }
}

/// Hears the bus's own facts.
struct Hear(Arc<Mutex<Vec<Value>>>);
impl Step for Hear {
    const NAME: &'static str = "hear";
    type State = ();
}
impl OnAny for Hear {
    type Emits = ();
    async fn on_any(
        &self,
        event: &tidegate::event::Envelope,
        (): &mut (),
        _: &StepContext,
    ) -> Result<(), StepError> {
        self.0.lock().unwrap().push(serde_json::from_slice(&event.data).unwrap());
        Ok(())
    }
}

fn hearing(steps: Registry, told: &Arc<Mutex<Vec<Value>>>) -> Registry {
    steps.step(Hear(Arc::clone(told))).on_any().into()
}
