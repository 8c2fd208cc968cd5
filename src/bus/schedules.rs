//! Schedules: events that the bus publishes itself, at the times of a cron expression.
//!
//! Each firing is stored together with the note up to which time its schedule is done, so that it happens once
//! whatever the process dies of. A time that nobody was there for is missed: it is told by a fact, and fired
//! later or not as the schedule says.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Handle;
use tracing::{error, info};

use super::QueryError;
use super::handle::Bus;
use super::timers::Deadlines;
use super::view::ScheduleView;
use crate::clock::Clock;
use crate::committer::Submitter;
use crate::cron::TimeTable;
use crate::delivery::Routing;
use crate::event::{Envelope, EventName, Fact, Label, Timestamp, flow_of};
use crate::metrics::Metrics;
use crate::step::Registry;
use crate::store::{Change, Reader, Receipt, Routed, Shelf, StoreError};

/// A firing that comes up to this much after its time is on time.
const LATE_MAX_MS: u64 = 60_000;
/// Missed times are counted up to this.
const COUNT_MAX: u64 = 1_000;
/// Most schedules whose notes are read.
const SCHEDULES_MAX: usize = 100_000;

/// An event that is published at the times of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The event's name.
    pub event: EventName,
    /// When it is due.
    pub table: TimeTable,
    /// What becomes of times that nobody was there for.
    pub missed: Missed,
    /// The payload, JSON; `None` is `{"schedule": name, "due": time}`.
    pub data: Option<Bytes>,
    /// The event's key; `None` and the registered type's `key()` applies.
    pub key: Option<String>,
}

/// What becomes of times that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// The latest of them is fired when somebody is there again.
    Once,
    /// None is.
    Skip,
}

/// The schedules in force. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Schedules(Arc<RwLock<(u64, Vec<Schedule>)>>);

impl Schedules {
    pub(super) fn new(all: Vec<Schedule>) -> Self {
        Self(Arc::new(RwLock::new((1, all))))
    }

    /// Puts others in their place.
    pub(super) fn set(&self, all: Vec<Schedule>) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *state = (state.0 + 1, all);
    }

    fn get(&self) -> (u64, Vec<Schedule>) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the store keeps of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    cron: String,
    zone: String,
    /// Every time up to this one is done.
    until: Timestamp,
    /// The time that was fired last.
    fired: Option<Timestamp>,
}

impl Note {
    fn of(&self, table: &TimeTable) -> bool {
        self.cron == table.cron().to_string() && self.zone == table.zone().name()
    }

    fn keep(&self, name: &str) -> Change {
        // Texts and numbers: writing them to a vector cannot fail.
        let value = Bytes::from(serde_json::to_vec(self).unwrap_or_default());
        Change::Keep { shelf: Shelf::Schedule, name: name.to_owned(), value: Some(value) }
    }

    fn next(&self, table: &TimeTable, now: Timestamp) -> Option<Timestamp> {
        // A clock that was set back does not bring a time back.
        table.after(self.until.max(now))
    }
}

/// A schedule at work.
#[derive(Debug)]
struct Entry {
    schedule: Schedule,
    note: Note,
    next: Option<Timestamp>,
}

/// What is due of one schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    latest: Timestamp,
    missed: u64,
    fires: bool,
}

/// Fires schedules; a part of the task of [`super::timers`].
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) schedules: Schedules,
    pub(super) reader: Arc<dyn Reader>,
    pub(super) submitter: Submitter,
    pub(super) clock: Clock,
    pub(super) pool: Handle,
    pub(super) routing: Routing,
    pub(super) registry: Arc<Registry>,
    pub(super) deadlines: Deadlines,
    pub(super) metrics: Arc<Metrics>,
    at_work: Vec<Entry>,
    generation: u64,
}

impl Runner {
    pub(super) fn new(inner: &super::handle::Inner) -> Self {
        Self {
            schedules: inner.schedules.clone(),
            reader: Arc::clone(&inner.reader),
            submitter: inner.submitter.clone(),
            clock: inner.clock.clone(),
            pool: inner.pool.clone(),
            routing: inner.routing.clone(),
            registry: Arc::clone(&inner.registry),
            deadlines: inner.deadlines.clone(),
            metrics: Arc::clone(&inner.metrics),
            at_work: Vec::new(),
            generation: 0,
        }
    }

    /// Fires what is due, at most once for each schedule, and tells when the next one is.
    pub(super) async fn fire_due(&mut self) -> Result<Option<Timestamp>, StoreError> {
        if !self.take_over().await? {
            return Ok(None);
        }
        let now = self.clock.now();
        let mut entries = std::mem::take(&mut self.at_work);
        for entry in &mut entries {
            if entry.next.is_some_and(|next| next <= now) && !self.fire(entry, now).await {
                // The bus has ended; what is due is fired at the next start.
                return Ok(None);
            }
        }
        self.at_work = entries;
        Ok(self.at_work.iter().filter_map(|entry| entry.next).min())
    }

