//! Publishing: how many a second, and how long one takes.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tidegate::clock::Stopwatch;
use tidegate::event::{Draft, EventName};

use super::rig::{Flood, Rig, publish};
use crate::Outcome;
use crate::app::{INGESTED, Load};
use crate::disk::Appended;
use crate::stats::percentile;

/// Publications before the first one that counts.
const WARM: u64 = 50;

/// How long one publication takes when nothing else happens, beside the disk alone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The median of a publication, in microseconds.
    pub(crate) publish: f64,
    /// What 99 of 100 take at most.
    pub(crate) publish_p99: f64,
    /// The median of an append and fdatasync of the same bytes.
    pub(crate) append: f64,
}

/// Events a second that are on disk. Of a publisher who is alone the time to make them does not count, as it does not where a
/// plain file is appended.
pub(super) async fn rate(rig: &Rig, total: u64, waiting: usize, batch: u64) -> Outcome<f64> {
    rig.pause(true).await?;
    rig.publish(Flood { batch, ..Flood::new(INGESTED, total.min(10_000), waiting)? }).await?;
    let begin = Stopwatch::start();
    let published = rig.publish(Flood { batch, ..Flood::new(INGESTED, total, waiting)? }).await?;
    let took = if waiting == 1 { published.waited } else { begin.elapsed() };
    Ok(total as f64 / took.as_secs_f64())
}

/// One publication at a time, by turns with one append, so that both meet the same disk.
pub(super) async fn latency(rig: &Rig, total: u64, folder: &Path) -> Outcome<Latency> {
    rig.pause(true).await?;
    let name = EventName::new(INGESTED)?;
    let mut plain = Appended::new(folder)?;
    let (mut publishes, mut appends) = (Vec::new(), Vec::new());
    for n in 0..total + WARM {
        let draft = Draft::json(name.clone(), Load::new(n, false).json().into());
        let begin = Stopwatch::start();
        publish(rig.bus(), || vec![draft.clone()]).await?;
        let took = begin.elapsed().as_secs_f64() * 1e6;
        let append = plain.group(1)?;
        if n >= WARM {
            publishes.push(took);
            appends.push(append);
        }
    }
    Ok(Latency {
        publish: percentile(&mut publishes, 0.5),
        publish_p99: percentile(&mut publishes, 0.99),
        append: percentile(&mut appends, 0.5),
    })
}
