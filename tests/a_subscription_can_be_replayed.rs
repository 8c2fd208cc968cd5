//! Promise: a subscription can get earlier events again, or for the first time, without harm to what waits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Job, Log, Switch, Told, job, wired, work};
use tidegate::bus::view::{FlowStatus, ReplayCounts, ReplayView};
use tidegate::bus::{Operator, QueryError, ReplayFrom, ReplayRequest};
use tidegate::event::Pattern;
use tidegate::prelude::*;
use tidegate::testing::{CrashPoint, Harness};

/// Everything from the beginning.
const ALL: ReplayRequest = ReplayRequest { from: ReplayFrom::Start, until: None, name: None, key: None };

const HEARING: &str = "[subscription.hear]\nstep = \"hear\"\non = [\"job.told\"]\n";

fn operator() -> Operator {
    Operator { by: "ann".to_owned(), reason: "a mistake in the step".to_owned() }
}

fn begin(h: &Harness, request: ReplayRequest) -> ReplayView {
    h.wait_for(h.bus().replay("work", request, operator())).unwrap()
}

/// A replay to its end.
fn replay(h: &mut Harness, request: ReplayRequest) -> ReplayView {
    let begun = begin(h, request);
    assert_eq!(begun.state, "running");
    h.run_until_idle();
    h.wait_for(h.bus().replay_of(&begun.id)).unwrap()
}

fn counts(looked: u64, new: u64, again: u64) -> ReplayCounts {
    ReplayCounts { looked, new, again, ..ReplayCounts::default() }
}

/// A step that hears what `work` has told.
struct Hear(Arc<Mutex<Vec<u64>>>);

impl Step for Hear {
    const NAME: &'static str = "hear";
    type State = ();
}

impl On<Told> for Hear {
    type Emits = ();
    async fn on(&self, told: Told, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.lock().unwrap().push(told.n);
        Ok(())
    }
}

fn with_listener(steps: Registry) -> (Registry, Arc<Mutex<Vec<u64>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    (steps.step(Hear(Arc::clone(&heard))).on::<Told>().into(), heard)
}

#[test]
fn what_a_replay_emits_is_new_and_reaches_downstream() {
    let (steps, log) = work(|_, _| Ok(()));
    let (steps, heard) = with_listener(steps);
    let mut h = Harness::new(steps, &(wired("") + HEARING));
    let accepted: Vec<_> = (1..=3).map(|n| h.publish("job.given", job(n, "a"))).collect();
    h.run_until_idle();

    let done = replay(&mut h, ALL);

    assert_eq!(done.counts, counts(done.counts.looked, 0, 3));
    assert_eq!((done.id.as_str(), done.state.as_str(), done.generation), ("work-1", "done", 1));
    assert_eq!(log.of_key("a"), [1, 2, 3, 1, 2, 3], "in order");
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3, 1, 2, 3]);
    let told = h.events("job.told");
    let mut ids: Vec<&str> = told.iter().map(|event| event.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each has an id of its own");
    assert_eq!(told[3].flow, accepted[0].flow);
    h.assert_flow(&accepted[0].flow, FlowStatus::Done);
    let view = h.flow(&accepted[0].flow);
    assert_eq!((view.open, view.events.len(), view.events[0].deliveries[0].generation), (0, 3, 1));
    let words: Vec<_> = view.events[0].deliveries[0].history.iter().map(|a| a.outcome.as_str()).collect();
    assert_eq!(words, ["done", "replayed", "done"]);

    replay(&mut h, ALL);
    assert_eq!(h.events("job.told").len(), 9, "and each replay anew");
}

#[test]
fn state_is_kept_and_counts_on() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(5, "a"));
    h.run_until_idle();

    replay(&mut h, ALL);

    assert_eq!(h.state("work", "a"), serde_json::json!({"count": 2, "sum": 10}));
}

#[test]
fn a_dry_run_counts_and_stores_nothing() {
    let (steps, log) = work(|job, _| if job.n == 2 { Err(StepError::fatal("no", "no")) } else { Ok(()) });
    let mut h = Harness::new(steps, &wired("retry = { exhausted = \"skip\" }"));
    for n in 1..=3 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    h.pause("work", true);
    h.publish("job.given", job(4, "a"));
    let before = h.timelines();

    let dry = h.wait_for(h.bus().replay_dry("work", ALL)).unwrap();
    h.run_until_idle();

    assert_eq!((dry.new, dry.again, dry.open, dry.dead, dry.gone), (0, 2, 1, 1, 0));
    assert_eq!(h.timelines(), before);
    assert_eq!(h.wait_for(h.bus().replays()).unwrap().len(), 0);
    assert_eq!((h.subscription("work").replays, log.all().len()), (0, 3));
}

