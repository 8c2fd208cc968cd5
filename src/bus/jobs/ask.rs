//! Asking for jobs, looking at them, stopping and resuming them.

use std::collections::HashMap;

use bytes::Bytes;
use uuid::Uuid;

use super::told::{AlikeView, JobView, Rehearsal};
use super::{Cutoff, Job, JobAsk, JobFilter, JobItem, JobState, Kind, RUNNING_MAX, items};
use crate::bus::handle::{Bus, Inner};
use crate::bus::mend::When;
use crate::bus::query::applied;
use crate::bus::render::dead_letter_view;
use crate::bus::view::{DeadLetterView, Page};
use crate::bus::{Operator, QueryError};
use crate::event::Fact;
use crate::store::{Change, DeadLetter, GroupId, Reader, Seq, Shelf, StoreError, SubscriptionId};

/// Records read from the store at once.
const PAGE: usize = 512;
/// Letters that a rehearsal shows.
const SHOWN: usize = 20;
/// What a record may grow by while the job runs: its cursor, its counts, the letters of a commit.
const GROWTH: usize = 8 * 1024;
/// Why a job is refused that could not be kept.
const TOO_LONG: &str = "its filter and reason are too long to be kept";
/// Groups that a rehearsal shows.
const GROUPS_SHOWN: usize = 50;

