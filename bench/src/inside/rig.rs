//! The bus under test, and the publishers that load it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate::bus::{Bus, Operator, PublishError};
use tidegate::clock::{Clock, Stopwatch};
use tidegate::event::{Draft, EventName};
use tidegate::runtime::{self, Running};

use super::{Keys, Task};
use crate::Outcome;
use crate::app::{self, Load, Tally};

/// The subscription that is paused while a backlog grows.
const DRAIN: &str = "drain";

/// A running bus with the bench application.
pub(super) struct Rig {
    running: Running,
    /// What its steps have handled.
    pub(super) tally: Tally,
}

impl Rig {
    /// Starts it on the data of the task.
    pub(super) fn start(task: &Task) -> Outcome<Self> {
        let settings = app::settings(&task.data, task.pure)?;
        let tally = Tally::default();
        let running = runtime::start(&settings, app::steps(&tally)?, &Clock::wall())?;
        Ok(Self { running, tally })
    }

    /// The bus.
    pub(super) fn bus(&self) -> &Bus {
        self.running.bus()
    }

    /// Its counters as text.
    pub(super) fn metrics(&self) -> String {
        (self.running.metrics())()
    }

    /// Waits until all is settled on disk.
    pub(super) async fn idle(&self) {
        self.running.idle().await;
    }

    /// Pauses or resumes the subscription with the backlog.
    pub(super) async fn pause(&self, paused: bool) -> Outcome<()> {
        let operator = Operator { by: "bench".to_owned(), reason: String::new() };
        self.bus().pause(DRAIN, paused, operator).await?;
        Ok(())
    }

    /// Shuts it down in order.
    pub(super) fn stop(self) -> Outcome<()> {
        Ok(self.running.shut_down(Duration::from_secs(1))?)
    }

    /// Lets `flood.waiting` publishers publish all of it, and returns when the last event is on disk. Who is refused waits as
    /// long as the bus says and tries again.
    pub(super) async fn publish(&self, flood: Flood) -> Outcome<Published> {
        let next = Arc::new(AtomicU64::new(0));
        let publishers: Vec<_> = (0..flood.waiting)
            .map(|_| tokio::spawn(publisher(self.bus().clone(), Arc::clone(&next), flood.clone())))
            .collect();
        let mut all = Published::default();
        for publisher in publishers {
            let one = publisher.await??;
            all = Published { refused: all.refused + one.refused, waited: all.waited.max(one.waited) };
        }
        Ok(all)
    }
}

/// What publishers have met.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Published {
    /// How often they were refused.
    pub(super) refused: u64,
    /// How long one of them has waited for its answers, at most: the time to make its events does not count.
    pub(super) waited: Duration,
}

/// Events to be published.
#[derive(Clone)]
pub(super) struct Flood {
    /// Their name.
    pub(super) name: EventName,
    /// How many.
    pub(super) total: u64,
    /// Publishers, each waiting for its own answer.
    pub(super) waiting: usize,
    /// Events of one publication.
    pub(super) batch: u64,
    /// Every such event says that it fails; 0 is none.
    pub(super) failing: u64,
    /// Their keys.
    pub(super) keys: Keys,
    /// Counts what is on disk.
    pub(super) published: Arc<AtomicU64>,
}

impl Flood {
    /// Single events, none of which fails.
    pub(super) fn new(name: &str, total: u64, waiting: usize) -> Outcome<Self> {
        let (name, published) = (EventName::new(name)?, Arc::default());
        Ok(Self { name, total, waiting, batch: 1, failing: 0, keys: Keys::Few, published })
    }

    /// The events from `first` on.
    fn drafts(&self, first: u64) -> Vec<Draft> {
        let fails = |n: u64| self.failing > 0 && n.is_multiple_of(self.failing);
        let end = (first + self.batch).min(self.total);
        let load = |n| match self.keys {
            Keys::Few => Load::new(n, fails(n)),
            Keys::Own(from) => Load::with_key(n, fails(n), format!("own-{:09}", from + n)),
            Keys::One => Load::with_key(n, fails(n), app::HOT.to_owned()),
        };
        let draft = |n| Draft::json(self.name.clone(), load(n).json().into());
        (first..end).map(draft).collect()
    }
}

/// Publications that a publisher who is alone makes before the first of them: the bus has then no time in which nobody waits, as
/// it would have if he made one after the other.
const MADE: u64 = 16;

async fn publisher(bus: Bus, next: Arc<AtomicU64>, flood: Flood) -> Outcome<Published> {
    let mut all = Published::default();
    let (batch, ahead) = (flood.batch, if flood.waiting == 1 { MADE } else { 1 });
    loop {
        let first = next.fetch_add(batch * ahead, Ordering::Relaxed);
        if first >= flood.total {
            return Ok(all);
        }
        let firsts = (0..ahead).map(|n| first + n * batch).filter(|first| *first < flood.total);
        let made: Vec<_> = firsts.map(|first| (first, flood.drafts(first))).collect();
        let begin = Stopwatch::start();
        for (first, drafts) in made {
            let mut drafts = Some(drafts);
            all.refused += publish(&bus, || drafts.take().unwrap_or_else(|| flood.drafts(first))).await?;
            flood.published.fetch_add(batch, Ordering::Relaxed);
        }
        all.waited += begin.elapsed();
    }
}

/// Publishes until it is taken; says how often it was refused before.
pub(super) async fn publish(bus: &Bus, mut drafts: impl FnMut() -> Vec<Draft>) -> Outcome<u64> {
    let mut refused = 0;
    loop {
        match bus.publish(drafts()).await {
            Ok(_) => return Ok(refused),
            Err(PublishError::Saturated { retry_after }) => {
                refused += 1;
                tokio::time::sleep(retry_after).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
