//! Keys that could do harm: a million of them with one event each, and one with a million events.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::clock::Stopwatch;

use super::Keys;
use super::rig::{Flood, Rig};
use crate::Outcome;
use crate::app::INGESTED;
use crate::counters::figure;
use crate::process::{resident, resident_peak};

/// A checkpoint is due after 30 s at the latest; this is how long it is waited for.
const CHECKPOINT: Duration = Duration::from_mins(1);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// What events leave behind.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Passed {
    /// Events a second, published and handled, settled on disk.
    pub(crate) rate: f64,
    /// Memory before, in bytes.
    pub(crate) before: u64,
    /// The most memory meanwhile.
    pub(crate) peak: u64,
    /// Memory when all is handled and the checkpoint is done.
    pub(crate) after: u64,
}

/// How events come through beside a key with many.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Milliseconds from the first publication until one is handled.
    pub(crate) first: f64,
    /// Events handled a second.
    pub(crate) rate: f64,
    /// What is left of the one key when they are through.
    pub(crate) waiting: u64,
}

/// Publishes and handles at a time, then waits until a checkpoint has taken what memory holds of it.
pub(super) async fn pass(rig: &Rig, total: u64, waiting: usize, keys: Keys) -> Outcome<Passed> {
    let before = resident(None);
    let begin = Stopwatch::start();
    rig.publish(Flood { keys, ..Flood::new(INGESTED, total, waiting)? }).await?;
    rig.tally.reaches(total).await;
    rig.idle().await;
    let rate = total as f64 / begin.elapsed().as_secs_f64();
    let begin = Stopwatch::start();
    while figure(&rig.metrics(), "tidegate_checkpoint_lag_commits", &[]) > 0 && begin.elapsed() < CHECKPOINT {
        tokio::time::sleep(LOOK).await;
    }
    Ok(Passed { rate, before, peak: resident_peak(None), after: resident(None) })
}

/// Lets events of one slow key pile up before the subscription at work, then publishes others and waits for those.
pub(super) async fn beside(rig: &Rig, hot: u64, others: u64, waiting: usize) -> Outcome<Beside> {
    rig.publish(Flood { keys: Keys::One, ..Flood::new(INGESTED, hot, waiting)? }).await?;
    let begin = Stopwatch::start();
    let first = async {
        rig.tally.reaches(1).await;
        begin.elapsed()
    };
    let (published, first) = tokio::join!(rig.publish(Flood::new(INGESTED, others, waiting)?), first);
    published?;
    rig.tally.reaches(others).await;
    let rate = others as f64 / begin.elapsed().as_secs_f64();
    let waiting = figure(&rig.metrics(), "tidegate_backlog", &["subscription=\"drain\""]);
    Ok(Beside { first: first.as_secs_f64() * 1e3, rate, waiting })
}