#[test]
fn a_dead_letter_and_what_waits_are_left_alone() {
    let fails = Switch::default();
    fails.turn(true);
    let (steps, log) = work({
        let fails = fails.clone();
        move |job, _| if job.n == 2 && fails.is_on() { Err(StepError::fatal("no", "no")) } else { Ok(()) }
    });
    let mut h = Harness::new(steps, &wired(""));
    for n in 1..=3 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();

    let done = replay(&mut h, ALL);

    assert_eq!((done.counts.again, done.counts.open, done.counts.dead), (1, 1, 1));
    assert_eq!(log.of_key("a"), [1, 2], "the key waits behind its dead letter");
    fails.turn(false);
    let letter = h.dead_letters()[0].id.clone();
    h.retry(&letter);
    h.run_until_idle();
    assert_eq!(log.of_key("a"), [1, 2, 2, 3, 1], "and then goes on in the order of its queue");
    assert_eq!((h.subscription("work").backlog, h.subscription("work").dead), (0, 0));
}

#[test]
fn only_what_was_asked_for_is_replayed() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    for n in 1..=6 {
        h.publish("job.given", job(n, if n % 2 == 0 { "even" } else { "odd" }));
        h.run_until_idle();
        h.advance(Duration::from_secs(1));
    }
    let start = h.clock().now().0 - 6_000;
    // Keys run beside each other.
    let since = |count: usize| {
        let mut jobs = log.of("work").split_off(count);
        jobs.sort_unstable();
        jobs
    };
    let at = |n: u64| tidegate::event::Timestamp(start + (n - 1) * 1_000);

    replay(&mut h, ReplayRequest { from: ReplayFrom::Time(at(2)), until: Some(at(5)), ..ALL });
    assert_eq!(since(6), [2, 3, 4, 5]);
    replay(&mut h, ReplayRequest { key: Some("odd".to_owned()), ..ALL });
    assert_eq!(since(10), [1, 3, 5]);
    replay(&mut h, ReplayRequest { name: Some(Pattern::parse("job.other").unwrap()), ..ALL });
    assert_eq!(log.of("work").len(), 13);
    // The events of the jobs and of what was told alternate.
    replay(&mut h, ReplayRequest { from: ReplayFrom::Number(11), ..ALL });
    assert_eq!(since(13), [6]);
}

#[test]
fn a_replay_that_is_broken_off_goes_on_and_takes_nothing_twice() {
    const EVENTS: u64 = 700;
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    for n in 1..=EVENTS {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    h.pause("work", true);

    h.crash_at(CrashPoint::AfterReplay);
    let begun = begin(&h, ALL);
    h.run_until_idle();
    assert!(h.has_crashed());
    h.crash_at(CrashPoint::BeforeReplay);
    h.restart();
    h.run_until_idle();
    assert!(h.has_crashed());
    h.restart();
    h.run_until_idle();
    let done = h.wait_for(h.bus().replay_of(&begun.id)).unwrap();
    assert_eq!((done.state.as_str(), done.counts.again), ("done", EVENTS));
    assert_eq!(h.subscription("work").backlog, EVENTS);
    h.pause("work", false);
    h.run_until_idle();

    let again = log.of("work").split_off(usize::try_from(EVENTS).unwrap());
    assert_eq!(again, (1..=EVENTS).collect::<Vec<_>>());
    assert_eq!(h.events("job.told").len() as u64, 2 * EVENTS);
}

#[test]
fn a_crash_while_a_replayed_event_is_handled_emits_nothing_twice() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    h.crash_at(CrashPoint::BeforeSettle("work".to_owned()));
    begin(&h, ALL);
    h.run_until_idle();
    assert!(h.has_crashed());
    h.restart();
    h.run_until_idle();

    assert_eq!(h.events("job.told").len(), 2);
    assert_eq!(h.state("work", "a")["count"], 2);
}

#[test]
fn a_new_subscription_gets_the_past_by_a_replay() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    for n in 1..=3 {
        h.publish("job.given", job(n, "a"));
    }
    h.run_until_idle();
    let (steps, late) = work(|_, _| Ok(()));
    let also = "[subscription.late]\nstep = \"work\"\non = [\"job.given\"]\n";
    h.rewire(steps, &(wired("") + also));

    let begun = h.wait_for(h.bus().replay("late", ALL, operator())).unwrap();
    h.run_until_idle();

    let done = h.wait_for(h.bus().replay_of(&begun.id)).unwrap();
    assert_eq!((done.counts.new, done.counts.again), (3, 0));
    assert_eq!((log.all().len(), late.of("late")), (3, vec![1, 2, 3]));
}

#[test]
fn a_replay_is_told_with_who_and_why() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let done = replay(&mut h, ALL);

    assert_eq!((done.by.as_str(), done.reason.as_str()), ("ann", "a mistake in the step"));
    let begun = h.assert_emitted("tidegate.subscription.replayed");
    assert_eq!((&begun["by"], &begun["subscription"]), (&"ann".into(), &"work".into()));
    let ended = h.assert_emitted("tidegate.job.finished");
    assert_eq!((&ended["job"], &ended["counts"]["again"]), (&"work-1".into(), &1.into()));
}

