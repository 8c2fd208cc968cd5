//! Time: one bell and one task for all that is due at a time, however much of it waits: delayed events, the
//! deadlines of flows, schedules.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{error, warn};

use super::schedules::Runner;
use super::skew::Skew;
use crate::activity::{Activity, Busy};
use crate::clock::Clock;
use crate::committer::Submitter;
use crate::delivery::Routing;
use crate::event::{EventName, Fact, Timestamp};
use crate::metrics::Metrics;
use crate::store::{Change, Reader, Receipt, Seq, StoreError};

/// Changes handed in with one request.
const BATCH: usize = 512;

/// How long the task sleeps at most, whatever it thinks is due: sleepers stand while the machine is suspended, the clock
/// does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// Rings when there is something new to wait for, or the clock was moved. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct DelayBell {
    bell: Arc<Notify>,
    rung: Arc<Mutex<Option<Busy>>>,
    next: Arc<Mutex<Next>>,
    activity: Activity,
}

/// What the task waits for.
#[derive(Debug, Default)]
struct Next {
    /// When something is due next, as far as the task has looked.
    known: Option<Timestamp>,
    /// The earliest that was told since it began to look.
    told: Option<Timestamp>,
}

impl DelayBell {
    pub(crate) fn new(activity: Activity) -> Self {
        Self { activity, ..Self::default() }
    }

    pub(crate) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if rung.is_none() {
            *rung = Some(self.activity.begin());
        }
        // Under the lock: who takes the one takes the other.
        self.bell.notify_one();
    }

    /// Tells that something is due at `at`; rings only when that is earlier than what is waited for.
    pub(crate) fn expect(&self, at: Timestamp) {
        let mut next = self.next();
        next.told = [next.told, Some(at)].into_iter().flatten().min();
        let is_news = next.known.is_none_or(|known| at < known);
        drop(next);
        if is_news {
            self.ring();
        }
    }

    /// When something is due next, as far as the task has looked.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.next().known
    }

    /// The task begins to look; what is told from now on it may not have seen.
    ///
    /// Takes the stroke that woke it, if it is still there: it would look once more later, with nothing in hand
    /// that says so.
    fn begin_look(&self) -> Option<Busy> {
        self.next().told = None;
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let _stroke = self.bell.notified().now_or_never();
        rung.take()
    }

    fn end_look(&self, found: Option<Timestamp>) -> Option<Timestamp> {
        let mut next = self.next();
        next.known = [found, next.told].into_iter().flatten().min();
        next.known
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the flow of an event may take, by the name of the event that begins it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadlines(Arc<ByName>);

#[derive(Debug, Default)]
struct ByName {
    all: RwLock<BTreeMap<EventName, Duration>>,
    /// Whether there are any: every publication asks, and mostly there are none.
    is_any: AtomicBool,
}

impl Deadlines {
    pub(crate) fn set(&self, all: BTreeMap<EventName, Duration>) {
        let mut known = self.0.all.write().unwrap_or_else(PoisonError::into_inner);
        self.0.is_any.store(!all.is_empty(), Ordering::Release);
        *known = all;
    }

    /// The deadline of a flow that begins with an event of this name at this time.
    pub(crate) fn of(&self, name: &EventName, begins: Timestamp) -> Option<Timestamp> {
        if !self.0.is_any.load(Ordering::Acquire) {
            return None;
        }
        let all = self.0.all.read().unwrap_or_else(PoisonError::into_inner);
        all.get(name).map(|time| begins.plus(*time))
    }
}

/// The task that does what is due when it is due.
#[derive(Debug)]
pub(crate) struct Delays {
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) submitter: Submitter,
    pub(crate) clock: Clock,
    pub(crate) bell: DelayBell,
    pub(crate) pool: Handle,
    pub(crate) routing: Routing,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) runner: Runner,
    /// Delayed events that could not be read; each is told once.
    pub(crate) unreadable: HashSet<Seq>,
    pub(crate) skew: Skew,
}

impl Delays {
    /// Runs until the bus ends.
    pub(crate) async fn run(mut self) {
        loop {
            let busy = self.bell.begin_look();
            self.skew.look(&self.clock);
            let next = match self.do_what_is_due().await {
                Ok(next) => next,
                Err(error) => {
                    warn!(%error, "cannot read what is due; trying again");
                    Some(self.clock.now().plus_millis(1_000))
                }
            };
            let next = self.bell.end_look(next);
            drop(busy);
            self.sleep_until(next).await;
        }
    }

