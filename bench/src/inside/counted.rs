//! What one event costs: allocations, CPU time, wake-ups and bytes, when it is published and when it is handled.

use serde::{Deserialize, Serialize};

use super::rig::{Flood, Rig};
use crate::Outcome;
use crate::alloc::{Allocated, allocated, count_from_now_on};
use crate::app::{INGESTED, Load};
use crate::process::{Counters, PerEvent};

/// What the publish path and the settle path cost, for one event.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Of an event that is published by one of many waiting publishers.
    pub(crate) publish: Cost,
    /// Of an event that is handled and settled.
    pub(crate) settle: Cost,
    /// Allocations that the publisher itself makes for its draft; they are within those of `publish`.
    pub(crate) draft: f64,
}

/// The cost of one event on one path.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Allocations.
    pub(crate) allocations: f64,
    /// Their bytes.
    pub(crate) allocated: f64,
    /// What the kernel counts.
    pub(crate) kernel: PerEvent,
}

/// Publishes a backlog and drains it, and counts both.
pub(super) async fn counted(rig: &Rig, total: u64, waiting: usize) -> Outcome<Counted> {
    rig.pause(true).await?;
    count_from_now_on();
    let begin = Mark::now()?;
    rig.publish(Flood::new(INGESTED, total, waiting)?).await?;
    let published = Mark::now()?;
    rig.pause(false).await?;
    rig.tally.reaches(total).await;
    rig.idle().await;
    let settled = Mark::now()?;
    Ok(Counted {
        publish: published.since(begin, total),
        settle: settled.since(published, total),
        draft: draft(),
    })
}

/// Allocations of one draft.
fn draft() -> f64 {
    const DRAFTS: u64 = 1_000;
    let Ok(name) = tidegate::event::EventName::new(INGESTED) else { return f64::NAN };
    let before = allocated().count;
    for n in 0..DRAFTS {
        let draft = tidegate::event::Draft::json(name.clone(), Load::new(n, false).json().into());
        std::hint::black_box(vec![draft]);
    }
    (allocated().count - before) as f64 / DRAFTS as f64
}

#[derive(Clone, Copy)]
struct Mark {
    allocated: Allocated,
    kernel: Counters,
}

impl Mark {
    fn now() -> Outcome<Self> {
        Ok(Self { allocated: allocated(), kernel: Counters::of(None)? })
    }

    fn since(self, before: Self, events: u64) -> Cost {
        let of = |now: u64, then: u64| now.saturating_sub(then) as f64 / events.max(1) as f64;
        Cost {
            allocations: of(self.allocated.count, before.allocated.count),
            allocated: of(self.allocated.bytes, before.allocated.bytes),
            kernel: self.kernel.per_event(before.kernel, events),
        }
    }
}
