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
    /// Memory when half of them are handled and a checkpoint is done.
    pub(crate) half: u64,
    /// The same at the end.
    pub(crate) after: u64,
}

/// How events come through beside a key with many.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Milliseconds until an event that is published behind all of that key is handled.
    pub(crate) first: f64,
    /// Events published and handled a second from then on.
    pub(crate) rate: f64,
    /// What is left of the one key when they are through.
    pub(crate) waiting: u64,
}

/// Publishes and handles at a time, in two halves; after each it waits until a checkpoint has taken what memory holds
/// of it.
pub(super) async fn pass(rig: &Rig, total: u64, waiting: usize, own: bool) -> Outcome<Passed> {
    let before = resident(None);
    let (half, mut seconds, mut after) = (total / 2, 0.0, Vec::new());
    for from in [0, half] {
        let keys = if own { Keys::Own(from) } else { Keys::Few };
        let begin = Stopwatch::start();
        rig.publish(Flood { keys, ..Flood::new(INGESTED, half, waiting)? }).await?;
        rig.tally.reaches(from + half).await;
        rig.idle().await;
        seconds += begin.elapsed().as_secs_f64();
        folded(rig).await;
        after.push(resident(None));
    }
    let [half_way, after] = after.try_into().unwrap_or_default();
    let rate = (2 * half) as f64 / seconds;
    Ok(Passed { rate, before, peak: resident_peak(None), half: half_way, after })
}

/// Waits until memory holds nothing that a checkpoint would take.
async fn folded(rig: &Rig) {
    let begin = Stopwatch::start();
    while figure(&rig.metrics(), "tidegate_checkpoint_lag_commits", &[]) > 0 && begin.elapsed() < CHECKPOINT {
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets events of one slow key pile up before the subscription at work; publishes one other and waits for it, since the
/// queue is read in its order; then publishes many others and waits for those.
pub(super) async fn beside(rig: &Rig, hot: u64, others: u64, waiting: usize) -> Outcome<Beside> {
    rig.publish(Flood { keys: Keys::One, ..Flood::new(INGESTED, hot, waiting)? }).await?;
    let begin = Stopwatch::start();
    rig.publish(Flood::new(INGESTED, 1, 1)?).await?;
    rig.tally.reaches(1).await;
    let first = begin.elapsed().as_secs_f64() * 1e3;
    let begin = Stopwatch::start();
    rig.publish(Flood::new(INGESTED, others, waiting)?).await?;
    rig.tally.reaches(1 + others).await;
    let rate = others as f64 / begin.elapsed().as_secs_f64();
    let waiting = figure(&rig.metrics(), "tidegate_backlog", &["subscription=\"drain\""]);
    Ok(Beside { first, rate, waiting })
}
