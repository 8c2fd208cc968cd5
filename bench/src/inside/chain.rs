//! The chain of five hops, each with state, emit and settle in one change.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::bus::Bus;
use tidegate::bus::view::FlowStatus;
use tidegate::clock::Stopwatch;
use tidegate::event::{Draft, EventName};

use super::rig::{Rig, publish};
use crate::Outcome;
use crate::app::{HOP, Load};
use crate::disk::Appended;
use crate::stats::percentile;

/// Flows before the first one that counts.
const WARM: u64 = 50;

/// How long a flow takes from the call of the publisher until its last outcome is on disk.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Paced {
    /// The median in milliseconds.
    pub(crate) median: f64,
    /// What 99 of 100 take at most.
    pub(crate) p99: f64,
    /// The median of one append and fdatasync beside it.
    pub(crate) append: f64,
}

/// Flows a second with `window` of them under way. The clock stops when everything is settled on disk.
pub(super) async fn saturated(rig: &Rig, flows: u64, window: usize) -> Outcome<f64> {
    let slots = rig.tally.window(window);
    let name = EventName::new(HOP)?;
    let begin = Stopwatch::start();
    let mut publishing = tokio::task::JoinSet::new();
    for n in 0..flows {
        // The last hop gives it back.
        slots.acquire().await?.forget();
        let (bus, name) = (rig.bus().clone(), name.clone());
        publishing.spawn(async move { publish(&bus, || vec![draft(&name, n)]).await });
        while let Some(published) = publishing.try_join_next() {
            published??;
        }
    }
    while let Some(published) = publishing.join_next().await {
        published??;
    }
    rig.tally.reaches(flows).await;
    rig.idle().await;
    Ok(flows as f64 / begin.elapsed().as_secs_f64())
}

/// Flows one after the other at an even pace, whether the ones before have ended or not.
pub(super) async fn paced(rig: &Rig, pace: f64, flows: u64, folder: &Path) -> Outcome<Paced> {
    let name = EventName::new(HOP)?;
    let mut plain = Appended::new(folder)?;
    let (mut appends, mut running) = (Vec::new(), tokio::task::JoinSet::new());
    let begin = Stopwatch::start();
    for n in 0..flows + WARM {
        let due = Duration::from_secs_f64(n as f64 / pace);
        tokio::time::sleep(due.saturating_sub(begin.elapsed())).await;
        running.spawn(flow(rig.bus().clone(), draft(&name, n)));
    }
    let mut times = Vec::new();
    for flow in running.join_all().await.into_iter().skip(usize::try_from(WARM)?) {
        times.push(flow?);
    }
    // Beside the flows and not among them: their disk should be as quiet as the pace leaves it.
    for _ in 0..200 {
        appends.push(plain.group(1)? / 1e3);
    }
    Ok(Paced {
        median: percentile(&mut times, 0.5),
        p99: percentile(&mut times, 0.99),
        append: percentile(&mut appends, 0.5),
    })
}

/// Milliseconds until the flow of a publication is done, on disk.
async fn flow(bus: Bus, draft: Draft) -> Outcome<f64> {
    let begin = Stopwatch::start();
    let accepted = bus.publish(vec![draft]).await?.pop().ok_or("a publication without an answer")?;
    let mut watch = bus.watch(&accepted.flow);
    loop {
        if bus.status(&accepted.source, &accepted.id).await?.status == FlowStatus::Done {
            return Ok(begin.elapsed().as_secs_f64() * 1e3);
        }
        watch.changed().await;
    }
}

fn draft(name: &EventName, n: u64) -> Draft {
    Draft::json(name.clone(), Load::new(n, false).json().into())
}
