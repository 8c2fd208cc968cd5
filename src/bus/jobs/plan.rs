//! The plan: what the next commit of a job holds.

use std::collections::VecDeque;

use super::pace::Paced;
use super::{Job, JobAct, JobItem, JobState, ask, items};
use crate::bus::handle::Inner;
use crate::bus::mend::{self, RepairRequest, When};
use crate::bus::render::dead_letter_id;
use crate::bus::{Operator, QueryError};
use crate::delivery::{Mended, Ports};
use crate::event::Timestamp;
use crate::store::{Change, DeadLetter, Ordinal, Repair, Seq, SubscriptionId};

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
        finished: Option<Box<Job>>,
    },
}

/// Whom to tell of a repair that has applied, and what.
pub(super) struct Tell {
    ports: Ports,
    subscription: SubscriptionId,
    ordinal: Ordinal,
    key: String,
    mended: Mended,
}

impl Tell {
    pub(super) fn told(self) {
        if let Some(port) = self.ports.get(&self.subscription) {
            port.repaired(self.ordinal, self.key, self.mended);
        }
    }
}

impl Inner {
    /// Plans the next commit of a job.
    pub(super) fn plan_job(&self, id: &str, active: &mut Active) -> Result<Plan, QueryError> {
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
        let (subscription, group) = self.scope(&job.filter)?;
        while active.page.is_empty() && !active.is_last {
            let after = active.seen.max(job.cursor);
            let page = self.letters(subscription, group, after)?;
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
            let id = dead_letter_id(&self.name_of(letter.subscription), letter.seq);
            let mut item = JobItem {
                n: job.taken,
                dead_letter: id,
                event: letter.event.id.clone(),
                flow: letter.event.flow.clone(),
                done: true,
                problem: None,
            };
            match self.repair_for(&job, &item) {
                Ok((change, tell)) => {
                    job.open.push((job.taken, letter.subscription, letter.seq));
                    changes.push(change);
                    tells.push(tell);
                }
                Err(QueryError::Store(error)) => return Err(error.into()),
                Err(why) => {
                    (item.done, item.problem) = (false, Some(why.to_string()));
                    job.refused = job.refused.saturating_add(1);
                    rest.push(items::keep(&job.id, &item));
                }
            }
            if let Some(old) = job.taken.checked_sub(items::ITEMS_KEPT).filter(|old| *old > 0) {
                rest.push(items::forget(items::name(&job.id, old)));
            }
        }
        changes.append(&mut rest);
        changes.push(job.keep());
        Ok(Plan::Commit { changes, tells, finished: None })
    }

    /// The repair of one letter, with its facts; its item is kept if and only if it applies.
    fn repair_for(&self, job: &Job, item: &JobItem) -> Result<(Change, Tell), QueryError> {
        let operator = job.operator();
        let request = match job.act {
            JobAct::Retry => {
                RepairRequest::Retry { when: job.at.map_or(When::Now, When::At), force: job.force }
            }
            JobAct::Skip => RepairRequest::Skip,
        };
        let plan = self.plan(&item.dead_letter, request, &operator)?;
        if !job.cutoff.takes(&plan.letter) {
            let why = "somebody else has acted on it meanwhile, and it has failed again".to_owned();
            return Err(QueryError::Refused { why });
        }
        let resumed = self.resumed_by(&plan, &item.dead_letter, &operator)?;
        let mend::Plan { letter, act, mended, fact, .. } = plan;
        let facts = fact.into_iter().chain(resumed).map(|fact| fact.with("job", &job.id));
        let Operator { by, reason } = operator;
        let repair = Repair { subscription: letter.subscription, seq: letter.seq, act, reason, by };
        let change = Change::With { change: Box::new(Change::Repair(repair)), facts: self.routed(facts) };
        let change = Change::Along { change: Box::new(change), along: vec![items::keep(&job.id, item)] };
        let (ports, subscription) = (self.ports.clone(), letter.subscription);
        Ok((change, Tell { ports, subscription, ordinal: letter.ordinal, key: letter.key, mended }))
    }

    fn finish(&self, mut job: Job, refused: &[JobItem]) -> Plan {
        job.state = JobState::Finished;
        job.finished = Some(self.clock.now());
        let fact = job.fact("tidegate.job.finished", "", &job.operator(), Some(JobState::Running));
        let facts = self.routed(fact);
        let mut changes: Vec<Change> = refused.iter().map(|item| items::keep(&job.id, item)).collect();
        changes.push(Change::With { change: Box::new(job.keep()), facts });
        Plan::Commit { changes, tells: Vec::new(), finished: Some(Box::new(job)) }
    }
}
