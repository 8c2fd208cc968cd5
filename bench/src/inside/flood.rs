//! Many events: fan-out, a backlog and its drain, and events that fail for ever among others.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::clock::Stopwatch;

use super::rig::{Flood, Rig};
use crate::Outcome;
use crate::app::{INGESTED, TOLD, WORK};
use crate::process::{Counters, disk_bytes, resident, resident_peak};

/// Subscriptions that hear each event of the fan-out.
const LISTENERS: u64 = 5;
/// How often progress is noted.
const LOOK: Duration = Duration::from_millis(100);

/// A backlog, and what it takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Filled {
    /// Events a second that are on disk.
    pub(crate) rate: f64,
    /// How often a publisher was told to wait.
    pub(crate) refused: u64,
    /// Memory before, in bytes.
    pub(crate) resident_before: u64,
    /// Memory with the backlog.
    pub(crate) resident: u64,
    /// The most memory.
    pub(crate) resident_peak: u64,
    /// Bytes of the data folder.
    pub(crate) disk: u64,
    /// Bytes that were written to have it there.
    pub(crate) written: u64,
    /// The rate of the last tenth, as a share of that of the first.
    pub(crate) evenness: f64,
}

/// A drain of a backlog.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// Events a second that are settled on disk.
    pub(crate) rate: f64,
    /// The most memory.
    pub(crate) resident_peak: u64,
    /// Bytes of the data folder afterwards.
    pub(crate) disk: u64,
    /// Bytes that were written for it.
    pub(crate) written: u64,
    /// The rate of the last tenth, as a share of that of the first.
    pub(crate) evenness: f64,
}

/// Deliveries a second, settled on disk.
pub(super) async fn fan_out(rig: &Rig, total: u64, waiting: usize) -> Outcome<f64> {
    let begin = Stopwatch::start();
    rig.publish(Flood::new(TOLD, total, waiting)?).await?;
    rig.tally.reaches(total * LISTENERS).await;
    rig.idle().await;
    Ok((total * LISTENERS) as f64 / begin.elapsed().as_secs_f64())
}

/// Publishes while nobody handles.
pub(super) async fn fill(rig: &Rig, total: u64, waiting: usize, folder: &Path) -> Outcome<Filled> {
    rig.pause(true).await?;
    let (resident_before, before) = (resident(None), Counters::of(None)?);
    let flood = Flood::new(INGESTED, total, waiting)?;
    let published = Arc::clone(&flood.published);
    let progress = Progress::begin(move || published.load(Ordering::Relaxed));
    let refused = rig.publish(flood).await?.refused;
    let (rate, evenness) = progress.end(total).await?;
    Ok(Filled {
        rate,
        refused,
        resident_before,
        resident: resident(None),
        resident_peak: resident_peak(None),
        disk: disk_bytes(folder)?,
        written: Counters::of(None)?.written.saturating_sub(before.written),
        evenness,
    })
}

/// Handles what is there.
pub(super) async fn drain(rig: &Rig, total: u64, folder: &Path) -> Outcome<Drained> {
    let before = Counters::of(None)?;
    let tally = rig.tally.clone();
    let progress = Progress::begin(move || tally.count());
    rig.pause(false).await?;
    rig.tally.reaches(total).await;
    rig.idle().await;
    let (rate, evenness) = progress.end(total).await?;
    Ok(Drained {
        rate,
        resident_peak: resident_peak(None),
        disk: disk_bytes(folder)?,
        written: Counters::of(None)?.written.saturating_sub(before.written),
        evenness,
    })
}

/// Handled events a second, counted until the last one that does not fail.
pub(super) async fn others(rig: &Rig, total: u64, waiting: usize, every: u64) -> Outcome<f64> {
    let failing = if every == 0 { 0 } else { total.div_ceil(every) };
    let good = total - failing;
    let begin = Stopwatch::start();
    rig.publish(Flood { failing: every, ..Flood::new(WORK, total, waiting)? }).await?;
    rig.tally.reaches(good).await;
    Ok(good as f64 / begin.elapsed().as_secs_f64())
}

/// Notes how far something is, to tell the beginning from the end.
struct Progress {
    begin: Stopwatch,
    noted: tokio::task::JoinHandle<Vec<(f64, u64)>>,
    is_over: Arc<AtomicU64>,
}

impl Progress {
    fn begin(count: impl Fn() -> u64 + Send + 'static) -> Self {
        let (begin, is_over) = (Stopwatch::start(), Arc::new(AtomicU64::new(0)));
        let over = Arc::clone(&is_over);
        let noted = tokio::spawn(async move {
            let mut noted = Vec::new();
            while over.load(Ordering::Acquire) == 0 {
                noted.push((begin.elapsed().as_secs_f64(), count()));
                tokio::time::sleep(LOOK).await;
            }
            noted
        });
        Self { begin, noted, is_over }
    }

    /// The rate of all of it, and that of the last tenth as a share of that of the first.
    async fn end(self, total: u64) -> Outcome<(f64, f64)> {
        let seconds = self.begin.elapsed().as_secs_f64();
        self.is_over.store(1, Ordering::Release);
        let mut noted = self.noted.await?;
        noted.push((seconds, total));
        let when = |count: u64| noted.iter().find(|(_, n)| *n >= count).map_or(seconds, |(at, _)| *at);
        let (first, last) = (when(total / 10), seconds - when(total - total / 10));
        Ok((total as f64 / seconds, first / last.max(LOOK.as_secs_f64() / 2.0)))
    }
}
