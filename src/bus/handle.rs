//! The handle on the bus: what doors, tests and the runtime hold.

use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use uuid::Uuid;

use super::crew::Crew;
use super::reload::Reloader;
use super::start::Reach;
use super::watch::{Watch, Watches};
use super::{Admission, Health, PublishError, QueryError, Readiness};
use crate::clock::Clock;
use crate::committer::{Durable, Submitter};
use crate::delivery::{Ports, Routing};
use crate::event::{
    COMPENSATION, Draft, EXPIRY, Envelope, EventName, FACT_SOURCE, Timestamp, flow_of, parse_expiry,
};
use crate::metrics::Metrics;
use crate::step::Registry;
use crate::store::{Change, Commit, Published, Reader, Receipt, Routed, StoreError};

/// A published event's place in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id, as supplied or assigned.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: EventName,
    /// Its flow.
    pub flow: String,
    /// It was there already, with the same body.
    pub replayed: bool,
}

/// The bus. Cheap to clone; usable from any thread and any async runtime.
#[derive(Debug, Clone)]
pub struct Bus(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) submitter: Submitter,
    pub(super) admission: Admission,
    pub(super) routing: Routing,
    pub(super) registry: Arc<Registry>,
    pub(super) reader: Arc<dyn Reader>,
    pub(super) durable: Durable,
    pub(super) ports: Ports,
    pub(super) reach: Reach,
    pub(super) watches: Watches,
    pub(super) delays: super::timers::DelayBell,
    pub(super) replays: super::replay::ReplayBell,
    pub(super) jobs: super::jobs::Jobs,
    pub(super) deadlines: super::timers::Deadlines,
    pub(super) schedules: super::schedules::Schedules,
    pub(super) compensations: crate::delivery::Compensations,
    pub(super) upkeep: super::upkeep::Upkeep,
    pub(super) watchdog: super::watchdog::Watchdog,
    pub(super) health: Health,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
    pub(super) pool: Handle,
    pub(super) crew: Crew,
    pub(super) reloader: OnceLock<Reloader>,
    pub(super) strict: bool,
    pub(super) batch_max: usize,
}

impl Bus {
    /// Publishes events from outside: all of them or none.
    ///
    /// # Guarantees
    /// `Ok` comes after the disk has confirmed the events. A repeat of (source, id) with the same body is
    /// stored once and answered the same, marked `replayed`; repeating is always safe. Dropping the
    /// future leaves the outcome unknown, as a broken connection does.
    ///
    /// # Errors
    /// [`PublishError`]; except for `Stopped` nothing was stored.
    pub async fn publish(&self, events: Vec<Draft>) -> Result<Vec<Accepted>, PublishError> {
        let count = events.len();
        let published = self.try_publish(events).await;
        let outcome = match &published {
            Ok(accepted) if accepted.iter().all(|a| a.replayed) && count > 0 => "replayed",
            Ok(_) => "accepted",
            Err(error) => outcome(error),
        };
        self.0.metrics.published(outcome, count);
        published
    }

    async fn try_publish(&self, events: Vec<Draft>) -> Result<Vec<Accepted>, PublishError> {
        match self.0.health.readiness() {
            Readiness::Ready => {}
            Readiness::Starting => return Err(PublishError::Starting),
            Readiness::Draining => return Err(PublishError::Draining),
            Readiness::Unhealthy { cause } => return Err(PublishError::Stopped { cause }),
        }
        if events.len() > self.0.batch_max {
            return Err(PublishError::TooMany { limit: self.0.batch_max });
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = events.iter().map(|event| event.data.len()).sum();
        let room = self.0.admission.admit(events.len(), bytes)?;
        let routed = events.into_iter().map(|draft| self.route(draft)).collect::<Result<Vec<_>, _>>()?;
        let named: Vec<Arc<Envelope>> = routed.iter().map(|routed| Arc::clone(&routed.event)).collect();
        let deadline = routed.iter().filter_map(|routed| routed.deadline).min();
        let bell = self.0.delays.clone();
        // The room goes with the request: a publisher who hangs up does not take his events back.
        let answered = self.0.submitter.commit_then(vec![Change::Publish(routed)], move |_| {
            if let Some(deadline) = deadline {
                bell.expect(deadline);
            }
            drop(room);
        });
        accepted(answered.await, &named)
    }

    /// Fills in what the publisher left out and decides where the event goes.
    fn route(&self, mut draft: Draft) -> Result<Routed, PublishError> {
        // What belongs to an undoing the bus alone says.
        draft.extensions.remove(COMPENSATION);
        if draft.name.is_reserved() {
            return Err(PublishError::Reserved { name: draft.name });
        }
        // A name that somebody listens to is heard, also when a filter keeps this event out.
        if self.0.strict && self.0.routing.of(&draft.name).is_empty() {
            return Err(self.unheard(draft.name));
        }
        if let Some(text) = draft.extensions.get(EXPIRY).filter(|text| parse_expiry(text).is_none()) {
            return Err(PublishError::BadExpiry { text: text.clone() });
        }
        if is_own_source(&draft.source) {
            return Err(PublishError::ReservedSource { source_name: draft.source });
        }
        let id = draft.id.unwrap_or_else(|| Uuid::now_v7().to_string());
        let key = draft.key.or_else(|| self.0.registry.key_of(&draft.name, &draft.data)).unwrap_or_default();
        let event = Envelope {
            flow: draft.flow.unwrap_or_else(|| flow_of(&draft.source, &id)),
            id,
            source: draft.source,
            name: draft.name,
            subject: draft.subject,
            time: draft.time.unwrap_or_else(|| self.0.clock.now()),
            key,
            causation: draft.causation,
            traceparent: draft.traceparent,
            content_type: draft.content_type,
            schema: draft.schema,
            extensions: draft.extensions,
            data: draft.data,
        };
        let now = self.0.clock.now();
        // A flow that begins later has its time from then on.
        let deadline = self.0.deadlines.of(&event.name, draft.due.unwrap_or(now).max(now));
        Ok(Routed { due: draft.due, deadline, ..self.0.routing.routed(Arc::new(event)) })
    }

    fn unheard(&self, name: EventName) -> PublishError {
        let known = self.0.registry.catalog().event_names();
        let near = known.iter().map(|n| (strsim::jaro_winkler(n, name.as_str()), *n));
        let best = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.8);
        PublishError::Unheard { suggestion: best.map(|(_, n)| n.to_owned()), name }
    }