    /// Takes notice of other schedules than before. `false` when the bus has ended.
    async fn take_over(&mut self) -> Result<bool, StoreError> {
        let (generation, schedules) = self.schedules.get();
        if generation == self.generation {
            return Ok(true);
        }
        let reader = Arc::clone(&self.reader);
        let kept = self.pool.spawn_blocking(move || notes(&*reader)).await;
        let Ok(kept) = kept else { return Ok(false) };
        let kept = kept?;
        let now = self.clock.now();
        let mut changes = Vec::new();
        for (name, _) in kept.iter().filter(|(name, _)| schedules.iter().all(|own| own.name != *name)) {
            info!(schedule = name, "the config names this schedule no more");
            changes.push(Change::Keep { shelf: Shelf::Schedule, name: name.clone(), value: None });
        }
        let mut entries = Vec::with_capacity(schedules.len());
        for schedule in schedules {
            let known =
                kept.iter().find(|(name, _)| *name == schedule.name).and_then(|(_, note)| note.clone());
            let fired = known.as_ref().and_then(|note| note.fired);
            // Times before it was there, or had these times, it has not missed.
            let note = known.filter(|note| note.of(&schedule.table)).unwrap_or_else(|| {
                let (cron, zone) =
                    (schedule.table.cron().to_string(), schedule.table.zone().name().to_owned());
                let note = Note { cron, zone, until: now, fired };
                changes.push(note.keep(&schedule.name));
                note
            });
            let next = schedule.table.after(note.until);
            entries.push(Entry { schedule, note, next });
        }
        if !changes.is_empty() && !matches!(self.submitter.commit(changes).await, Some(Ok(_))) {
            return Ok(false);
        }
        (self.at_work, self.generation) = (entries, generation);
        Ok(true)
    }

    /// Fires one schedule for what is due by now. `false` when the bus has ended.
    async fn fire(&self, entry: &mut Entry, now: Timestamp) -> bool {
        let schedule = &entry.schedule;
        let Some(due) = due(schedule, entry.note.until, now) else {
            entry.next = entry.note.next(&schedule.table, now);
            return true;
        };
        let fired = if due.fires { Some(due.latest) } else { entry.note.fired };
        let note = Note { until: due.latest, fired, ..entry.note.clone() };
        let mut changes = Vec::with_capacity(2);
        if due.fires {
            changes.push(Change::Publish(vec![self.event(schedule, due.latest, now)]));
        }
        let fact = (due.missed > 0).then(|| missed(schedule, &due)).flatten();
        let facts = fact.and_then(|fact| self.routing.fact(fact, now)).into_iter().collect();
        changes.push(Change::With { change: Box::new(note.keep(&schedule.name)), facts });
        // One request is one commit: the event and the note are stored together.
        let Some(Ok(receipts)) = self.submitter.commit(changes).await else { return false };
        if let Some(Receipt::Conflict { .. }) = receipts.first() {
            let name = &schedule.name;
            error!(schedule = name, "somebody else has published under the id of this firing; it is dropped");
        }
        self.metrics.scheduled(&schedule.name, "fired", u64::from(due.fires));
        self.metrics.scheduled(&schedule.name, "missed", due.missed);
        entry.next = note.next(&schedule.table, now);
        entry.note = note;
        true
    }

    /// The event of one firing. All of it follows from the schedule and the time that is due.
    fn event(&self, schedule: &Schedule, due: Timestamp, now: Timestamp) -> Routed {
        let source = format!("/tidegate/schedule/{}", schedule.name);
        let id = format!("{}@{due}", schedule.name);
        let data = schedule.data.clone().unwrap_or_else(|| {
            Bytes::from(json!({ "schedule": schedule.name, "due": due.to_string() }).to_string())
        });
        let key = schedule.key.clone().or_else(|| self.registry.key_of(&schedule.event, &data));
        let label = Label {
            flow: flow_of(&source, &id),
            id,
            source,
            name: schedule.event.clone(),
            time: due,
            key: key.unwrap_or_default(),
            causation: None,
        };
        let event = Envelope::new(label, data);
        let deadline = self.deadlines.of(&event.name, now);
        Routed { deadline, ..self.routing.routed(Arc::new(event)) }
    }
}

/// What is due of a schedule that is done up to `until`.
fn due(schedule: &Schedule, until: Timestamp, now: Timestamp) -> Option<Due> {
    let latest = schedule.table.latest(until, now)?;
    let count = schedule.table.count(until, latest, COUNT_MAX);
    let is_on_time = now.millis_since(latest) <= LATE_MAX_MS;
    let missed = count.saturating_sub(u64::from(is_on_time));
    Some(Due { latest, missed, fires: is_on_time || schedule.missed == Missed::Once })
}