impl Bus {
    /// Says what a job would do, and does nothing.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] for an unknown subscription.
    pub async fn rehearse(&self, filter: JobFilter) -> Result<Rehearsal, QueryError> {
        self.read(move |inner| {
            let cutoff = inner.cutoff();
            let mut shown: Vec<DeadLetterView> = Vec::new();
            let mut groups: HashMap<GroupId, AlikeView> = HashMap::new();
            let matched = inner.each_match(&filter, cutoff, |letter| {
                let group = groups.entry(letter.group).or_insert_with(|| inner.alike(&letter));
                group.count += 1;
                if shown.len() < SHOWN {
                    shown.push(dead_letter_view(inner, letter));
                }
            })?;
            let mut groups: Vec<AlikeView> = groups.into_values().collect();
            groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.group.cmp(&b.group)));
            groups.truncate(GROUPS_SHOWN);
            Ok(Rehearsal { dry_run: true, matched, groups, items: shown })
        })
        .await
    }

    /// Starts a job. It takes the letters that are dead now, and goes on after a restart.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] for an unknown subscription; [`QueryError::Refused`] when too many jobs run.
    pub async fn start_job(&self, ask: JobAsk, operator: Operator) -> Result<JobView, QueryError> {
        let _writing = self.0.jobs.lock.lock().await;
        let job = self
            .read(move |inner| {
                let running = all(&*inner.reader)?.iter().filter(|job| job.finished.is_none()).count();
                if running >= RUNNING_MAX {
                    let why = format!("{RUNNING_MAX} jobs are not finished yet; wait for one of them");
                    return Err(QueryError::Refused { why });
                }
                let cutoff = inner.cutoff();
                let at = match ask.when {
                    When::Now => None,
                    When::At(at) => Some(at),
                    When::After(wait) => Some(cutoff.at.plus(wait)),
                };
                let matched = inner.each_match(&ask.filter, cutoff, |_| ())?;
                Ok(Job {
                    kind: Kind::DeadLetters,
                    id: Uuid::now_v7().to_string(),
                    act: ask.act,
                    at,
                    force: ask.force,
                    filter: ask.filter,
                    cutoff,
                    pace: ask.pace,
                    reason: operator.reason,
                    by: operator.by,
                    state: JobState::Running,
                    cursor: None,
                    matched,
                    taken: 0,
                    refused: 0,
                    open: Vec::new(),
                    started: cutoff.at,
                    finished: None,
                })
            })
            .await?;
        if !job.fits() {
            return Err(QueryError::Refused { why: TOO_LONG.to_owned() });
        }
        let fact = job.fact("tidegate.job.started", "", &job.operator(), None);
        self.write(&job, fact).await?;
        self.read(move |inner| Ok(job.view(&*inner.reader)?)).await
    }

    /// A page of jobs, the newest first.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn jobs(
        &self,
        state: Option<JobState>,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<JobView>, QueryError> {
        self.read(move |inner| {
            let mut jobs = all(&*inner.reader)?;
            jobs.reverse();
            jobs.retain(|job| {
                state.is_none_or(|state| job.state == state)
                    && cursor.as_ref().is_none_or(|cursor| job.id < *cursor)
            });
            let has_more = jobs.len() > limit;
            jobs.truncate(limit);
            let next = jobs.last().filter(|_| has_more).map(|job| job.id.clone());
            let items = jobs.into_iter().map(|job| job.view(&*inner.reader)).collect::<Result<_, _>>()?;
            Ok(Page { items, next })
        })
        .await
    }

    /// One job.
    ///
    /// # Errors
    /// [`QueryError::NotFound`], also when it was finished long ago.
    pub async fn job(&self, id: &str) -> Result<JobView, QueryError> {
        let id = id.to_owned();
        self.read(move |inner| Ok(one(&*inner.reader, &id)?.view(&*inner.reader)?)).await
    }

    /// A page of what came of the letters of a job, in its order; of a long job the last ones.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::BadCursor`].
    pub async fn job_items(
        &self,
        id: &str,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<JobItem>, QueryError> {
        let id = id.to_owned();
        self.read(move |inner| {
            let reader = &*inner.reader;
            let job = one(reader, &id)?;
            let bad = |cursor: &String| QueryError::BadCursor { cursor: cursor.clone() };
            let after = cursor.map(|cursor| cursor.parse::<u64>().map_err(|_| bad(&cursor))).transpose()?;
            let from = after.map(|n| items::name(&id, n));
            let prefix = items::prefix(&id);
            let rows = reader.kept(Shelf::JobItem, &prefix, from.as_deref(), limit.saturating_add(1))?;
            let mut found: Vec<JobItem> =
                rows.iter().filter_map(|(_, value)| serde_json::from_slice(value).ok()).collect();
            // A letter of the last commit without an item was refused; that is written with the next one.
            let refused = job.refused_items(inner)?.into_iter();
            found.extend(refused.filter(|item| after.is_none_or(|after| item.n > after)));
            found.sort_by_key(|item| item.n);
            let has_more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| has_more).map(|item| item.n.to_string());
            Ok(Page { items: found, next })
        })
        .await
    }

    /// Stops a job: what it has done stays, the rest waits until it is resumed.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] when it is finished.
    pub async fn stop_job(&self, id: &str, operator: Operator) -> Result<JobView, QueryError> {
        self.switch_job(id, JobState::Stopped, "tidegate.job.stopped", operator).await
    }

    /// Lets a stopped job go on where it was.
    ///
    /// # Errors
    /// As [`Bus::stop_job`].
    pub async fn resume_job(&self, id: &str, operator: Operator) -> Result<JobView, QueryError> {
        self.switch_job(id, JobState::Running, "tidegate.job.resumed", operator).await
    }

    async fn switch_job(
        &self,
        id: &str,
        to: JobState,
        name: &'static str,
        operator: Operator,
    ) -> Result<JobView, QueryError> {
        let _writing = self.0.jobs.lock.lock().await;
        let named = id.to_owned();
        let mut job = self.read(move |inner| one(&*inner.reader, &named)).await?;
        if job.state == JobState::Finished {
            return Err(QueryError::Refused { why: format!("job {id} is finished") });
        }
        if job.state != to {
            let before = std::mem::replace(&mut job.state, to);
            let fact = job.fact(name, &Uuid::now_v7().to_string(), &operator, Some(before));
            self.write(&job, fact).await?;
        }
        self.read(move |inner| Ok(job.view(&*inner.reader)?)).await
    }

    /// Writes a job's record with the fact that tells of it, and wakes the runner.
    async fn write(&self, job: &Job, fact: Option<Fact>) -> Result<(), QueryError> {
        let bell = self.0.jobs.bell.clone();
        let receipt = self.act_and_tell(job.keep(), fact, move |_| bell.ring()).await?;
        if applied(&receipt) {
            return Ok(());
        }
        Err(QueryError::Refused { why: TOO_LONG.to_owned() })
    }
}

