//! Mend: what a person does about one dead letter, checked before it becomes a change.
//!
//! Everything that can be wrong is told before anything is stored: data that is not what the event's type
//! says, an event that the step cannot emit, a flow that was answered by `on_dead` already. What is left for
//! the store to refuse is that somebody else was quicker.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::handle::{Bus, Inner};
use super::query::applied;
use super::render::{reason, timestamp};
use super::view::{DeliveryStatus, EventRef, RepairView};
use super::{Operator, QueryError};
use crate::delivery::{Emitting, Mended, ON_DEAD_ORDINAL, source_of};
use crate::event::cloudevents::check_json;
use crate::event::{
    EXPIRY, Envelope, EventName, Fact, Identity, Label, Timestamp, edited_id, emitted_id, emitted_id_of,
};
use crate::step::ErasedStep;
use crate::store::{
    Change, DeadLetter, DeliveryState, Emit, Lookup, Receipt, Repair, RepairAct, Routed, StoreError,
};

/// The source of events that were edited by hand.
const EDIT_SOURCE: &str = "/tidegate/edit";
/// Bytes of data that an audit fact repeats; of more it tells the length.
const TOLD_MAX: usize = 16 * 1024;

/// What a person wants done about a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairRequest {
    /// Try it again, with a fresh count of attempts.
    Retry {
        /// When.
        when: When,
        /// Also when its `on_dead` event was stored.
        force: bool,
    },
    /// Give it up. Needs a reason.
    Skip,
    /// Try it with other data: a new event, linked to the old one, takes its place.
    Edit {
        /// The new data as JSON.
        data: Bytes,
        /// Also when its `on_dead` event was stored.
        force: bool,
    },
    /// It was done outside of the bus. Needs a reason.
    Done {
        /// What the step would have emitted.
        emits: Vec<EmitByHand>,
        /// The flow's result as JSON, if this is its end.
        result: Option<Bytes>,
        /// Also when its `on_dead` event was stored.
        force: bool,
    },
}

/// When something is tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// Not before this time.
    At(Timestamp),
    /// Not before so much time has passed.
    After(Duration),
}

/// An event that a person emits in a step's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitByHand {
    /// Its name: one that the step may emit on the dead event.
    pub name: String,
    /// Its data as JSON.
    pub data: Bytes,
    /// Its key; `None` is what its type says.
    pub key: Option<String>,
}

/// A repair that may be stored.
pub(super) struct Plan {
    pub(super) letter: DeadLetter,
    pub(super) act: RepairAct,
    /// What the subscription is told.
    pub(super) mended: Mended,
    pub(super) fact: Option<Fact>,
    view: RepairView,
}

impl Bus {
    /// Does something about a dead letter; what waited behind it goes on in order.
    ///
    /// # Guarantees
    /// `Ok` comes when it is on disk, with the fact that tells of it. A repair of one dead letter counts once,
    /// whoever else has the same idea.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Refused`] when it is none any more, or when its `on_dead` event
    /// was stored and the request does not force it; [`QueryError::Invalid`] when the request itself is wrong.
    pub async fn repair(
        &self,
        id: &str,
        request: RepairRequest,
        operator: Operator,
    ) -> Result<RepairView, QueryError> {
        let (named, who) = (id.to_owned(), operator.clone());
        let read = move |inner: &Inner| {
            let plan = inner.plan(&named, request, &who)?;
            let resumed = inner.resumed_by(&plan, &named, &who)?;
            Ok((plan, resumed))
        };
        let (plan, resumed) = self.read(read).await?;
        let Plan { letter, act, mended, fact, view } = plan;
        let Operator { reason, by } = operator;
        let repair = Repair { subscription: letter.subscription, seq: letter.seq, act, reason, by };
        // Looked up when it is told: a reload may give the subscription another place meanwhile.
        let ports = self.0.ports.clone();
        let tell = move |receipt: &Receipt| {
            if let Some(port) = ports.get(&letter.subscription).filter(|_| applied(receipt)) {
                port.repaired(letter.ordinal, letter.key, mended);
            }
        };
        let receipt =
            self.act_and_tell(Change::Repair(repair), fact.into_iter().chain(resumed), tell).await?;
        if let Receipt::Unreadable { problem } = &receipt {
            let why = format!(
                "the event of dead letter {id} cannot be read ({problem}); skip it, or restore a backup"
            );
            return Err(QueryError::Refused { why });
        }
        if !applied(&receipt) {
            return Err(QueryError::Refused { why: format!("dead letter {id} was repaired meanwhile") });
        }
        Ok(view)
    }
}

