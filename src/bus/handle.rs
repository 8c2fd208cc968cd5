//! The handle on the bus: what doors, tests and the runtime hold.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;

use super::admission::Room;
use super::crew::Crew;
use super::front::Front;
use super::reload::Reloader;
use super::start::Reach;
use super::watch::{Watch, Watches};
use super::{Admission, Health, PublishError, QueryError, Readiness};
use crate::clock::Clock;
use crate::committer::{Answer, Durable, Submitter};
use crate::delivery::{Ports, Routing};
use crate::event::{
    COMPENSATION, Draft, EXPIRY, Envelope, EventName, FACT_SOURCE, Label, Timestamp, drawn_id, flow_of,
    parse_expiry,
};
use crate::metrics::Metrics;
use crate::step::Registry;
use crate::store::{Change, Commit, Novelty, Published, Reader, Receipt, Routed, StoreError};

/// A published event's place in the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What it is known by, its id as supplied or assigned; the fields read as this one's own.
    pub label: Arc<Label>,
    /// It was there already, with the same body.
    pub replayed: bool,
}

impl Deref for Accepted {
    type Target = Label;

    fn deref(&self) -> &Label {
        &self.label
    }
}

impl Accepted {
    /// The event's place as far as the store does not say otherwise.
    fn of(event: &Envelope) -> Self {
        Self { label: Arc::clone(&event.label), replayed: false }
    }

    fn stands(&mut self, published: Published) {
        self.replayed = published.replayed;
        if let Some(flow) = published.flow {
            Arc::make_mut(&mut self.label).flow = flow;
        }
    }
}

