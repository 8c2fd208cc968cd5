//! Replay: a subscription gets earlier events again, page by page.
//!
//! Each replay is a job with a record of its own. A page of events and the cursor that has passed it are one
//! commit, so a job that was broken off goes on where it stood, and no event is taken twice. What is emitted
//! under a replay has ids of its own: it is new to everybody who listens. Effects keep their keys, since what
//! was done outside must not be done a second time; the states that a step keeps are not reset. A replay ends
//! with the newest event of its beginning: what comes later, the subscription gets anyway.
//!
//! One subscription has one replay at a time. What is replayed is queued behind what waits already, in the
//! order of acknowledgement; events that come in meanwhile stand in between.

mod driver;
mod job;

use serde_json::json;

use super::handle::{Bus, Inner, stopped};
use super::view::{ReplayCounts, ReplayView};
use super::{Operator, QueryError};
use crate::event::{Pattern, Timestamp};
use crate::store::{Change, Fates, Receipt, Replay, Seq, Shelf, SubscriptionId, SubscriptionRecord};

pub(super) use driver::{ReplayBell, Replays};
use job::{Job, Selection, State};

/// The longest key that can be asked for, so that a replay's record keeps within its bounds.
const KEY_MAX: usize = 4_096;
/// The most characters of a reason that its record keeps; the fact has all of it.
const REASON_MAX: usize = 1_000;
/// Events that one page of a dry run counts.
const DRY_PAGE: usize = 1_024;

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayFrom {
    /// With the oldest event that is kept.
    Start,
    /// With the event of this number.
    Number(u64),
    /// With what was acknowledged at this time or later.
    Time(Timestamp),
}

/// Which events a subscription is to get again, among those that it listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Where it begins.
    pub from: ReplayFrom,
    /// Only what was acknowledged at this time or earlier.
    pub until: Option<Timestamp>,
    /// Only events with such a name.
    pub name: Option<Pattern>,
    /// Only events with this key.
    pub key: Option<String>,
}

impl Bus {
    /// Counts what a replay would do now. Stores nothing.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] for a subscription that is wired no more.
    pub async fn replay_dry(
        &self,
        subscription: &str,
        request: ReplayRequest,
    ) -> Result<ReplayCounts, QueryError> {
        let name = subscription.to_owned();
        let mut selection = self
            .read(move |inner| {
                let record = inner.replayable(&name)?;
                Ok(inner.selection(&inner.new_job(&record, &request), &record))
            })
            .await?;
        let (mut looked, mut counted) = (0, Fates::default());
        loop {
            let (page, fates);
            (selection, page, fates) = self
                .read(move |inner| {
                    let page = selection.page(&*inner.reader, DRY_PAGE)?;
                    let fates = inner.reader.fates(selection.id, &page.seqs)?;
                    Ok((selection, page, fates))
                })
                .await?;
            for fate in fates {
                counted.count(fate);
            }
            looked += page.looked;
            if page.is_last {
                return Ok(job::counts(looked, counted));
            }
        }
    }

    /// Begins a replay; it goes on by itself, also over restarts.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] when the subscription is wired no more, or has a
    /// replay that has not ended.
    pub async fn replay(
        &self,
        subscription: &str,
        request: ReplayRequest,
        operator: Operator,
    ) -> Result<ReplayView, QueryError> {
        let _turn = self.0.replays.turn().await;
        let name = subscription.to_owned();
        let (mut job, id, surplus) = self.read(move |inner| inner.begin_job(&name, &request)).await?;
        job.by = operator.by.chars().take(REASON_MAX).collect();
        job.reason = operator.reason.chars().take(REASON_MAX).collect();
        let about = json!({
            "subscription": job.subscription, "replay": job.id(), "generation": job.generation,
            "from": job.next.0, "to": job.end.0, "since": job.since, "until": job.until,
            "name": job.name, "key": job.key,
        });
        let fact = operator.fact("tidegate.subscription.replayed", subscription, about);
        let facts = fact.and_then(|fact| self.0.routing.fact(fact, job.started)).into_iter().collect();
        let begin = Change::Replay(Replay { subscription: id, seqs: Vec::new(), generation: job.generation });
        let mut changes = vec![Change::With { change: Box::new(begin), facts }, job.keep()];
        changes.extend(surplus.into_iter().map(|name| Change::Keep { shelf: Shelf::Job, name, value: None }));
        let answer = self.0.submitter.commit(changes).await.ok_or_else(stopped)??;
        if !matches!(answer.first(), Some(Receipt::Replayed { .. })) {
            return Err(QueryError::Refused { why: "another replay has begun meanwhile".to_owned() });
        }
        self.0.replays.ring();
        Ok(job.view(None))
    }

