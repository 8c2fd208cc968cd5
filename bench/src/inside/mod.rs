//! Measures inside of a process: the runtime by its public API, as a library user has it.
//!
//! Each task is one child process on a data folder of its own. It says its outcome as one line of JSON, holds the
//! bus open until its standard input is closed, then shuts down in order.

mod chain;
mod counted;
mod flood;
mod keys;
mod publish;
mod rig;

use std::io::Read as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use chain::Paced;
pub(crate) use counted::Counted;
pub(crate) use flood::{Drained, Filled};
pub(crate) use keys::{Beside, Passed};
pub(crate) use publish::Latency;

use crate::{Outcome, table};
use rig::Rig;

/// What a child is to measure.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Where its data lies: on a disk.
    pub(crate) data: PathBuf,
    /// Whether the chain's hops are wired `pure`.
    pub(crate) pure: bool,
    /// The measure.
    pub(crate) measure: Measure,
}

impl Task {
    /// A task with the default wiring.
    pub(crate) fn new(data: PathBuf, measure: Measure) -> Self {
        Self { data, pure: false, measure }
    }
}

/// The measures, and how much of each.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Measure {
    /// `waiting` publishers, each with a batch under way, until `total` events are on disk: events a second.
    Publish {
        /// Events.
        total: u64,
        /// Publishers.
        waiting: usize,
        /// Events of one publication.
        batch: u64,
    },
    /// One publication under way, by turns with one append of the same bytes: [`Latency`].
    Latency {
        /// Publications.
        total: u64,
    },
    /// Flows through the chain of five hops: flows a second, until all is settled on disk.
    Chain {
        /// Flows.
        flows: u64,
        /// Flows under way.
        window: usize,
    },
    /// Flows at an even pace: [`Paced`].
    Paced {
        /// Flows a second.
        pace: f64,
        /// Flows.
        flows: u64,
    },
    /// Events that five subscriptions hear: deliveries a second.
    FanOut {
        /// Events.
        total: u64,
        /// Publishers.
        waiting: usize,
    },
    /// Publishes a backlog while its subscription is paused: [`Filled`].
    Fill {
        /// Events.
        total: u64,
        /// Publishers.
        waiting: usize,
    },
    /// Lets the subscription handle what a [`Measure::Fill`] has left: [`Drained`].
    Drain {
        /// Events.
        total: u64,
    },
    /// Events of which every so many-th fails for ever: the others handled a second.
    Failing {
        /// Events.
        total: u64,
        /// Publishers.
        waiting: usize,
        /// Every such event fails; 0 is none.
        every: u64,
    },
    /// Events of few keys or of one each, published and handled: what is left of them in memory: [`Passed`].
    Pass {
        /// Events.
        total: u64,
        /// Publishers.
        waiting: usize,
        /// Whether each has a key of its own.
        own: bool,
    },
    /// Events of one slow key that pile up, then others: how the others come through: [`Beside`].
    Beside {
        /// Events of the slow key.
        hot: u64,
        /// Events of other keys.
        others: u64,
        /// Publishers.
        waiting: usize,
    },
    /// Counts what an event costs when it is published and when it is handled: [`Counted`].
    Count {
        /// Events.
        total: u64,
        /// Publishers.
        waiting: usize,
    },
}

/// The keys of the events of a flood.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Keys {
    /// 10,000 of them, by turns.
    Few,
    /// Each event has one of its own, in order, numbered from here.
    Own(u64),
    /// All events have the one that the step is slow with.
    One,
}

/// Runs the task of this child process.
pub(crate) fn run(task: &str) -> Outcome<()> {
    let task: Task = serde_json::from_str(task)?;
    // As `serve` logs by default, so that spans cost here what they cost there.
    tidegate::cli::start_log(&tidegate::config::Settings::default().log)?;
    let rig = Rig::start(&task)?;
    let callers = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let told = callers.block_on(measure(&rig, &task))?;
    table::say(&told.to_string());
    // The driver reads what it wants of this process, then closes the input.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(callers);
    rig.stop()
}

async fn measure(rig: &Rig, task: &Task) -> Outcome<serde_json::Value> {
    Ok(match task.measure {
        Measure::Publish { total, waiting, batch } => publish::rate(rig, total, waiting, batch).await?.into(),
        Measure::Latency { total } => told(&publish::latency(rig, total, &task.data).await?)?,
        Measure::Chain { flows, window } => chain::saturated(rig, flows, window).await?.into(),
        Measure::Paced { pace, flows } => told(&chain::paced(rig, pace, flows, &task.data).await?)?,
        Measure::FanOut { total, waiting } => flood::fan_out(rig, total, waiting).await?.into(),
        Measure::Fill { total, waiting } => told(&flood::fill(rig, total, waiting, &task.data).await?)?,
        Measure::Drain { total } => told(&flood::drain(rig, total, &task.data).await?)?,
        Measure::Failing { total, waiting, every } => flood::others(rig, total, waiting, every).await?.into(),
        Measure::Pass { total, waiting, own } => told(&keys::pass(rig, total, waiting, own).await?)?,
        Measure::Beside { hot, others, waiting } => told(&keys::beside(rig, hot, others, waiting).await?)?,
        Measure::Count { total, waiting } => told(&counted::counted(rig, total, waiting).await?)?,
    })
}

fn told(outcome: &impl Serialize) -> Outcome<serde_json::Value> {
    Ok(serde_json::to_value(outcome)?)
}
