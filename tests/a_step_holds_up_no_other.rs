//! Promise: a step that waits, or that keeps its thread, holds up no other delivery of its subscription.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

mod kit;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kit::{Job, Told, job};
use tidegate::bus::view::FlowStatus;
use tidegate::config::load_text;
use tidegate::prelude::*;
use tidegate::testing::Harness;
use tokio::sync::Notify;

/// Long enough for whatever is not held up; whoever waits longer fails his attempt, and with it the test.
const PATIENCE: Duration = Duration::from_secs(10);

/// The second job waits until the first one is through, as far as the test says.
struct Waits {
    how: How,
    rung: Arc<Notify>,
    go: Mutex<Receiver<()>>,
    let_go: Sender<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    /// On its thread, until the other one has run.
    Blocked,
    /// On its thread, until what the other one has emitted was heard.
    BlockedUntilHeard,
    /// For a ring of the other one.
    Asleep,
    /// As [`How::Asleep`], and the other one then waits on its thread until this one is through.
    AsleepThenBlocked,
}

impl Step for Waits {
    const NAME: &'static str = "waits";
    type State = ();
}

impl On<Job> for Waits {
    type Emits = Told;
    async fn on(&self, job: Job, (): &mut (), _: &StepContext) -> Result<Told, StepError> {
        let is_first = job.n == 1;
        match self.how {
            How::Blocked if is_first => self.wait()?,
            How::Blocked => self.let_go.send(()).unwrap(),
            How::BlockedUntilHeard if is_first => {}
            How::BlockedUntilHeard => self.wait()?,
            How::Asleep | How::AsleepThenBlocked if is_first => self.rung.notified().await,
            How::Asleep => self.rung.notify_one(),
            How::AsleepThenBlocked => {
                // From elsewhere: tokio would have this thread itself go on with whom it wakes.
                let rung = Arc::clone(&self.rung);
                std::thread::spawn(move || rung.notify_one());
                self.wait()?;
            }
        }
        Ok(Told { n: job.n, key: job.key })
    }
}

impl Waits {
    fn wait(&self) -> Result<(), StepError> {
        self.go.lock().unwrap().recv_timeout(PATIENCE).map_err(|_| StepError::fatal("held_up", "by this one"))
    }
}

/// Lets the one that waits go on.
struct Hears(Sender<()>);

impl Step for Hears {
    const NAME: &'static str = "hears";
    type State = ();
}

impl On<Told> for Hears {
    type Emits = ();
    async fn on(&self, _: Told, (): &mut (), _: &StepContext) -> Result<(), StepError> {
        self.0.send(()).unwrap();
        Ok(())
    }
}

/// Two jobs that come together, of keys of their own, with so many threads for steps.
fn two_jobs(how: How, threads: usize) {
    let (let_go, go) = channel();
    let (hears, rung) = (Hears(let_go.clone()), Arc::default());
    let steps = Registry::new()
        .step(Waits { how, rung, go: Mutex::new(go), let_go })
        .on::<Job>()
        .step(hears)
        .on::<Told>();
    let wiring = "[subscription.waits]\nstep = \"waits\"\non = [\"job.given\"]\n\
        [subscription.hears]\nstep = \"hears\"\non = [\"job.told\"]\npure = true\n";
    let mut settings = load_text(wiring).unwrap().settings;
    settings.steps.threads = threads;
    let mut h = Harness::with_settings(steps, settings);
    h.pause("waits", true);
    let flows = [1, 2].map(|n| h.publish("job.given", job(n, &n.to_string())).flow.clone());
    h.run_until_idle();

    h.pause("waits", false);
    h.run_until_idle();

    for flow in flows {
        h.assert_flow(&flow, FlowStatus::Done);
    }
}

#[test]
fn what_stands_behind_a_step_that_keeps_its_thread_is_taken_by_another_thread() {
    two_jobs(How::Blocked, 2);
}

#[test]
fn an_end_is_told_while_the_next_step_keeps_the_thread() {
    two_jobs(How::BlockedUntilHeard, 1);
}

#[test]
fn a_step_that_waits_lets_others_use_its_thread() {
    two_jobs(How::Asleep, 1);
}

#[test]
fn a_step_that_waits_goes_on_while_another_one_keeps_the_thread_on_which_it_began() {
    // Which thread takes which job is not said: often enough it is one for both.
    for _ in 0..40 {
        two_jobs(How::AsleepThenBlocked, 2);
    }
}
