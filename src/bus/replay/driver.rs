//! The one task that drives all replays.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::job::{self, Job, Page, Selection, State};
use crate::activity::{Activity, Busy};
use crate::bus::{Admission, Health, PublishError};
use crate::clock::Clock;
use crate::committer::{Receipts, Submitter};
use crate::delivery::Routing;
use crate::event::Fact;
use crate::store::{Change, Fates, Reader, Receipt, Replay, Seq, StoreError};

/// How long the task waits after an error of the store before it looks again.
const TRY_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Events that one commit takes.
const PAGE: usize = 256;

/// Rings when a replay has begun. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::bus) struct ReplayBell {
    bell: Arc<Notify>,
    rung: Arc<Mutex<Option<Busy>>>,
    /// Held while a record is read and written again.
    turn: Arc<tokio::sync::Mutex<()>>,
    activity: Activity,
}

impl ReplayBell {
    pub(in crate::bus) fn new(activity: Activity) -> Self {
        Self { activity, ..Self::default() }
    }

    pub(in crate::bus) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if rung.is_none() {
            *rung = Some(self.activity.begin());
        }
        self.bell.notify_one();
    }

    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn take(&self) -> Option<Busy> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The task. Whatever it knows stands in the records, so it begins after a start as after a ring.
#[derive(Debug)]
pub(in crate::bus) struct Replays {
    pub(in crate::bus) reader: Arc<dyn Reader>,
    pub(in crate::bus) submitter: Submitter,
    pub(in crate::bus) routing: Routing,
    pub(in crate::bus) admission: Admission,
    pub(in crate::bus) health: Health,
    pub(in crate::bus) clock: Clock,
    pub(in crate::bus) bell: ReplayBell,
    pub(in crate::bus) pool: Handle,
}

/// What a look at a running replay has found.
enum Found {
    Page {
        job: Job,
        selection: Selection,
        page: Page,
    },
    /// The subscription is wired no more.
    Unwired(Job),
}

impl Replays {
    /// Runs until the bus ends.
    pub(in crate::bus) async fn run(self) {
        loop {
            let busy = self.bell.take();
            while self.round().await {}
            drop(busy);
            self.bell.bell.notified().await;
        }
    }

    /// One page of every replay that runs; `false` when none does, or the bus ends.
    async fn round(&self) -> bool {
        if self.health.is_ending() {
            return false;
        }
        let reader = Arc::clone(&self.reader);
        let Ok(jobs) = self.pool.spawn_blocking(move || job::all(&*reader)).await else { return false };
        let mut is_moved = false;
        match jobs {
            Ok(jobs) => {
                for job in jobs.into_iter().filter(|job| job.state == State::Running) {
                    is_moved |= self.advance(&job).await;
                }
            }
            Err(error) => {
                warn!(%error, "cannot read which replays run; they are looked for again");
                is_moved = self.pause_after_error().await;
            }
        }
        is_moved
    }

    /// Waits before another try at reading; `false` when the bus ends.
    async fn pause_after_error(&self) -> bool {
        tokio::time::sleep(TRY_AGAIN).await;
        !self.health.is_ending()
    }

    /// The next page of a replay; `false` when there is no going on.
    async fn advance(&self, job: &Job) -> bool {
        let Some(_room) = self.room().await else { return false };
        let turn = self.bell.turn().await;
        let (reader, routing, name) = (Arc::clone(&self.reader), self.routing.clone(), job.record_name());
        let found = self.pool.spawn_blocking(move || look(&*reader, &routing, &name)).await;
        let changes = match found {
            Ok(Ok(None)) => return true,
            Ok(Ok(Some(Found::Page { job, selection, page }))) => {
                return self.take(job, &selection, page, turn).await;
            }
            Ok(Ok(Some(Found::Unwired(mut job)))) => {
                job.problem = Some("its subscription is wired no more".to_owned());
                job.end_as(State::Failed, self.clock.now(), self.fates(&job).await);
                self.finish(&job)
            }
            Ok(Err(error)) => {
                warn!(%error, replay = job.id(), "cannot read on; it tries again");
                return self.pause_after_error().await;
            }
            Err(_) => return false,
        };
        self.commit(changes).await.is_some()
    }