    /// Watches a flow. Make the watch before reading the status, so that no change falls in between.
    pub fn watch(&self, flow: &str) -> Watch {
        self.0.watches.watch(flow)
    }

    /// When something is due next by time: a delayed event, a schedule, the deadline of a flow, the next letter
    /// of a job; as far as the tasks have looked.
    pub fn next_due(&self) -> Option<Timestamp> {
        let now = self.0.clock.now();
        let due = [self.0.delays.next_due(), self.0.jobs.bell.next_due()];
        due.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Tells those who wait for a time that the clock was moved by hand.
    pub fn nudge(&self) {
        self.0.delays.ring();
        self.0.jobs.bell.ring();
    }

    /// Sets the gauges to what is so now. Reads the store's counters; may block for a moment.
    pub fn observe(&self) {
        self.0.observe();
    }

    /// The store's reading half, for tests that look behind the bus.
    #[cfg(feature = "testing")]
    pub(crate) fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.0.reader)
    }

    /// Whether the bus takes events.
    pub fn readiness(&self) -> Readiness {
        self.0.health.readiness()
    }

    /// Reads from the store on a thread that may block, and waits until what was read is on disk.
    pub(super) async fn read<T, F>(&self, what: F) -> Result<T, QueryError>
    where
        T: Send + 'static,
        F: FnOnce(&Inner) -> Result<T, QueryError> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let read = self.0.pool.spawn_blocking(move || {
            let answer = what(&inner);
            (answer, inner.reader.staged())
        });
        let (answer, staged): (_, Commit) = read.await.map_err(|_| stopped())?;
        if self.0.durable.reached(staged).await { answer } else { Err(stopped().into()) }
    }

    /// Makes one change durable on an operator's behalf. `then` is called with its receipt, also when the
    /// operator has hung up meanwhile, and in the order of the commits.
    pub(super) async fn act(
        &self,
        change: Change,
        then: impl FnOnce(&Receipt) + Send + 'static,
    ) -> Result<Receipt, QueryError> {
        let answered = self.0.submitter.commit_then(vec![change], move |answer| {
            if let Ok([receipt]) = answer.as_deref() {
                then(receipt);
            }
        });
        answered.await.ok_or_else(stopped)??.pop().ok_or_else(|| stopped().into())
    }
}

/// Whether events of this source are made by the bus: facts, and what steps emit.
fn is_own_source(source: &str) -> bool {
    source.strip_prefix(FACT_SOURCE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn stopped() -> StoreError {
    StoreError::Poisoned { cause: "the bus has stopped".to_owned() }
}

fn accepted(
    answer: Option<crate::committer::Answer>,
    named: &[Arc<Envelope>],
) -> Result<Vec<Accepted>, PublishError> {
    let receipt = match answer {
        Some(Ok(receipts)) => receipts.into_iter().next(),
        Some(Err(error)) => return Err(PublishError::Stopped { cause: error.to_string() }),
        None => None,
    };
    match receipt {
        Some(Receipt::Published { events, .. }) => Ok(events.into_iter().zip(named).map(place).collect()),
        Some(Receipt::Conflict { index }) => {
            let (id, source_name) =
                named.get(index).map(|event| (event.id.clone(), event.source.clone())).unwrap_or_default();
            Err(PublishError::Conflict { index, id, source_name })
        }
        Some(
            Receipt::Applied { .. }
            | Receipt::Subscribed(_)
            | Receipt::Replayed { .. }
            | Receipt::Stale
            | Receipt::Unreadable { .. },
        )
        | None => Err(PublishError::Stopped { cause: "it ended before the answer".to_owned() }),
    }
}

fn place((published, event): (Published, &Arc<Envelope>)) -> Accepted {
    Accepted {
        id: event.id.clone(),
        source: event.source.clone(),
        name: event.name.clone(),
        flow: published.flow,
        replayed: published.replayed,
    }
}

fn outcome(error: &PublishError) -> &'static str {
    match error {
        PublishError::Saturated { .. } => "saturated",
        PublishError::Starting => "starting",
        PublishError::Draining => "draining",
        PublishError::DiskFull { .. } => "disk_full",
        PublishError::Conflict { .. } => "conflict",
        PublishError::Reserved { .. }
        | PublishError::BadExpiry { .. }
        | PublishError::ReservedSource { .. }
        | PublishError::Unheard { .. }
        | PublishError::TooMany { .. } => "refused",
        PublishError::Stopped { .. } => "stopped",
    }
}