#[test]
fn a_replay_fails_aloud_when_its_subscription_is_gone() {
    let (steps, _) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();
    h.crash_at(CrashPoint::BeforeReplay);
    begin(&h, ALL);
    h.run_until_idle();
    // The step and its subscription are gone for a while: the replay fails, and says why.
    h.rewire(Registry::new(), "");
    h.run_until_idle();
    let failed = h.wait_for(h.bus().replay_of("work-1")).unwrap();
    assert_eq!((failed.state.as_str(), failed.problem.is_some()), ("failed", true));
    let refused = h.wait_for(h.bus().replay("work", ALL, operator()));
    assert!(matches!(refused, Err(QueryError::Refused { .. })), "{refused:?}");
    let (steps, log) = work(|_, _| Ok(()));
    h.rewire(steps, &wired(""));
    h.run_until_idle();

    let done = replay(&mut h, ALL);

    assert_eq!((done.id.as_str(), done.state.as_str()), ("work-2", "done"));
    assert_eq!(log.of("work"), [1]);
    let stopped = h.wait_for(h.bus().stop_replay("work-2", operator()));
    assert!(matches!(stopped, Err(QueryError::Refused { .. })), "it has ended: {stopped:?}");
    assert_eq!(h.wait_for(h.bus().replays()).unwrap().len(), 2);
    let unknown = h.wait_for(h.bus().replay("odd", ALL, operator()));
    assert!(matches!(unknown, Err(QueryError::NotFound { .. })), "{unknown:?}");
}

#[test]
fn a_subscription_has_one_replay_at_a_time() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let bus = h.bus();
    // Who asks second stands in line before the first page.
    let (first, second) = h.wait_for(futures_util::future::join(
        bus.replay("work", ALL, operator()),
        bus.replay("work", ALL, operator()),
    ));
    h.run_until_idle();

    assert_eq!(first.unwrap().id, "work-1");
    assert!(matches!(second, Err(QueryError::Refused { .. })), "{second:?}");
    assert_eq!(log.count(1), 2);
}

#[test]
fn a_replay_can_be_stopped() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    let bus = h.bus();
    let (_, stopped) = h.wait_for(futures_util::future::join(
        bus.replay("work", ALL, operator()),
        bus.stop_replay("work-1", operator()),
    ));
    h.run_until_idle();

    assert_eq!(stopped.unwrap().state, "stopped");
    assert_eq!((log.count(1), h.subscription("work").backlog), (1, 0));
    assert_eq!(h.assert_emitted("tidegate.job.finished")["state"], "stopped");
    replay(&mut h, ALL);
    assert_eq!(log.count(1), 2);
}

/// A step that calls out once for each event.
struct Charge {
    charges: Arc<AtomicU32>,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Step for Charge {
    const NAME: &'static str = "charge";
    type State = ();
}

impl On<Job> for Charge {
    type Emits = ();
    async fn on(&self, _: Job, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        self.keys.lock().unwrap().push(cx.effect_key("charge"));
        let charges = Arc::clone(&self.charges);
        let charge = || async move { Ok::<_, StepError>(charges.fetch_add(1, Ordering::SeqCst)) };
        cx.run("charge", charge()).await?;
        Ok(())
    }
}

#[test]
fn a_replay_calls_out_again_under_the_same_effect_key() {
    let (charges, keys) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
    let steps =
        Registry::new().step(Charge { charges: Arc::clone(&charges), keys: Arc::clone(&keys) }).on::<Job>();
    let mut h = Harness::new(steps, "[subscription.work]\nstep = \"charge\"\non = [\"job.given\"]\n");
    h.publish("job.given", job(1, "a"));
    h.run_until_idle();

    replay(&mut h, ALL);

    let keys = keys.lock().unwrap();
    assert_eq!((charges.load(Ordering::SeqCst), keys.len()), (2, 2));
    assert_eq!(keys[0], keys[1], "so that the other side can tell that it knows the call");
}

/// A dead letter that is retried is handled, whether its id is still remembered or not.
#[test]
fn a_retry_is_never_taken_for_a_duplicate() {
    for wait in [Duration::from_secs(1), Duration::from_hours(24 * 9)] {
        let fails = Switch::default();
        fails.turn(true);
        let (steps, log): (Registry, Log) = work({
            let fails = fails.clone();
            move |_, _| if fails.is_on() { Err(StepError::fatal("no", "no")) } else { Ok(()) }
        });
        let (steps, heard) = with_listener(steps);
        let mut h = Harness::new(steps, &(wired("") + HEARING));
        let accepted = h.publish_as("one", "job.given", job(1, "a"));
        h.run_until_idle();

        h.advance(wait);
        fails.turn(false);
        let letter = h.dead_letters()[0].id.clone();
        h.retry(&letter);
        h.run_until_idle();

        assert_eq!((log.count(1), heard.lock().unwrap().len()), (2, 1), "after {wait:?}");
        h.assert_flow(&accepted.flow, FlowStatus::Done);
        replay(&mut h, ALL);
        assert_eq!((log.count(1), heard.lock().unwrap().len()), (3, 2), "a replay neither, after {wait:?}");
    }
}