/// The bus. Cheap to clone; usable from any thread and any async runtime.
#[derive(Debug, Clone)]
pub struct Bus(pub(super) Arc<Inner>, pub(super) Option<Front>);

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
    /// The same bus, for many callers whose tasks all run on one thread, and the task that serves them: spawn it on
    /// that thread. A commit, and a read, then wakes the thread once for many of them.
    ///
    /// # Guarantees
    /// When the task has ended, callers are served as those of any other handle.
    #[must_use = "who calls waits until the task runs"]
    pub fn for_many(&self) -> (Self, impl Future<Output = ()> + use<>) {
        let front = Front::default();
        let served = front.served(Arc::clone(&self.0));
        (Self(Arc::clone(&self.0), Some(front)), served)
    }

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
        self.count(&published, count, |accepted| count > 0 && accepted.iter().all(|a| a.replayed));
        published
    }

    /// As [`Bus::publish`], of one event.
    ///
    /// # Errors
    /// As [`Bus::publish`].
    pub async fn publish_one(&self, event: Draft) -> Result<Accepted, PublishError> {
        let published = self.try_publish_one(event).await;
        self.count(&published, 1, |accepted| accepted.replayed);
        published
    }

    fn count<T>(&self, published: &Result<T, PublishError>, events: usize, is_repeat: impl Fn(&T) -> bool) {
        let outcome = match published {
            Ok(accepted) if is_repeat(accepted) => "replayed",
            Ok(_) => "accepted",
            Err(error) => outcome(error),
        };
        self.0.metrics.published(outcome, events);
    }

    async fn try_publish(&self, events: Vec<Draft>) -> Result<Vec<Accepted>, PublishError> {
        self.takes_events()?;
        if events.len() > self.0.batch_max {
            return Err(PublishError::TooMany { limit: self.0.batch_max });
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = events.iter().map(|event| event.data.len()).sum();
        let room = self.0.admission.admit(events.len(), bytes)?;
        let routed = events.into_iter().map(|draft| self.route(draft)).collect::<Result<Vec<_>, _>>()?;
        let mut named: Vec<Accepted> = routed.iter().map(|routed| Accepted::of(&routed.event)).collect();
        let stored = published(self.hand_in(routed, room).await, &named)?;
        for (accepted, stored) in named.iter_mut().zip(stored) {
            accepted.stands(stored);
        }
        Ok(named)
    }

    async fn try_publish_one(&self, event: Draft) -> Result<Accepted, PublishError> {
        self.takes_events()?;
        let room = self.0.admission.admit(1, event.data.len())?;
        let routed = self.route(event)?;
        let mut accepted = Accepted::of(&routed.event);
        for stored in published(self.hand_in(vec![routed], room).await, std::slice::from_ref(&accepted))? {
            accepted.stands(stored);
        }
        Ok(accepted)
    }

    fn takes_events(&self) -> Result<(), PublishError> {
        match self.0.health.readiness() {
            Readiness::Ready => Ok(()),
            Readiness::Starting => Err(PublishError::Starting),
            Readiness::Draining => Err(PublishError::Draining),
            Readiness::Unhealthy { cause } => Err(PublishError::Stopped { cause }),
        }
    }

    fn hand_in(&self, routed: Vec<Routed>, room: Room) -> impl Future<Output = Option<Answer>> + use<> {
        let deadline = routed.iter().filter_map(|routed| routed.deadline).min();
        let bell = deadline.map(|deadline| (self.0.delays.clone(), deadline));
        // The room goes with the request: a publisher who hangs up does not take his events back.
        self.0.submitter.commit_by(self.1.as_ref().map(Front::postbox), Change::Publish(routed), move |_| {
            if let Some((bell, deadline)) = bell {
                bell.expect(deadline);
            }
            drop(room);
        })
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
        let now = self.0.clock.now();
        let novelty = match (&draft.id, &draft.flow) {
            (Some(_), _) => Novelty::None,
            (None, Some(_)) => Novelty::Id,
            (None, None) => Novelty::Flow,
        };
        let id = draft.id.unwrap_or_else(|| drawn_id(now).to_string());
        let key = draft.key.or_else(|| self.0.registry.key_of(&draft.name, &draft.data)).unwrap_or_default();
        let label = Label {
            flow: draft.flow.unwrap_or_else(|| flow_of(&draft.source, &id)),
            id,
            source: draft.source,
            name: draft.name,
            time: draft.time.unwrap_or(now),
            key,
            causation: draft.causation,
        };
        let event = Envelope {
            label: Arc::new(label),
            subject: draft.subject,
            traceparent: draft.traceparent,
            content_type: draft.content_type,
            schema: draft.schema,
            extensions: draft.extensions,
            data: draft.data,
        };
        // A flow that begins later has its time from then on.
        let deadline = self.0.deadlines.of(&event.name, draft.due.unwrap_or(now).max(now));
        Ok(Routed { due: draft.due, deadline, novelty, ..self.0.routing.routed(Arc::new(event)) })
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
        let read = move |inner: &Inner| {
            let answer = what(inner);
            (answer, inner.reader.staged())
        };
        let read = match &self.1 {
            Some(front) => front.read(read),
            None => Err(read),
        };
        let (answer, staged): (_, Commit) = match read {
            Ok(asked) => asked.await.ok_or_else(stopped)?,
            Err(read) => {
                let inner = Arc::clone(&self.0);
                let read = self.0.pool.spawn_blocking(move || read(&inner));
                read.await.map_err(|_| stopped())?
            }
        };
        if self.0.durable.reached(staged).await { answer } else { Err(stopped().into()) }
    }

    /// Makes one change durable on an operator's behalf. `then` is called with its receipt, also when the
    /// operator has hung up meanwhile, and in the order of the commits.
    pub(super) async fn act(
        &self,
        change: Change,
        then: impl FnOnce(&Receipt) + Send + 'static,
    ) -> Result<Receipt, QueryError> {
        let answered = self.0.submitter.commit_then(change, move |answer| {
            if let Ok([receipt]) = answer.as_deref() {
                then(receipt);
            }
        });
        answered.await.ok_or_else(stopped)??.into_last().ok_or_else(|| stopped().into())
    }
}

/// Whether events of this source are made by the bus: facts, and what steps emit.
fn is_own_source(source: &str) -> bool {
    source.strip_prefix(FACT_SOURCE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn stopped() -> StoreError {
    StoreError::Poisoned { cause: "the bus has stopped".to_owned() }
}

/// What the store says of each event of a publication.
fn published(answer: Option<Answer>, named: &[Accepted]) -> Result<Vec<Published>, PublishError> {
    let receipt = match answer {
        Some(Ok(receipts)) => receipts.into_last(),
        Some(Err(error)) => return Err(PublishError::Stopped { cause: error.to_string() }),
        None => None,
    };
    match receipt {
        Some(Receipt::Published { events, .. }) => Ok(events),
        Some(Receipt::Conflict { index }) => {
            let named = named.get(index);
            let (id, source_name) =
                named.map(|event| (event.id.clone(), event.source.clone())).unwrap_or_default();
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
