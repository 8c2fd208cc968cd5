//! The bus whose operations are counted.

use std::path::Path;
use std::sync::Arc;

use tidegate::bus::Operator;
use tidegate::clock::Clock;
use tidegate::config;
use tidegate::http::{self, Door, Durability};
use tidegate::runtime::{self, Running};
use tokio::runtime::Runtime;

use super::{Asked, COUNTED, Cost, WARM};
use crate::alloc::{Allocated, allocated_in, places_of};
use crate::app::{self, Tally};
use crate::{Failure, Outcome};

/// The thread of the bus actor and its committer.
const COMMITTER: &str = "tidegate-bus";
/// Nothing is folded while this measures.
const NO_CHECKPOINT: &str = "checkpoint_interval = \"1h\"\ncheckpoint_bytes = \"1GiB\"\n";

/// A running bus with the bench application on a folder of its own.
pub(super) struct Bus {
    running: Running,
    pub(super) waiter: Runtime,
    committer: Vec<usize>,
    /// Removed when it is dropped.
    _folder: tempfile::TempDir,
}

impl Bus {
    /// Starts it, with the subscription that takes what is ingested paused or at work.
    pub(super) fn start(data: &Path, is_paused: bool) -> Outcome<Self> {
        let folder = tempfile::TempDir::with_prefix_in("costs-", data)?;
        let wiring = app::wiring(folder.path(), false).replace("[http]", &format!("{NO_CHECKPOINT}[http]"));
        let settings = config::load_text(&wiring).map_err(|problems| problems.to_string())?.settings;
        let running = runtime::start(&settings, app::steps(&Tally::default())?, &Clock::wall())?;
        let waiter = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let operator = Operator { by: "bench".to_owned(), reason: String::new() };
        waiter.block_on(running.bus().pause("drain", is_paused, operator))?;
        waiter.block_on(running.idle());
        let committer = places_of(COMMITTER);
        if committer.is_empty() {
            return Err("the bus actor's thread is not found; has it another name?".into());
        }
        Ok(Self { running, waiter, committer, _folder: folder })
    }

    /// A door to it with one worker.
    pub(super) fn door(&self) -> Door {
        let with = http::Settings { workers: Some(1), ..http::Settings::default() };
        let text = Arc::new(self.running.metrics());
        Door::new(self.running.bus().clone(), Durability::Disk, text, self.running.counters(), with)
    }

    /// The cost of an asynchronous operation.
    pub(super) fn each<'b, T, E, F>(
        &'b self,
        mut operation: impl FnMut(&'b tidegate::bus::Bus) -> F,
    ) -> Outcome<Cost>
    where
        F: Future<Output = Result<T, E>>,
        Failure: From<E>,
    {
        self.each_blocking(|| {
            self.waiter.block_on(operation(self.running.bus()))?;
            Ok(())
        })
    }

    /// The cost of an operation, each followed by idleness.
    pub(super) fn each_blocking(&self, mut operation: impl FnMut() -> Outcome<()>) -> Outcome<Cost> {
        let mut costs = Vec::with_capacity(usize::try_from(COUNTED)?);
        for n in 0..WARM + COUNTED {
            let before = self.allocated();
            operation()?;
            self.waiter.block_on(self.running.idle());
            let after = self.allocated();
            if n >= WARM {
                costs.push((since(after.0, before.0), since(after.1, before.1)));
            }
        }
        let asked = |of: &dyn Fn(&(Allocated, Allocated)) -> Allocated| Asked {
            allocations: median(costs.iter().map(|cost| of(cost).count).collect()),
            bytes: median(costs.iter().map(|cost| of(cost).bytes).collect()),
        };
        Ok(Cost { committer: asked(&|cost| cost.0), others: asked(&|cost| cost.1) })
    }

    fn allocated(&self) -> (Allocated, Allocated) {
        (
            allocated_in(|place| self.committer.contains(&place)),
            allocated_in(|place| !self.committer.contains(&place)),
        )
    }

    /// Shuts it down in order.
    pub(super) fn stop(self) -> Outcome<()> {
        Ok(self.running.shut_down(std::time::Duration::from_secs(1))?)
    }
}

fn since(now: Allocated, before: Allocated) -> Allocated {
    Allocated { count: now.count - before.count, bytes: now.bytes - before.bytes }
}

fn median(mut figures: Vec<u64>) -> f64 {
    figures.sort_unstable();
    figures.get(figures.len() / 2).map_or(f64::NAN, |figure| *figure as f64)
}