    async fn do_what_is_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let released = self.release_due().await?;
        let marked = self.mark_overdue().await?;
        let fired = self.runner.fire_due().await?;
        Ok([released, marked, fired].into_iter().flatten().min())
    }

    /// Releases what is due and tells when the next one is.
    async fn release_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let limit = BATCH + self.unreadable.len();
            let found = self.read(move |reader, now| reader.due(now, limit)).await;
            let Some((mut due, next)) = found.transpose()? else { return Ok(None) };
            due.retain(|seq| !self.unreadable.contains(seq));
            if due.is_empty() {
                return Ok(next);
            }
            let released =
                self.submitter.commit(due.iter().copied().map(Change::Release).collect::<Vec<_>>()).await;
            let Some(Ok(receipts)) = released else {
                // The bus has ended; what is due is released at the next start.
                return Ok(None);
            };
            for (seq, receipt) in due.into_iter().zip(receipts) {
                if let Receipt::Unreadable { problem } = receipt {
                    self.tell_unreadable(seq, &problem);
                }
            }
        }
    }

    fn tell_unreadable(&mut self, seq: Seq, problem: &str) {
        let event = self.reader.event(seq).ok().flatten();
        let (id, source) = event.map(|event| (event.id.clone(), event.source.clone())).unwrap_or_default();
        error!(
            id,
            source,
            problem,
            "a delayed event is due and cannot be read; it stays delayed. Restore a backup, or take it back with `tidegate cancel`"
        );
        self.unreadable.insert(seq);
    }

    /// Marks the open flows whose deadline has passed, and tells when the next one does.
    async fn mark_overdue(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let found = self.read(|reader, now| reader.overdue(now, BATCH)).await;
            let Some((flows, next)) = found.transpose()? else { return Ok(None) };
            if flows.is_empty() {
                return Ok(next);
            }
            let changes = flows.into_iter().map(|(flow, deadline)| self.overdue(flow, deadline));
            let changes: Vec<Change> = changes.collect();
            let Some(Ok(receipts)) = self.submitter.commit(changes).await else { return Ok(None) };
            let marked = receipts.iter().filter(|receipt| matches!(receipt, Receipt::Applied { .. }));
            self.metrics.flows_overdue.inc_by(marked.count() as u64);
        }
    }

    fn overdue(&self, flow: String, deadline: Timestamp) -> Change {
        let data = serde_json::json!({ "flow": flow, "deadline": deadline.to_string() });
        let fact = Fact::new("tidegate.flow.overdue", &[&flow, &deadline.0.to_string()], &data)
            .map(|fact| fact.about(&flow, &flow))
            .and_then(|fact| self.routing.fact(fact, self.clock.now()));
        Change::With { change: Box::new(Change::Overdue { flow }), facts: fact.into_iter().collect() }
    }

    /// Reads where it may block; `None` when the bus has ended.
    async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&dyn Reader, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<Result<T, StoreError>> {
        let (now, reader) = (self.clock.now(), Arc::clone(&self.reader));
        self.pool.spawn_blocking(move || what(&*reader, now)).await.ok()
    }

    async fn sleep_until(&self, next: Option<Timestamp>) {
        let rung = self.bell.bell.notified();
        if self.clock.is_manual() {
            return rung.await;
        }
        let wait =
            next.map_or(LONGEST_SLEEP, |due| Duration::from_millis(due.millis_since(self.clock.now())));
        // Both ends mean the same: look again.
        drop(tokio::time::timeout(wait.min(LONGEST_SLEEP), rung).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stroke_is_one_look() {
        let bell = DelayBell::default();
        bell.ring();
        bell.ring();

        assert!(bell.begin_look().is_some());
        assert!(bell.bell.notified().now_or_never().is_none(), "no stroke is left over");
        assert!(bell.begin_look().is_none());
        bell.ring();
        assert!(bell.bell.notified().now_or_never().is_some(), "a new one wakes");
    }

    #[test]
    fn the_bell_rings_only_for_what_is_earlier_than_what_is_waited_for() {
        let bell = DelayBell::default();
        let is_rung = |bell: &DelayBell| bell.rung.lock().unwrap().take().is_some();
        bell.expect(Timestamp(50));
        assert!(is_rung(&bell), "nothing was waited for");
        assert!(bell.begin_look().is_none());
        assert_eq!(bell.end_look(Some(Timestamp(100))), Some(Timestamp(100)));

        bell.expect(Timestamp(200));
        assert!(!is_rung(&bell));
        bell.expect(Timestamp(99));
        assert!(is_rung(&bell));
        // What is told while the task looks may not be among what it finds.
        bell.begin_look();
        bell.expect(Timestamp(120));
        assert_eq!(bell.end_look(Some(Timestamp(200))), Some(Timestamp(120)));
        assert_eq!(bell.next_due(), Some(Timestamp(120)));
    }
}
