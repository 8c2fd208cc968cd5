//! The runner: the one task that works on jobs.
//!
//! It holds nothing that is not in the store but a page of letters and a place in the pace for each job: what
//! it forgets at a restart it reads again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::plan::{Active, Plan};
use super::{FINISHED_KEPT, Job, JobState, ask, items};
use crate::bus::QueryError;
use crate::bus::handle::Inner;
use crate::bus::query::applied;
use crate::event::Timestamp;
use crate::store::{Change, Shelf, StoreError};

/// Items of an old job forgotten with one commit.
const FORGET: usize = 512;
/// How long the task sleeps at most, whatever it thinks is due: sleepers stand while the machine is suspended, the clock
/// does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long it waits after the store could not be read.
const AFTER_TROUBLE_MS: u64 = 1_000;

/// The task.
#[derive(Debug)]
pub(in crate::bus) struct Runner {
    inner: Arc<Inner>,
    active: HashMap<String, Active>,
}

/// When there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Now,
    At(Timestamp),
    Rung,
}

impl Next {
    fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Now, _) | (_, Self::Now) => Self::Now,
            (Self::At(a), Self::At(b)) => Self::At(a.min(b)),
            (Self::At(at), Self::Rung) | (Self::Rung, Self::At(at)) => Self::At(at),
            (Self::Rung, Self::Rung) => Self::Rung,
        }
    }
}

impl Runner {
    pub(in crate::bus) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, active: HashMap::new() }
    }

    /// Runs until the bus ends.
    pub(in crate::bus) async fn run(mut self) {
        let bell = self.inner.jobs.bell.clone();
        loop {
            let busy = bell.take();
            let next = loop {
                match self.pass().await {
                    Ok(Next::Now) => {}
                    Ok(next) => break next,
                    Err(error) => {
                        warn!(%error, "cannot go on with the jobs; trying again");
                        break Next::At(self.inner.clock.now().plus_millis(AFTER_TROUBLE_MS));
                    }
                }
            };
            let due = if let Next::At(at) = next { Some(at) } else { None };
            bell.set_next(due);
            drop(busy);
            self.sleep_until(due).await;
        }
    }

    async fn sleep_until(&self, due: Option<Timestamp>) {
        let rung = self.inner.jobs.bell.rung();
        if self.inner.clock.is_manual() {
            return rung.await;
        }
        let now = self.inner.clock.now();
        let wait = due.map_or(LONGEST_SLEEP, |due| Duration::from_millis(due.millis_since(now)));
        // Both ends mean the same: look again.
        drop(tokio::time::timeout(wait.min(LONGEST_SLEEP), rung).await);
    }

    /// Gives each job that runs a turn.
    async fn pass(&mut self) -> Result<Next, QueryError> {
        // What a drain leaves goes on after the restart.
        if self.inner.health.is_ending() {
            return Ok(Next::Rung);
        }
        let jobs = self.blocking(|inner| Ok(ask::all(&*inner.reader)?)).await?;
        let is_running = |id: &String| jobs.iter().any(|job| job.id == *id && job.state == JobState::Running);
        self.active.retain(|id, _| is_running(id));
        let mut next = Next::Rung;
        for job in jobs.iter().filter(|job| job.state == JobState::Running) {
            let turned = match self.turn(&job.id).await {
                Err(QueryError::Store(error)) => return Err(QueryError::Store(error)),
                // One that cannot go on holds up no other.
                Err(error) => {
                    warn!(job = job.id, %error, "the job cannot go on; trying again");
                    Next::At(self.inner.clock.now().plus_millis(AFTER_TROUBLE_MS))
                }
                Ok(next) => next,
            };
            next = next.sooner(turned);
        }
        let finished: Vec<&Job> = jobs.iter().filter(|job| job.state == JobState::Finished).collect();
        if finished.len() > FINISHED_KEPT
            && let Some(oldest) = finished.first()
        {
            next = next.sooner(self.prune(oldest.id.clone()).await?);
        }
        Ok(next)
    }

    /// Takes some letters of one job.
    async fn turn(&mut self, id: &str) -> Result<Next, QueryError> {
        let inner = Arc::clone(&self.inner);
        let _writing = inner.jobs.lock.lock().await;
        let (named, mut active) = (id.to_owned(), self.active.remove(id).unwrap_or_default());
        let (active, plan) = self
            .blocking(move |inner| {
                let plan = inner.plan_job(&named, &mut active)?;
                Ok((active, plan))
            })
            .await?;
        self.active.insert(id.to_owned(), active);
        let (changes, tells, finished) = match plan {
            Plan::Nothing => return Ok(Next::Rung),
            Plan::Wait(at) => return Ok(Next::At(at)),
            Plan::Commit { changes, tells, finished } => (changes, tells, finished),
        };
        // In the order of the commits, before anybody else can act on what was repaired.
        let committed = inner.submitter.commit_then(changes, move |answer| {
            for (receipt, tell) in answer.iter().flatten().zip(tells) {
                if applied(receipt) {
                    tell.told();
                }
            }
        });
        committed.await.ok_or_else(ended)??;
        if let Some(job) = finished {
            info!(job = job.id, taken = job.taken, refused = job.refused, "job finished");
        }
        Ok(Next::Now)
    }

    /// Forgets some items of a job that was finished long ago; with the last ones, the job.
    async fn prune(&self, id: String) -> Result<Next, QueryError> {
        let named = id.clone();
        let rows = self
            .blocking(move |inner| {
                Ok(inner.reader.kept(Shelf::JobItem, &items::prefix(&named), None, FORGET)?)
            })
            .await?;
        let is_last = rows.len() < FORGET;
        let mut changes: Vec<Change> = rows.into_iter().map(|(name, _)| items::forget(name)).collect();
        if is_last {
            changes.push(Change::Keep { shelf: Shelf::Job, name: id, value: None });
        }
        self.inner.submitter.commit(changes).await.ok_or_else(ended)??;
        Ok(Next::Now)
    }

    /// Reads on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Inner) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let inner = Arc::clone(&self.inner);
        self.inner.pool.spawn_blocking(move || what(&inner)).await.map_err(|_| ended())?
    }
}

fn ended() -> StoreError {
    StoreError::Poisoned { cause: "the bus has ended".to_owned() }
}