impl Inner {
    /// The fact that the letter's key goes on, when it does so at once.
    pub(super) fn resumed_by(
        &self,
        plan: &Plan,
        id: &str,
        operator: &Operator,
    ) -> Result<Option<Fact>, StoreError> {
        match plan.mended {
            Mended::Released | Mended::Again => self.resumed(&plan.letter, id, operator),
            Mended::AgainAt(_) => Ok(None),
        }
    }

    /// Checks a request and makes the change of it.
    pub(super) fn plan(
        &self,
        id: &str,
        request: RepairRequest,
        operator: &Operator,
    ) -> Result<Plan, QueryError> {
        let letter = self.letter_to_repair(id)?;
        match request {
            RepairRequest::Retry { when, force } => {
                self.check_unanswered(&letter, id, force)?;
                Ok(self.plan_retry(id, letter, when, operator))
            }
            RepairRequest::Skip => {
                needs_reason(operator, "is missing; say why the event is given up")?;
                let after = json!({ "state": "skipped" });
                let fact = told(operator, "tidegate.dead_letter.skipped", id, &letter, &after, Value::Null);
                let view = view_of(id, DeliveryStatus::Skipped);
                Ok(Plan { letter, act: RepairAct::Skip, mended: Mended::Released, fact, view })
            }
            RepairRequest::Edit { data, force } => {
                self.check_unanswered(&letter, id, force)?;
                self.plan_edit(id, letter, data, operator)
            }
            RepairRequest::Done { emits, result, force } => {
                needs_reason(operator, "is missing; say how it was done, and by whom")?;
                // That it was done is no more than a record; what it emits would be a second answer.
                self.check_unanswered(&letter, id, force || (emits.is_empty() && result.is_none()))?;
                self.plan_done(id, letter, emits, result, operator)
            }
        }
    }

    /// The dead letter, or why there is nothing to repair any more.
    fn letter_to_repair(&self, id: &str) -> Result<DeadLetter, QueryError> {
        let (subscription, seq) = self.letter_id(id)?;
        if let Some(letter) = self.reader.dead_letter(subscription, seq)? {
            return Ok(letter);
        }
        let unknown = || QueryError::NotFound { what: format!("dead letter {id:?}") };
        let event = self.reader.event(seq)?.ok_or_else(unknown)?;
        let delivery = event.deliveries.into_iter().find(|delivery| delivery.subscription == subscription);
        let delivery = delivery.ok_or_else(unknown)?;
        let state = match delivery.state {
            DeliveryState::Ready | DeliveryState::Deferred | DeliveryState::Waiting { .. } => "on its way",
            DeliveryState::Done => "done",
            DeliveryState::Skipped => "skipped",
            // It died between the two readings.
            DeliveryState::Dead { .. } => "dead again",
        };
        let last = delivery.history.last();
        let last =
            last.map_or(String::new(), |last| format!(" ({} at {})", last.outcome, timestamp(last.at)));
        Err(QueryError::Refused {
            why: format!(
                "{id} is no dead letter any more: its delivery is {state}{last}; nothing was changed"
            ),
        })
    }

    /// Refuses what would give a flow a second answer.
    fn check_unanswered(&self, letter: &DeadLetter, id: &str, force: bool) -> Result<(), QueryError> {
        if force {
            return Ok(());
        }
        let name = self.name_of(letter.subscription);
        let cause = (letter.event.source.as_str(), letter.event.id.as_str());
        let answer = emitted_id_of(cause, &name, generation(letter), ON_DEAD_ORDINAL);
        let source = format!("/tidegate/{name}");
        match self.reader.find(Identity::of(&source, &answer))? {
            Lookup::Unknown => Ok(()),
            Lookup::Known(_) | Lookup::Forgotten => Err(QueryError::Refused {
                why: format!(
                    "the flow of {id} was answered by its `on_dead` event {answer} of source {source}; what you \
                     ask for may answer it a second time: skip the dead letter, or repeat with `force: true`"
                ),
            }),
        }
    }

    fn plan_retry(&self, id: &str, letter: DeadLetter, when: When, operator: &Operator) -> Plan {
        let now = self.clock.now();
        let due = match when {
            When::Now => None,
            When::At(at) => Some(at),
            When::After(wait) => Some(now.plus(wait)),
        };
        let due = due.filter(|due| *due > now);
        let status = if due.is_some() { DeliveryStatus::Waiting } else { DeliveryStatus::Ready };
        let view = RepairView { due: due.map(timestamp), ..view_of(id, status) };
        let after = json!({ "state": status, "due": view.due });
        let fact = told(operator, "tidegate.dead_letter.retried", id, &letter, &after, Value::Null);
        let mended = due.map_or(Mended::Again, Mended::AgainAt);
        Plan { letter, act: RepairAct::Retry { due }, mended, fact, view }
    }

