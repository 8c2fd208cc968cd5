//! The plan: what the next commit of a job holds.

use std::collections::VecDeque;

use super::pace::Paced;
use super::{Job, JobAct, JobItem, JobState, ask, items};
use crate::bus::QueryError;
use crate::bus::audit::{Letter, Operator};
use crate::bus::handle::Inner;
use crate::bus::render::dead_letter_id;
use crate::delivery::Port;
use crate::event::Timestamp;
use crate::store::{Change, DeadLetter, Repair, Seq, StoreError, SubscriptionId};

/// Letters read from the store at once, and held for a job that waits for its pace.
const PAGE: usize = 512;
/// Letters repaired with one commit.
const BATCH: usize = 64;

/// What is held in memory of a job that runs.
#[derive(Debug, Default)]
pub(super) struct Active {
    page: VecDeque<DeadLetter>,
    /// The letter that was looked at last, taken or not.
    seen: Option<(SubscriptionId, Seq)>,
    is_last: bool,
    paced: Option<Paced>,
}

/// What is to be done for a job.
pub(super) enum Plan {
    Nothing,
    Wait(Timestamp),
    Commit {
        /// First the repairs, one for each letter to tell of.
        changes: Vec<Change>,
        tells: Vec<Tell>,
        finished: Option<Job>,
    },
}

/// Whom to tell of a repair that has applied.
pub(super) struct Tell {
    port: Option<Port>,
    letter: DeadLetter,
    act: JobAct,
}

impl Tell {
    pub(super) fn told(self) {
        if let Some(port) = self.port {
            port.repaired(self.letter.ordinal, self.letter.key, self.act == JobAct::Retry);
        }
    }
}

impl Inner {
    /// Plans the next commit of a job.
    pub(super) fn plan(&self, id: &str, active: &mut Active) -> Result<Plan, QueryError> {
        let mut job = ask::one(&*self.reader, id)?;
        if job.state != JobState::Running {
            return Ok(Plan::Nothing);
        }
        self.fill(&job, active)?;
        let mut count = active.page.len().min(BATCH);
        if let (Some(pace), true) = (job.pace, count > 0) {
            let now = self.clock.now();
            let paced = active.paced.get_or_insert_with(|| Paced::new(pace, now));
            let allowed = paced.allowed(now);
            if allowed == 0 {
                return Ok(Plan::Wait(paced.due()));
            }
            count = count.min(usize::try_from(allowed).unwrap_or(BATCH));
            paced.took(count as u64);
        }
        let refused = job.refused_items(self)?;
        job.refused = job.refused.saturating_add(refused.len() as u64);
        job.open.clear();
        let letters: Vec<DeadLetter> = active.page.drain(..count).collect();
        if letters.is_empty() {
            return Ok(self.finish(job, &refused));
        }
        self.take(job, &refused, letters)
    }

    /// Sees to it that there are letters to take, unless there are none any more.
    fn fill(&self, job: &Job, active: &mut Active) -> Result<(), QueryError> {
        let subscription = job.filter.letters.subscription.as_deref();
        let subscription = subscription.map(|name| self.named(name).map(|record| record.id)).transpose()?;
        while active.page.is_empty() && !active.is_last {
            let after = active.seen.max(job.cursor);
            let page = self.reader.dead_letters(subscription, after, PAGE)?;
            active.seen = page.last().map(|last| (last.subscription, last.seq)).or(after);
            active.is_last = page.is_empty();
            let taken = page.into_iter().filter(|l| job.cutoff.takes(l) && job.filter.takes(l));
            active.page.extend(taken);
        }
        Ok(())
    }

    /// The repairs of some letters, each with its facts and its item, and the progress.
    fn take(&self, mut job: Job, refused: &[JobItem], letters: Vec<DeadLetter>) -> Result<Plan, QueryError> {
        let mut changes = Vec::with_capacity(letters.len() * 2 + 1);
        let mut rest: Vec<Change> = refused.iter().map(|item| items::keep(&job.id, item)).collect();
        let mut tells = Vec::with_capacity(letters.len());
        for letter in letters {
            job.taken = job.taken.saturating_add(1);
            job.cursor = Some((letter.subscription, letter.seq));
            job.open.push((letter.subscription, letter.seq));
            changes.push(self.repair_for(&job, &letter)?);
            if let Some(old) = job.taken.checked_sub(items::ITEMS_KEPT).filter(|old| *old > 0) {
                rest.push(items::forget(items::name(&job.id, old)));
            }
            let port = self.ports.get(&letter.subscription).cloned();
            tells.push(Tell { port, letter, act: job.act });
        }
        changes.append(&mut rest);
        changes.push(job.keep());
        Ok(Plan::Commit { changes, tells, finished: None })
    }

    /// The repair of one letter, with its facts; its item is kept if and only if it applies.
    fn repair_for(&self, job: &Job, letter: &DeadLetter) -> Result<Change, StoreError> {
        let subscription = self.name_of(letter.subscription);
        let operator = Operator { by: job.by.clone(), reason: job.reason.clone() };
        let told = Letter { letter, subscription: &subscription, job: Some(&job.id) };
        let facts = self.letter_facts(&told, job.act == JobAct::Retry, &operator)?;
        let repair = Repair {
            subscription: letter.subscription,
            seq: letter.seq,
            retry: job.act == JobAct::Retry,
            reason: job.reason.clone(),
        };
        let item = JobItem {
            n: job.taken,
            dead_letter: dead_letter_id(&subscription, letter.seq),
            event: letter.event.id.clone(),
            flow: letter.event.flow.clone(),
            done: true,
            problem: None,
        };
        let change = Change::With { change: Box::new(Change::Repair(repair)), facts };
        Ok(Change::Along { change: Box::new(change), along: vec![items::keep(&job.id, &item)] })
    }

    fn finish(&self, mut job: Job, refused: &[JobItem]) -> Plan {
        job.state = JobState::Finished;
        job.finished = Some(self.clock.now());
        let operator = Operator { by: job.by.clone(), reason: job.reason.clone() };
        let fact = job.fact("tidegate.job.finished", "", &operator, Some(JobState::Running));
        let facts = self.routed(fact).into_iter().collect();
        let mut changes: Vec<Change> = refused.iter().map(|item| items::keep(&job.id, item)).collect();
        changes.push(Change::With { change: Box::new(job.keep()), facts });
        Plan::Commit { changes, tells: Vec::new(), finished: Some(job) }
    }
}