    /// Makes a page durable together with the cursor that has passed it.
    async fn take(
        &self,
        mut job: Job,
        selection: &Selection,
        page: Page,
        _turn: tokio::sync::MutexGuard<'_, ()>,
    ) -> bool {
        let mut changes = Vec::new();
        if !page.seqs.is_empty() {
            let (subscription, generation) = (selection.id, job.generation);
            changes.push(Change::Replay(Replay { subscription, seqs: page.seqs, generation }));
        }
        job.next = if page.is_last { Seq(job.end.0.saturating_add(1)) } else { selection.next };
        job.looked += page.looked;
        changes.push(job.keep());
        let Some(receipts) = self.commit(changes).await else { return false };
        if matches!(receipts.first(), Some(Receipt::Stale)) {
            job.problem = Some("a later replay of its subscription has begun".to_owned());
            job.end_as(State::Failed, self.clock.now(), None);
        } else if page.is_last {
            // Its counts are complete with this page, and the subscription has them.
            let fates = self.fates(&job).await;
            job.end_as(State::Done, self.clock.now(), fates);
        } else {
            return true;
        }
        info!(replay = job.id(), state = ?job.state, fates = ?job.fates, "a replay has ended");
        self.commit(self.finish(&job)).await.is_some()
    }

    async fn fates(&self, job: &Job) -> Option<Fates> {
        let (reader, name, generation) = (Arc::clone(&self.reader), job.subscription.clone(), job.generation);
        let records = self.pool.spawn_blocking(move || reader.subscriptions()).await.ok()?.ok()?;
        let record = records.into_iter().find(|record| record.name == name)?;
        (record.generation == generation).then_some(record.replayed)
    }

    /// The record of a replay that has ended, with the fact that says so.
    fn finish(&self, job: &Job) -> Vec<Change> {
        let about = json!({
            "job": job.id(), "subscription": job.subscription, "state": job.state,
            "problem": job.problem, "looked": job.looked, "counts": job.fates,
            "by": job.by, "reason": job.reason,
        });
        let fact = Fact::new("tidegate.job.finished", &["replay", &job.id()], &about)
            .map(|fact| fact.about(&job.subscription, &job.id()))
            .and_then(|fact| self.routing.fact(fact, self.clock.now()));
        vec![Change::With { change: Box::new(job.keep()), facts: fact.into_iter().collect() }]
    }

    async fn commit(&self, changes: Vec<Change>) -> Option<Receipts> {
        // Without an answer the bus has ended; the replay goes on at the next start.
        self.submitter.commit(changes).await?.ok()
    }

    /// Takes room as a publisher does, and waits for it: whoever publishes must not be refused because of a
    /// replay that could wait. `None` when the bus ends.
    async fn room(&self) -> Option<crate::bus::admission::Room> {
        loop {
            let wait = match self.admission.admit(PAGE, 0) {
                Ok(room) => return Some(room),
                Err(PublishError::Saturated { retry_after }) => retry_after,
                Err(_) => std::time::Duration::from_secs(1),
            };
            tokio::time::sleep(wait).await;
            if self.health.is_ending() {
                return None;
            }
        }
    }
}

/// The record as it is now, with its next page; `None` when it does not run any more.
fn look(reader: &dyn Reader, routing: &Routing, name: &str) -> Result<Option<Found>, StoreError> {
    let Some(value) = reader.kept_one(crate::store::Shelf::Job, name)? else { return Ok(None) };
    let job = serde_json::from_slice(&value).ok().filter(|job: &Job| job.state == State::Running);
    let Some(job) = job else { return Ok(None) };
    let records = reader.subscriptions()?;
    let record = records.iter().find(|record| record.name == job.subscription && !record.orphaned);
    let Some(record) = record else { return Ok(Some(Found::Unwired(job))) };
    let mut selection = Selection::new(&job, record, routing.filter(record.id));
    let page = selection.page(reader, PAGE)?;
    Ok(Some(Found::Page { job, selection, page }))
}
