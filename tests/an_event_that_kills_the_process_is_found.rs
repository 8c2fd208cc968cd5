//! Promise: an event that the process dies of is found: after three deaths without a settle in between, what was
//! under way runs alone, and the one that kills twice more is a dead letter with reason `crash`. The others go on.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::time::Duration;

use kit::{Job, Switch, job, wired};
use tidegate::prelude::*;
use tidegate::testing::Harness;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Job 13 hangs until the test ends the process; while the switch is on, all of them do.
struct Deadly {
    all_hang: Switch,
    calls: UnboundedSender<u64>,
}
impl Step for Deadly {
    const NAME: &'static str = "work";
    type State = ();
}
impl On<Job> for Deadly {
    type Emits = ();
    async fn on(&self, job: Job, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.calls.send(job.n).unwrap();
        if job.n == 13 || self.all_hang.is_on() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

fn deadly() -> (Registry, Switch, UnboundedReceiver<u64>) {
    let (all_hang, (calls, called)) = (Switch::default(), unbounded_channel());
    all_hang.turn(true);
    let step = Deadly { all_hang: all_hang.clone(), calls };
    (Registry::new().step(step).on::<Job>().into(), all_hang, called)
}

/// The next calls of the step, in any order.
fn next(h: &Harness, called: &mut UnboundedReceiver<u64>, count: usize) -> Vec<u64> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        let call = h.wait_for(async { tokio::time::timeout(Duration::from_secs(20), called.recv()).await });
        jobs.push(call.expect("a call in time").unwrap());
    }
    jobs.sort_unstable();
    jobs
}

#[test]
fn after_three_deaths_one_runs_at_a_time_and_who_was_alone_is_blamed() {
    let (steps, all_hang, mut called) = deadly();
    let mut h = Harness::new(steps, &wired("concurrency = 2"));
    for (n, key) in [(1, "a"), (13, "b"), (2, "c")] {
        h.publish("job.given", job(n, key));
    }
    for death in 1..=3 {
        assert_eq!(next(&h, &mut called, 2), [1, 13], "both run at death {death}");
        h.restart();
    }

    let alone = next(&h, &mut called, 1);
    assert!(called.try_recv().is_err(), "nothing runs beside a suspect");
    h.restart();
    assert_eq!(next(&h, &mut called, 1), alone, "one death alone may have come from outside");
    assert!(called.try_recv().is_err() && h.dead_letters().is_empty());
    h.restart();

    // The process has died of all of them, for all it can know: the one that was alone is a dead letter.
    let rest: Vec<u64> = [1, 2, 13].into_iter().filter(|n| !alone.contains(n)).collect();
    assert_eq!(next(&h, &mut called, 2), rest, "the others run beside each other again");
    h.wait_for(async {
        while h.bus().subscription("work").await.unwrap().dead == 0 {
            tokio::task::yield_now().await;
        }
    });
    let [letter] = &h.dead_letters()[..] else { panic!("{}", h.timelines()) };
    assert_eq!((letter.reason.as_str(), letter.attempts), ("crash", 1));
    all_hang.turn(false);
    h.restart();
    assert_eq!(next(&h, &mut called, 2), rest);
}

#[test]
fn the_innocent_ones_survive_their_run_and_the_guilty_one_is_told() {
    let (steps, all_hang, mut called) = deadly();
    let mut h = Harness::new(steps, &wired("concurrency = 2\nretry = { exhausted = \"skip\" }"));
    for (n, key) in [(1, "a"), (13, "b"), (2, "c"), (3, "b")] {
        h.publish("job.given", job(n, key));
    }
    for life in 0..3 {
        assert_eq!(next(&h, &mut called, 2), [1, 13], "life {life}");
        // In the fourth life only 13 is deadly.
        all_hang.turn(life < 2);
        h.restart();
    }
    while next(&h, &mut called, 1) != [13] {}
    assert!(h.dead_letters().is_empty());
    h.restart();
    while next(&h, &mut called, 1) != [13] {}
    assert!(h.dead_letters().is_empty());

    h.restart();
    h.run_until_idle();

    let [letter] = &h.dead_letters()[..] else { panic!("{}", h.timelines()) };
    assert_eq!((letter.reason.as_str(), letter.key.as_str()), ("crash", "b"));
    assert_eq!(h.subscription("work").backlog, 0, "the rest is handled: {}", h.timelines());
    assert!(called.try_recv().is_ok_and(|n| n != 13), "and 13 did not run again");
}

#[test]
fn a_clean_end_is_no_death() {
    let (steps, all_hang, mut called) = deadly();
    let mut h = Harness::new(steps, &wired("concurrency = 2\n"));
    for (n, key) in [(1, "a"), (2, "b")] {
        h.publish("job.given", job(n, key));
    }

    for _ in 0..5 {
        assert_eq!(next(&h, &mut called, 2), [1, 2], "always both at once");
        let running = h.take_running();
        running.shut_down(Duration::ZERO).unwrap();
        h.restart();
    }

    assert_eq!(next(&h, &mut called, 2), [1, 2]);
    all_hang.turn(false);
    h.restart();
    h.run_until_idle();
    assert_eq!((h.subscription("work").backlog, h.dead_letters().len()), (0, 0));
}

/// Kills from outside, so fast that nothing ends in between, blame nobody as long as they do not meet the same one
/// alone twice.
#[test]
fn who_was_alone_at_one_death_and_ends_in_the_next_life_is_no_dead_letter() {
    let (steps, all_hang, mut called) = deadly();
    let mut h = Harness::new(steps, &wired("concurrency = 2"));
    for (n, key) in [(1, "a"), (2, "b"), (3, "c")] {
        h.publish("job.given", job(n, key));
    }
    for _ in 1..=3 {
        assert_eq!(next(&h, &mut called, 2), [1, 2]);
        h.restart();
    }
    next(&h, &mut called, 1);
    all_hang.turn(false);

    h.restart();
    h.run_until_idle();

    assert_eq!((h.subscription("work").backlog, h.dead_letters().len()), (0, 0), "{}", h.timelines());
}
