//! What the promises share: a job, a step whose behaviour a test says in a closure, and a log of its calls.
#![allow(dead_code, reason = "each promise uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a promise ends where it is broken"
)]

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tidegate::prelude::*;

/// Something to do for a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) n: u64,
    #[serde(default)]
    pub(crate) key: String,
}
impl Event for Job {
    const NAME: &'static str = "job.given";
    fn key(&self) -> Cow<'_, str> {
        (&self.key).into()
    }
}

/// What the step says when it has done a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) n: u64,
    #[serde(default)]
    pub(crate) key: String,
}
impl Event for Told {
    const NAME: &'static str = "job.told";
    fn key(&self) -> Cow<'_, str> {
        (&self.key).into()
    }
}

pub(crate) fn job(n: u64, key: &str) -> Value {
    json!({"n": n, "key": key})
}

/// A call of the step's code.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) subscription: String,
    pub(crate) n: u64,
    pub(crate) key: String,
    pub(crate) attempt: u32,
    pub(crate) at: u64,
}

/// The calls, in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Call>>>);

impl Log {
    pub(crate) fn note(&self, job: &Job, cx: &StepContext) {
        self.0.lock().unwrap().push(Call {
            subscription: cx.subscription().to_owned(),
            n: job.n,
            key: cx.key().to_owned(),
            attempt: cx.attempt(),
            at: cx.now().0,
        });
    }

    pub(crate) fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap().clone()
    }

    /// The jobs of a key in the order in which the step was called for them.
    pub(crate) fn of_key(&self, key: &str) -> Vec<u64> {
        self.all().into_iter().filter(|call| call.key == key).map(|call| call.n).collect()
    }

    pub(crate) fn of(&self, subscription: &str) -> Vec<u64> {
        self.all().into_iter().filter(|call| call.subscription == subscription).map(|call| call.n).collect()
    }

    pub(crate) fn count(&self, n: u64) -> usize {
        self.all().iter().filter(|call| call.n == n).count()
    }
}

type Act = dyn Fn(&Job, &StepContext) -> Result<(), StepError> + Send + Sync;

/// The step `work`: notes the call, does what the test says, counts in its state, tells.
pub(crate) struct Work {
    act: Box<Act>,
    log: Log,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    count: u64,
    sum: u64,
}

impl Step for Work {
    const NAME: &'static str = "work";
    type State = Seen;
}

impl On<Job> for Work {
    type Emits = Told;
    async fn on(&self, job: Job, seen: &mut Seen, cx: &StepContext) -> Result<Told, StepError> {
        self.log.note(&job, cx);
        seen.count += 1;
        seen.sum += job.n;
        (self.act)(&job, cx)?;
        Ok(Told { n: job.n, key: job.key })
    }
}

/// The step `work` that does `act`, and the log of its calls.
pub(crate) fn work(
    act: impl Fn(&Job, &StepContext) -> Result<(), StepError> + Send + Sync + 'static,
) -> (Registry, Log) {
    let log = Log::default();
    (Registry::new().step(Work { act: Box::new(act), log: log.clone() }).on::<Job>().into(), log)
}

/// A subscription `work` to `job.given`, with more settings.
pub(crate) fn wired(more: &str) -> String {
    format!("[subscription.work]\nstep = \"work\"\non = [\"job.given\"]\n{more}\n")
}

/// A switch that a test turns while steps run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Switch(Arc<std::sync::atomic::AtomicBool>);

impl Switch {
    pub(crate) fn turn(&self, on: bool) {
        self.0.store(on, std::sync::atomic::Ordering::SeqCst);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Numbers that look random and are the same for the same seed.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