    /// All replays that are remembered, the newest of each subscription first.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn replays(&self) -> Result<Vec<ReplayView>, QueryError> {
        self.read(|inner| {
            let mut jobs = job::all(&*inner.reader)?;
            jobs.sort_by(|a, b| (&a.subscription, b.generation).cmp(&(&b.subscription, a.generation)));
            Ok(jobs.iter().map(|job| inner.replay_view(job)).collect())
        })
        .await
    }

    /// One replay.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn replay_of(&self, id: &str) -> Result<ReplayView, QueryError> {
        let id = id.to_owned();
        self.read(move |inner| inner.job(&id).map(|job| inner.replay_view(&job))).await
    }

    /// Ends a replay before its end; what it has queued stays queued.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] when it has ended already.
    pub async fn stop_replay(&self, id: &str, operator: Operator) -> Result<ReplayView, QueryError> {
        let turn = self.0.replays.turn().await;
        let named = id.to_owned();
        let (mut job, fates) =
            self.read(move |inner| inner.job(&named).map(|job| (job.clone(), inner.fates_of(&job)))).await?;
        if job.state != State::Running {
            return Err(QueryError::Refused { why: format!("replay {id} has ended already") });
        }
        job.end_as(State::Stopped, self.0.clock.now(), fates);
        let about = json!({ "job": id, "subscription": job.subscription, "state": job.state });
        let fact = operator.fact("tidegate.job.finished", &job.subscription, about);
        self.act_and_tell(job.keep(), fact, |_| ()).await?;
        drop(turn);
        self.replay_of(id).await
    }
}

impl Inner {
    /// A subscription that can get events.
    fn replayable(&self, name: &str) -> Result<SubscriptionRecord, QueryError> {
        let record = self.named(name)?;
        if record.orphaned || self.ports.get(&record.id).is_none() {
            let why = format!("subscription {name:?} is wired no more; wire it again first");
            return Err(QueryError::Refused { why });
        }
        Ok(record)
    }

    fn selection(&self, job: &Job, record: &SubscriptionRecord) -> Selection {
        Selection::new(job, record, self.routing.filter(record.id))
    }

    /// The next replay of a subscription.
    fn new_job(&self, record: &SubscriptionRecord, request: &ReplayRequest) -> Job {
        Job::new(record, request, Seq(self.reader.stats().events), self.clock.now())
    }

    /// The next replay, and the names of records that need not be remembered any more.
    fn begin_job(
        &self,
        name: &str,
        request: &ReplayRequest,
    ) -> Result<(Job, SubscriptionId, Vec<String>), QueryError> {
        let record = self.replayable(name)?;
        if request.key.as_ref().is_some_and(|key| key.len() > KEY_MAX) {
            return Err(QueryError::Refused { why: format!("the key is over {KEY_MAX} bytes") });
        }
        let jobs = job::all(&*self.reader)?;
        if let Some(job) = jobs.iter().find(|job| job.subscription == name && job.state == State::Running) {
            let why = format!("replay {} has not ended; wait for it, or stop it", job.id());
            return Err(QueryError::Refused { why });
        }
        Ok((self.new_job(&record, request), record.id, job::surplus(jobs)))
    }

    /// What the subscription counts for this replay, if it is its last one.
    fn fates_of(&self, job: &Job) -> Option<Fates> {
        let record = self.named(&job.subscription).ok()?;
        (record.generation == job.generation).then_some(record.replayed)
    }

    fn replay_view(&self, job: &Job) -> ReplayView {
        job.view(self.fates_of(job))
    }

    fn job(&self, id: &str) -> Result<Job, QueryError> {
        let found = job::all(&*self.reader)?.into_iter().find(|job| job.id() == id);
        found.ok_or_else(|| QueryError::NotFound { what: format!("replay {id:?}") })
    }
}