fn missed(schedule: &Schedule, due: &Due) -> Option<Fact> {
    let latest = due.latest.to_string();
    let data = json!({
        "schedule": schedule.name,
        "event": schedule.event.as_str(),
        "missed": due.missed,
        // The count ends somewhere: then there were so many, or more.
        "or_more": due.missed + 1 >= COUNT_MAX,
        "latest": latest,
        "fired": due.fires,
    });
    let fact = Fact::new("tidegate.schedule.missed", &[&schedule.name, &latest], &data)?;
    Some(fact.about(&schedule.name, &schedule.name))
}

/// The notes of all schedules there ever were; one that cannot be read counts as none.
fn notes(reader: &dyn Reader) -> Result<Vec<(String, Option<Note>)>, StoreError> {
    let kept = reader.kept(Shelf::Schedule, "", None, SCHEDULES_MAX)?;
    Ok(kept.into_iter().map(|(name, value)| (name, serde_json::from_slice(&value).ok())).collect())
}

impl Bus {
    /// The schedules in force, by name, with the time each was fired for last and the time it is due next.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn schedules(&self) -> Result<Vec<ScheduleView>, QueryError> {
        self.read(|inner| {
            let (kept, now) = (notes(&*inner.reader)?, inner.clock.now());
            let (_, mut schedules) = inner.schedules.get();
            schedules.sort_by(|a, b| a.name.cmp(&b.name));
            let views = schedules.into_iter().map(|schedule| {
                let note = kept.iter().find(|(name, _)| *name == schedule.name);
                let note = note.and_then(|(_, note)| note.as_ref());
                let next = match note.filter(|note| note.of(&schedule.table)) {
                    Some(note) => note.next(&schedule.table, now),
                    None => schedule.table.after(now),
                };
                ScheduleView {
                    event: schedule.event.to_string(),
                    cron: schedule.table.cron().to_string(),
                    zone: schedule.table.zone().name().to_owned(),
                    missed: match schedule.missed {
                        Missed::Once => "once",
                        Missed::Skip => "skip",
                    }
                    .to_owned(),
                    last: note.and_then(|note| note.fired).map(|at| at.to_string()),
                    next: next.map(|at| at.to_string()),
                    name: schedule.name,
                }
            });
            Ok(views.collect())
        })
        .await
    }

    /// Puts other schedules in the place of those in force. One that has kept its name and its times goes on
    /// where it was.
    pub fn set_schedules(&self, schedules: Vec<Schedule>) {
        self.0.schedules.set(schedules);
        self.0.delays.ring();
    }

    /// Puts other deadlines in the place of those in force, by the name of the event that begins a flow. Flows
    /// that are under way keep theirs.
    pub fn set_deadlines(&self, deadlines: std::collections::BTreeMap<EventName, std::time::Duration>) {
        self.0.deadlines.set(deadlines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::{Cron, Zone};

    fn schedule(cron: &str, missed: Missed) -> Schedule {
        Schedule {
            name: "s".to_owned(),
            event: EventName::new("a.b").unwrap(),
            table: TimeTable::new(Cron::parse(cron).unwrap(), Zone::utc()),
            missed,
            data: None,
            key: None,
        }
    }

    #[test]
    fn what_is_missed_is_counted_and_fired_as_the_schedule_says() {
        const MINUTE: u64 = 60_000;
        let at = |minutes: u64, seconds: u64| Timestamp(minutes * MINUTE + seconds * 1_000);
        let hour = |h: u64| Timestamp(h * 60 * MINUTE);
        for (until, now, missed, once, skip) in [
            // On time, and within a minute of it.
            (hour(0), hour(1), 0, true, true),
            (hour(0), at(61, 0), 0, true, true),
            // Later than that.
            (hour(0), at(61, 1), 1, true, false),
            // A day away, and there again at no particular time, or just on time.
            (hour(0), at(24 * 60 + 30, 0), 24, true, false),
            (hour(0), hour(24), 23, true, true),
        ] {
            for (policy, fires) in [(Missed::Once, once), (Missed::Skip, skip)] {
                let due = due(&schedule("0 * * * *", policy), until, now).unwrap();
                assert_eq!((due.missed, due.fires), (missed, fires), "{until} {now} {policy:?}");
                assert!(due.latest <= now);
            }
        }
        assert_eq!(due(&schedule("0 * * * *", Missed::Once), hour(1), at(119, 0)), None);
        assert_eq!(due(&schedule("0 * * * *", Missed::Once), hour(5), hour(1)), None, "set back");
        assert_eq!(due(&schedule("* * * * *", Missed::Once), hour(0), at(5_000, 30)).unwrap().missed, 999);
    }
}
