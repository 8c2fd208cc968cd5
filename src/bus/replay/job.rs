//! The record of a replay, and which events it selects.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ReplayFrom, ReplayRequest};
use crate::bus::render::timestamp;
use crate::bus::view::{ReplayCounts, ReplayView};
use crate::event::{Filter, PatternSet, Timestamp};
use crate::store::{
    Change, EventRecord, Fates, Reader, Seq, Shelf, StoreError, SubscriptionId, SubscriptionRecord,
};

/// What the records' names begin with.
pub(super) const PREFIX: &str = "replay-";
/// Replays that are remembered after their end.
const KEPT_MAX: usize = 100;
/// The most records there can be: those that have ended, and one of each subscription that has not.
const RECORDS_MAX: usize = 100_000;
/// Event rows read at once.
const ROWS: usize = 256;
/// Event rows looked at for one page.
const LOOKED_MAX: u64 = 4_096;

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Running,
    Done,
    Stopped,
    Failed,
}

/// The record, as JSON on the shelf of jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) subscription: String,
    pub(super) generation: u32,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) name: Option<String>,
    pub(super) key: Option<String>,
    /// The next event to be looked at.
    pub(super) next: Seq,
    /// The last one.
    pub(super) end: Seq,
    pub(super) looked: u64,
    pub(super) state: State,
    pub(super) problem: Option<String>,
    pub(super) started: Timestamp,
    pub(super) ended: Option<Timestamp>,
    pub(super) by: String,
    pub(super) reason: String,
    /// What it came to, when it has ended; until then the subscription counts.
    pub(super) fates: Fates,
}

impl Job {
    pub(super) fn new(
        record: &SubscriptionRecord,
        request: &ReplayRequest,
        end: Seq,
        now: Timestamp,
    ) -> Self {
        let (since, next) = match request.from {
            ReplayFrom::Start => (None, Seq(1)),
            ReplayFrom::Number(number) => (None, Seq(number.max(1))),
            ReplayFrom::Time(time) => (Some(time), Seq(1)),
        };
        Self {
            subscription: record.name.clone(),
            generation: record.generation.saturating_add(1),
            since,
            until: request.until,
            name: request.name.as_ref().map(|name| name.as_str().to_owned()),
            key: request.key.clone(),
            next,
            end,
            looked: 0,
            state: State::Running,
            problem: None,
            started: now,
            ended: None,
            by: String::new(),
            reason: String::new(),
            fates: Fates::default(),
        }
    }

    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.subscription, self.generation)
    }

    pub(super) fn record_name(&self) -> String {
        format!("{PREFIX}{}", self.id())
    }

    /// The change that writes the record.
    pub(super) fn keep(&self) -> Change {
        // Texts and numbers: it can always be written.
        let value = serde_json::to_vec(self).unwrap_or_default();
        Change::Keep { shelf: Shelf::Job, name: self.record_name(), value: Some(Bytes::from(value)) }
    }

    pub(super) fn end_as(&mut self, state: State, now: Timestamp, fates: Option<Fates>) {
        self.state = state;
        self.ended = Some(now);
        self.fates = fates.unwrap_or_default();
    }

    /// As people read it. `fates` are those that the subscription counts, while it runs.
    pub(super) fn view(&self, fates: Option<Fates>) -> ReplayView {
        let fates = fates.filter(|_| self.state == State::Running).unwrap_or(self.fates);
        let state = match self.state {
            State::Running => "running",
            State::Done => "done",
            State::Stopped => "stopped",
            State::Failed => "failed",
        };
        ReplayView {
            id: self.id(),
            subscription: self.subscription.clone(),
            generation: self.generation,
            state: state.to_owned(),
            problem: self.problem.clone(),
            since: self.since.map(timestamp),
            until: self.until.map(timestamp),
            name: self.name.clone(),
            key: self.key.clone(),
            next: self.next.0,
            end: self.end.0,
            counts: counts(self.looked, fates),
            started: timestamp(self.started),
            ended: self.ended.map(timestamp),
            by: self.by.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Counts as people read them.
pub(super) fn counts(looked: u64, fates: Fates) -> ReplayCounts {
    let Fates { new, again, open, dead, gone } = fates;
    ReplayCounts { looked, new, again, open, dead, gone }
}

/// Every record.
pub(super) fn all(reader: &dyn Reader) -> Result<Vec<Job>, StoreError> {
    let records = reader.kept(Shelf::Job, PREFIX, None, RECORDS_MAX)?;
    // One that cannot be read is of a newer version; it is left alone.
    Ok(records.iter().filter_map(|(_, value)| serde_json::from_slice(value).ok()).collect())
}

/// The names of the records that go, so that no more are kept than there may be.
pub(super) fn surplus(jobs: Vec<Job>) -> Vec<String> {
    let mut ended: Vec<Job> = jobs.into_iter().filter(|job| job.ended.is_some()).collect();
    ended.sort_by_key(|job| job.ended);
    let surplus = (ended.len() + 1).saturating_sub(KEPT_MAX);
    ended.iter().take(surplus).map(Job::record_name).collect()
}

/// Which events a replay takes, and how far it has looked.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) id: SubscriptionId,
    on: PatternSet,
    filter: Option<Filter>,
    name: Option<PatternSet>,
    key: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    pub(super) next: Seq,
    end: Seq,
}

/// Some events of a replay.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) seqs: Vec<Seq>,
    pub(super) looked: u64,
    pub(super) is_last: bool,
}

impl Selection {
    pub(super) fn new(job: &Job, record: &SubscriptionRecord, filter: Option<Filter>) -> Self {
        Self {
            id: record.id,
            // Patterns are checked where they are read; one that is malformed belongs to no event.
            on: PatternSet::parse(&record.on).unwrap_or_default(),
            filter,
            name: job.name.as_ref().map(|name| PatternSet::parse(&[name]).unwrap_or_default()),
            key: job.key.clone(),
            since: job.since,
            until: job.until,
            next: job.next,
            end: job.end,
        }
    }

    /// The next events, at most `limit`, after a bounded look.
    pub(super) fn page(&mut self, reader: &dyn Reader, limit: usize) -> Result<Page, StoreError> {
        let mut page = Page { seqs: Vec::new(), looked: 0, is_last: false };
        while page.looked < LOOKED_MAX {
            let rows = reader.events_from(self.next, ROWS)?;
            if rows.is_empty() {
                page.is_last = true;
                return Ok(page);
            }
            for event in rows {
                if event.seq > self.end {
                    page.is_last = true;
                    return Ok(page);
                }
                if page.seqs.len() == limit {
                    return Ok(page);
                }
                self.next = Seq(event.seq.0.saturating_add(1));
                page.looked += 1;
                if self.takes(reader, &event)? {
                    page.seqs.push(event.seq);
                }
            }
        }
        Ok(page)
    }

    fn takes(&self, reader: &dyn Reader, event: &EventRecord) -> Result<bool, StoreError> {
        let is_named = self.on.matches(&event.name)
            && self.name.as_ref().is_none_or(|name| name.matches(&event.name))
            && self.key.as_ref().is_none_or(|key| *key == event.key);
        let is_in_time = self.since.is_none_or(|since| event.acknowledged >= since)
            && self.until.is_none_or(|until| event.acknowledged <= until);
        let Some(filter) = self.filter.as_ref().filter(|_| is_named && is_in_time) else {
            return Ok(is_named && is_in_time);
        };
        // Attributes stand in the payload. What has lost it is told as gone.
        Ok(reader.envelope(event.seq)?.is_none_or(|event| filter.takes(&event)))
    }
}