    fn plan_edit(
        &self,
        id: &str,
        letter: DeadLetter,
        data: Bytes,
        operator: &Operator,
    ) -> Result<Plan, QueryError> {
        let old = self.payload(id, &letter)?;
        let invalid = |why: String| QueryError::Invalid { pointer: "/data".to_owned(), why };
        check_json(&data).and_then(|()| self.registry.decodes(old.name.as_str(), &data)).map_err(invalid)?;
        let step = self.step_of(id, &letter)?;
        let type_key = |data: &[u8]| self.registry.key_of(&old.name, data);
        // A key that a publisher chose stays; one that came of the data comes of the new data.
        let key = type_key(&data).filter(|_| type_key(&old.data).is_none_or(|key| key == old.key));
        let label = Label {
            id: edited_id(&old, &self.name_of(letter.subscription), letter.attempts),
            source: EDIT_SOURCE.to_owned(),
            time: self.clock.now(),
            key: key.unwrap_or_else(|| old.key.clone()),
            causation: Some(old.id.clone()),
            ..(*old.label).clone()
        };
        let mut new = Envelope { label: Arc::new(label), data, ..(*old).clone() };
        // A person wants it handled, whatever its time was.
        new.extensions.remove(EXPIRY);
        let lane = catch_unwind(AssertUnwindSafe(|| step.lane_key(&new)));
        let lane = lane.map_err(|_| invalid("makes the step's key() panic".to_owned()))?;
        let in_place = lane.map_err(|error| invalid(error.to_string()))? == letter.key;
        let status = DeliveryStatus::Skipped;
        let view = RepairView { events: vec![event_ref(&new)], ..view_of(id, status) };
        let after = json!({ "state": status, "superseded_by": view.events, "in_place": in_place });
        let data = json!({ "before": told_data(&old.data), "after": told_data(&new.data) });
        let fact = told(operator, "tidegate.dead_letter.edited", id, &letter, &after, data);
        let mended = if in_place { Mended::Again } else { Mended::Released };
        let event = Box::new(Routed::new(Arc::new(new), Vec::new()));
        Ok(Plan { letter, act: RepairAct::Supersede { event, in_place }, mended, fact, view })
    }

    fn plan_done(
        &self,
        id: &str,
        letter: DeadLetter,
        by_hand: Vec<EmitByHand>,
        result: Option<Bytes>,
        operator: &Operator,
    ) -> Result<Plan, QueryError> {
        if result.is_some() && self.reader.flow(&letter.event.flow)?.is_some_and(|flow| flow.result.is_some())
        {
            return Err(QueryError::Refused {
                why: format!(
                    "flow {} has a result, and the first one stands; leave `result` out",
                    letter.event.flow
                ),
            });
        }
        if let Some(Err(why)) = result.as_deref().map(check_json) {
            return Err(QueryError::Invalid { pointer: "/result".to_owned(), why });
        }
        let left_out =
            if by_hand.is_empty() && result.is_none() { self.may_emit(&letter) } else { Vec::new() };
        let emits = if by_hand.is_empty() { Vec::new() } else { self.emits_by_hand(id, &letter, by_hand)? };
        let events = emits.iter().map(|emit| event_ref(&emit.event)).collect();
        let view = RepairView { events, left_out, ..view_of(id, DeliveryStatus::Done) };
        let told_result = result.as_ref().map(told_data);
        let after = json!({ "state": "done", "emitted": view.events, "result": told_result });
        let fact = told(operator, "tidegate.dead_letter.done", id, &letter, &after, Value::Null);
        Ok(Plan { letter, act: RepairAct::Done { emits, result }, mended: Mended::Released, fact, view })
    }