impl Job {
    /// Whether the record can be kept to the job's end.
    fn fits(&self) -> bool {
        serde_json::to_vec(self).is_ok_and(|value| value.len() + GROWTH <= Shelf::VALUE_MAX)
    }

    /// The change that keeps the record.
    pub(super) fn keep(&self) -> Change {
        // A record of texts and numbers is always JSON; nothing is ever kept as nothing.
        let value = serde_json::to_vec(self).unwrap_or_default();
        Change::Keep { shelf: Shelf::Job, name: self.id.clone(), value: Some(Bytes::from(value)) }
    }

    /// The items of the letters that the last commit turned out not to have repaired.
    pub(super) fn refused_items(&self, inner: &Inner) -> Result<Vec<JobItem>, StoreError> {
        let missed = self.missed(&*inner.reader)?;
        missed.into_iter().map(|(n, subscription, seq)| inner.refused_item(n, subscription, seq)).collect()
    }
}

impl Inner {
    fn cutoff(&self) -> Cutoff {
        Cutoff { commit: self.reader.staged(), at: self.clock.now() }
    }

    fn refused_item(&self, n: u64, subscription: SubscriptionId, seq: Seq) -> Result<JobItem, StoreError> {
        let event = self.reader.event(seq)?;
        Ok(JobItem {
            n,
            dead_letter: crate::bus::render::dead_letter_id(&self.name_of(subscription), seq),
            event: event.as_ref().map(|event| event.id.clone()).unwrap_or_default(),
            flow: event.map(|event| event.flow.clone()).unwrap_or_default(),
            done: false,
            problem: Some("somebody else had acted on it meanwhile".to_owned()),
        })
    }

    fn alike(&self, letter: &DeadLetter) -> AlikeView {
        let group = self.reader.dead_group(letter.group).ok().flatten();
        AlikeView {
            group: letter.group.to_string(),
            subscription: self.name_of(letter.subscription),
            reason: letter.reason.as_str().to_owned(),
            message: group.map(|group| group.message).unwrap_or_default(),
            count: 0,
        }
    }

    /// The subscription and the group that a filter names.
    pub(super) fn scope(
        &self,
        filter: &JobFilter,
    ) -> Result<(Option<SubscriptionId>, Option<GroupId>), QueryError> {
        let bad =
            |_| QueryError::Invalid { pointer: "/group".to_owned(), why: "is no group's id".to_owned() };
        let subscription = filter.letters.subscription.as_deref();
        let subscription = subscription.map(|name| self.named(name).map(|record| record.id)).transpose()?;
        let group = filter.letters.group.as_deref().map(str::parse).transpose().map_err(bad)?;
        Ok((subscription, group))
    }

    /// Calls `look` for each letter that a job takes; answers how many they are.
    fn each_match(
        &self,
        filter: &JobFilter,
        cutoff: Cutoff,
        mut look: impl FnMut(DeadLetter),
    ) -> Result<u64, QueryError> {
        let (subscription, group) = self.scope(filter)?;
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.letters(subscription, group, after)?;
            let Some(last) = page.last() else { return Ok(count) };
            after = Some((last.subscription, last.seq));
            for letter in page {
                if cutoff.takes(&letter) && filter.takes(&letter) {
                    count += 1;
                    look(letter);
                }
            }
        }
    }
}

/// All jobs, the oldest first.
pub(super) fn all(reader: &dyn Reader) -> Result<Vec<Job>, StoreError> {
    let mut jobs = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = reader.kept(Shelf::Job, "", after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(jobs) };
        after = Some(last.clone());
        jobs.extend(page.iter().filter_map(|(_, value)| Job::decode(value)));
    }
}

/// One job.
pub(super) fn one(reader: &dyn Reader, id: &str) -> Result<Job, QueryError> {
    let value = reader.kept_one(Shelf::Job, id)?;
    let job = value.and_then(|value| Job::decode(&value));
    job.ok_or_else(|| QueryError::NotFound { what: format!("job {id:?}") })
}
