//! Promise: a paused subscription starts nothing, over restarts too; concurrency and rate are never exceeded;
//! running ahead changes nothing but the time it takes, and takes no more of a thread than its share.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Job, job, wired, work};
use tidegate::prelude::*;
use tidegate::testing::Harness;

#[test]
fn paused_it_starts_nothing_until_it_is_resumed() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired(""));
    h.pause("work", true);

    h.publish("job.given", job(1, "a"));
    h.advance(Duration::from_mins(1));
    h.restart();
    h.run_until_idle();
    let paused = h.subscription("work");
    assert_eq!((paused.state.as_str(), paused.backlog), ("paused", 1));
    assert_eq!(paused.oldest_seconds, 60);
    assert!(log.all().is_empty());

    h.pause("work", false);
    h.run_until_idle();
    assert_eq!(log.count(1), 1);
    assert_eq!(h.subscription("work").state, "running");
}

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}
struct Crowd(Arc<Gauge>);
impl Step for Crowd {
    const NAME: &'static str = "crowd";
    type State = ();
}
impl On<Job> for Crowd {
    type Emits = ();
    async fn on(&self, _: Job, (): &mut (), cx: &StepContext) -> Result<(), StepError> {
        let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.0.now.fetch_sub(1, Ordering::SeqCst);
        if cx.attempt() == 1 {
            Err(StepError::retry_after(Duration::from_mins(1), "all at one instant"))
        } else {
            Ok(())
        }
    }
}

#[test]
fn no_more_attempts_run_at_once_than_it_says_also_with_ten_thousand_retries_due() {
    let gauge = Arc::new(Gauge::default());
    let wiring = "[subscription.crowd]\nstep = \"crowd\"\non = [\"job.given\"]\nconcurrency = 5\norder = \"none\"\nretry = { backoff = { jitter = 0.0 } }\n";
    let mut h = Harness::new(Registry::new().step(Crowd(Arc::clone(&gauge))).on::<Job>(), wiring);

    for first in (0..10_000_u64).step_by(1_000) {
        let name = tidegate::event::EventName::new("job.given").unwrap();
        let draft =
            |n: u64| tidegate::event::Draft::json(name.clone(), job(n, "a").to_string().into_bytes().into());
        h.wait_for(h.bus().publish((first..first + 1_000).map(draft).collect())).unwrap();
    }
    h.run_until_idle();
    assert_eq!(h.subscription("crowd").backlog, 10_000);
    h.advance(Duration::from_mins(1));

    assert_eq!(h.subscription("crowd").backlog, 0);
    let most = gauge.most.load(Ordering::SeqCst);
    assert!((2..=5).contains(&most), "{most} at once");
}

#[test]
fn no_more_attempts_start_in_a_second_than_it_says() {
    let (steps, log) = work(|_, _| Ok(()));
    let mut h = Harness::new(steps, &wired("rate = \"10/s\""));

    for n in 0..50 {
        h.publish("job.given", job(n, &format!("k{n}")));
    }
    h.advance(Duration::from_mins(1));

    assert_eq!(log.all().len(), 50);
    let mut seconds: HashMap<u64, usize> = HashMap::new();
    for call in log.all() {
        *seconds.entry(call.at / 1_000).or_default() += 1;
    }
    assert!(seconds.len() >= 5 && seconds.values().all(|starts| *starts <= 11), "{seconds:?}");
}

#[test]
fn running_ahead_gives_the_same_results() {
    let end =
        |pure: bool| {
            let (steps, _) = work(|job, cx| {
                if job.n % 7 == 0 && cx.attempt() < 3 { Err(StepError::retry("seven")) } else { Ok(()) }
            });
            let mut h = Harness::new(steps, &wired(&format!("pure = {pure}")));
            for n in 0..200 {
                h.publish_as(&format!("e{n}"), "job.given", job(n, &format!("k{}", n % 5)));
            }
            h.advance(Duration::from_hours(1));
            let mut ids: Vec<String> = h.events("job.told").iter().map(|event| event.id.clone()).collect();
            ids.sort();
            (ids, (0..5).map(|k| h.state("work", &format!("k{k}"))).collect::<Vec<_>>())
        };

    let (behind, ahead) = (end(false), end(true));

    assert_eq!(behind.0.len(), 200);
    assert_eq!(behind, ahead);
}

/// Works for so long, and notes in which task.
struct Busy(Duration, Arc<Mutex<Vec<tokio::task::Id>>>);
impl Step for Busy {
    const NAME: &'static str = "busy";
    type State = ();
}
impl On<Job> for Busy {
    type Emits = ();
    async fn on(&self, _: Job, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        let watch = tidegate::clock::Stopwatch::start();
        while watch.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        self.1.lock().unwrap().push(tokio::task::id());
        Ok(())
    }
}

/// The tasks in which such attempts ran, of jobs that came together; of those each has a key of its own.
fn tasks(work: Duration, concurrency: usize, batches: impl IntoIterator<Item = u64>) -> Vec<tokio::task::Id> {
    let ran = Arc::new(Mutex::new(Vec::new()));
    let wiring = format!(
        "[subscription.busy]\nstep = \"busy\"\non = [\"job.given\"]\npure = true\nconcurrency = {concurrency}\n"
    );
    let mut h = Harness::new(Registry::new().step(Busy(work, Arc::clone(&ran))).on::<Job>(), &wiring);
    let name = tidegate::event::EventName::new("job.given").unwrap();
    for size in batches {
        let draft = |n: u64| {
            let data = job(n, &format!("k{n}")).to_string().into_bytes();
            tidegate::event::Draft::json(name.clone(), data.into())
        };
        h.wait_for(h.bus().publish((0..size).map(draft).collect())).unwrap();
        h.run_until_idle();
    }
    let mut ran = std::mem::take(&mut *ran.lock().unwrap());
    ran.dedup();
    ran
}

#[test]
fn what_runs_ahead_and_waits_for_nothing_needs_no_task_but_leaves_others_their_turn() {
    assert_eq!(tasks(Duration::ZERO, 8, [1; 20]).len(), 1, "all of them in the task of the subscription");
    for concurrency in [8, 1] {
        let tasks = tasks(Duration::from_millis(3), concurrency, [6]);
        assert_eq!(
            tasks.len(),
            6,
            "after the first of them others may run in between: {concurrency} at once"
        );
    }
}