    /// What the step of a dead letter emits on such an event; nothing when there is no such step any more.
    fn may_emit(&self, letter: &DeadLetter) -> Vec<String> {
        let step = self.step_of("", letter).ok();
        let names = step.map(|step| step.emits(letter.event.name.as_str())).unwrap_or_default();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The events that a person emits in the step's place.
    fn emits_by_hand(
        &self,
        id: &str,
        letter: &DeadLetter,
        by_hand: Vec<EmitByHand>,
    ) -> Result<Vec<Emit>, QueryError> {
        let cause = self.payload(id, letter)?;
        let step = self.step_of(id, letter)?;
        let may = step.emits(cause.name.as_str());
        let subscription = self.name_of(letter.subscription);
        let source = source_of(&subscription);
        let emitting = Emitting {
            cause: &cause,
            subscription: &subscription,
            source: &source,
            generation: generation(letter),
            routing: &self.routing,
            now: self.clock.now(),
        };
        let mut emits = Vec::with_capacity(by_hand.len());
        for (hand, ordinal) in by_hand.into_iter().zip(0_u32..) {
            let invalid =
                |part: &str, why| QueryError::Invalid { pointer: format!("/emits/{ordinal}/{part}"), why };
            if !may.contains(&hand.name.as_str()) {
                let known = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
                let why = format!(
                    "is no event that step {} emits on {}; it emits {known}",
                    step.name(),
                    cause.name
                );
                return Err(invalid("name", why));
            }
            let name = EventName::new(&hand.name).map_err(|error| invalid("name", error.to_string()))?;
            let read = check_json(&hand.data).and_then(|()| self.registry.decodes(&hand.name, &hand.data));
            read.map_err(|why| invalid("data", why))?;
            let source = format!("/tidegate/{subscription}");
            let taken = emitted_id(&cause, &subscription, generation(letter), ordinal);
            if self.reader.find(Identity::of(&source, &taken))? != Lookup::Unknown {
                let why = format!("event {taken} of source {source} is there already; emit nothing here");
                return Err(QueryError::Refused { why });
            }
            let key = hand.key.or_else(|| self.registry.key_of(&name, &hand.data)).unwrap_or_default();
            emits.push(emitting.event(name, key, hand.data, None, ordinal));
        }
        Ok(emits)
    }

    fn payload(&self, id: &str, letter: &DeadLetter) -> Result<Arc<Envelope>, QueryError> {
        let gone = || QueryError::Refused { why: format!("the data of {id} is past its retention; skip it") };
        self.reader.envelope(letter.seq)?.ok_or_else(gone)
    }

    fn step_of(&self, id: &str, letter: &DeadLetter) -> Result<Arc<dyn ErasedStep>, QueryError> {
        let name = self.name_of(letter.subscription);
        let step = self.registry.get(&self.named(&name)?.step);
        step.ok_or_else(|| QueryError::Refused {
            why: format!(
                "{id} is of subscription {name}, whose step is not registered; nothing can be checked"
            ),
        })
    }
}

fn needs_reason(operator: &Operator, why: &str) -> Result<(), QueryError> {
    if operator.reason.trim().is_empty() {
        return Err(QueryError::Invalid { pointer: "/reason".to_owned(), why: why.to_owned() });
    }
    Ok(())
}

fn view_of(id: &str, status: DeliveryStatus) -> RepairView {
    RepairView { id: id.to_owned(), status, due: None, events: Vec::new(), left_out: Vec::new() }
}

fn event_ref(event: &Envelope) -> EventRef {
    EventRef { id: event.id.clone(), source: event.source.clone(), name: event.name.to_string() }
}

/// JSON as it is, as far as it is short.
fn told_data(data: &Bytes) -> Value {
    let short = Some(data).filter(|data| data.len() <= TOLD_MAX);
    let read = short.and_then(|data| serde_json::from_slice(data).ok());
    read.unwrap_or_else(|| json!({ "bytes": data.len() }))
}

/// The fact that tells of a repair.
fn told(
    operator: &Operator,
    name: &'static str,
    id: &str,
    letter: &DeadLetter,
    after: &Value,
    data: Value,
) -> Option<Fact> {
    let mut all = json!({
        "dead_letter": id,
        "flow": letter.event.flow,
        "event": letter.event.id,
        "source": letter.event.source,
        "name": letter.event.name,
        "key": letter.key,
        "before": {
            "state": "dead",
            "reason": reason(letter.reason),
            "error": letter.error,
            "attempts": letter.attempts,
            "since": timestamp(letter.since),
        },
        "after": after,
    });
    if let (Value::Object(all), Value::Object(_)) = (&mut all, &data) {
        all.insert("data".to_owned(), data);
    }
    operator.fact(name, id, all).map(|fact| fact.caused_by(&letter.event.id))
}

/// Replays that the dead delivery has behind it; ids of what it emits are derived with it.
fn generation(letter: &DeadLetter) -> u32 {
    let own = letter.event.deliveries.iter().find(|delivery| delivery.subscription == letter.subscription);
    own.map_or(0, |delivery| delivery.generation)
}
