//! Export: what a stopped store holds, as lines of JSON for people and scripts; and import, as far as that goes.
//!
//! A backup is for machines and loses nothing. An export is to be read, searched and edited; what an import takes
//! from one is said at [`import`].

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SledStore;
use super::audit::{Scene, open_stopped};
use super::restore::is_free;
use crate::event::cloudevents::{Received, receive, to_structured};
use crate::event::{Envelope, Label, Timestamp};
use crate::store::{
    Change, DeliveryRecord, EventRecord, Progress, Reader as _, Receipt, Routed, Seq, Store as _, StoreError,
    StoreSettings, SubscriptionId, SubscriptionRecord, SubscriptionSpec,
};

/// The newest format of an export.
const FORMAT: u32 = 1;
/// Events read at a time.
const PAGE: usize = 256;
/// Events of an import that share a sync.
const GROUP: usize = 256;

/// One line of an export.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    /// The first one.
    Store(StoreLine),
    /// A subscription.
    Subscription(SubscriptionLine),
    /// An event, with all that is known of it.
    Event(Box<EventLine>),
    /// The state that a step keeps for a key.
    State(StateLine),
}

/// The part of a line that says what it is.
#[derive(Debug, Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoreLine {
    format: u32,
    tidegate: String,
    commit: u64,
    events: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SubscriptionLine {
    name: String,
    step: String,
    on: Vec<String>,
    orphaned: bool,
    paused: bool,
    backlog: u64,
    dead: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct StateLine {
    subscription: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state_base64: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EventLine {
    seq: u64,
    id: String,
    source: String,
    name: String,
    flow: String,
    acknowledged: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due: Option<u64>,
    deliveries: Vec<DeliveryLine>,
    /// As a `CloudEvent`; absent when its data is past retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DeliveryLine {
    subscription: String,
    state: String,
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    is_open: bool,
}

/// What an export or an import has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Events.
    pub events: u64,
    /// Events among them whose data is past retention; an import leaves them out.
    pub without_data: u64,
    /// Deliveries that are not settled.
    pub open: u64,
    /// States of steps; an import leaves them out.
    pub states: u64,
}

/// Writes a stopped store as lines of JSON. `scratch` has room for a copy of `sled`.
///
/// # Errors
/// As [`verify_folder`](crate::store::verify_folder); damage ends it.
pub fn export_folder(
    dir: &Path,
    scratch: &Path,
    out: &mut dyn Write,
    progress: &Progress,
) -> Result<Moved, StoreError> {
    let stopped = open_stopped(dir, scratch, progress)?;
    let scene = &stopped.scene;
    let events = scene.shared.stats().events;
    let subscriptions = scene.shared.subscriptions()?;
    let tidegate = env!("CARGO_PKG_VERSION").to_owned();
    line(out, &Line::Store(StoreLine { format: FORMAT, tidegate, commit: scene.shared.staged().0, events }))?;
    for one in &subscriptions {
        let SubscriptionRecord { name, step, on, orphaned, paused, backlog, dead, .. } = one.clone();
        line(out, &Line::Subscription(SubscriptionLine { name, step, on, orphaned, paused, backlog, dead }))?;
    }
    progress.begin("events", events);
    let (mut moved, mut from) = (Moved::default(), Seq(1));
    loop {
        progress.check()?;
        let page = scene.shared.events_from(from, PAGE)?;
        let Some(last) = page.last() else { break };
        progress.add(last.seq.0 + 1 - from.0);
        from = Seq(last.seq.0 + 1);
        for record in &page {
            let told = event(scene, record, &subscriptions)?;
            moved.events += 1;
            moved.without_data += u64::from(told.event.is_none());
            moved.open += told.deliveries.iter().filter(|delivery| delivery.is_open).count() as u64;
            line(out, &Line::Event(Box::new(told)))?;
        }
    }
    moved.states = states(scene, &subscriptions, out)?;
    out.flush().map_err(|error| failed("write", &error))?;
    Ok(moved)
}

fn event(
    scene: &Scene,
    record: &EventRecord,
    subscriptions: &[SubscriptionRecord],
) -> Result<EventLine, StoreError> {
    let envelope = scene.shared.envelope(record.seq)?;
    let delivery = |delivery: &DeliveryRecord| {
        let known = subscriptions.iter().find(|one| one.id == delivery.subscription);
        DeliveryLine {
            subscription: known.map_or_else(String::new, |one| one.name.clone()),
            state: word(delivery),
            attempts: delivery.attempts,
            key: delivery.key.as_deref().map(str::to_owned),
            error: delivery.error.clone(),
            is_open: crate::store::view::is_open_delivery(delivery),
        }
    };
    let text = envelope.as_ref().and_then(|event| String::from_utf8(to_structured(event)).ok());
    Ok(EventLine {
        seq: record.seq.0,
        id: record.id.clone(),
        source: record.source.clone(),
        name: record.name.to_string(),
        flow: record.flow.clone(),
        acknowledged: record.acknowledged.to_string(),
        due: scene.shared.view()?.due_of(record.seq)?.map(|due| due.0),
        deliveries: record.deliveries.iter().map(delivery).collect(),
        event: text.and_then(|text| RawValue::from_string(text).ok()),
    })
}

/// The word for where a delivery stands.
fn word(delivery: &DeliveryRecord) -> String {
    use crate::store::DeliveryState as State;
    match &delivery.state {
        State::Ready => "ready".to_owned(),
        State::Waiting { due } => format!("waiting until {due}"),
        State::Deferred => "waiting behind its key".to_owned(),
        State::Done => "done".to_owned(),
        State::Skipped => "skipped".to_owned(),
        State::Dead { reason } => format!("dead ({})", reason.as_str()),
    }
}

fn states(
    scene: &Scene,
    subscriptions: &[SubscriptionRecord],
    out: &mut dyn Write,
) -> Result<u64, StoreError> {
    let mut count = 0;
    for one in subscriptions {
        let mut after = None;
        loop {
            let page = scene.shared.view()?.states_of(one.id, after.as_deref(), PAGE)?;
            let Some((last, _, _)) = page.last() else { break };
            after = Some(last.clone());
            for (_, key, state) in page {
                let json = std::str::from_utf8(&state)
                    .ok()
                    .and_then(|text| RawValue::from_string(text.to_owned()).ok());
                let state_base64 = json.is_none().then(|| STANDARD.encode(&state));
                line(
                    out,
                    &Line::State(StateLine {
                        subscription: one.name.clone(),
                        key,
                        state: json,
                        state_base64,
                    }),
                )?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Publishes the events of an export into a new store at `to`, under the same ids, sources, keys, flows and times.
///
/// Each goes to the subscriptions that had not settled it, dead letters included: they are tried again from the
/// first attempt on. What an import does not carry: settled deliveries and their histories, results and progress of
/// flows, states of steps, journaled results of `cx.run`, jobs, replays, pauses, and events whose data is past
/// retention. A backup carries all of it.
///
/// # Errors
/// [`StoreError::Io`] of kind `AlreadyExists` when something is at `to`, and of kind `InvalidData` with the number of
/// the line that is none of an export; [`StoreError::Newer`].
pub fn import(
    lines: &mut dyn BufRead,
    to: &Path,
    now: Timestamp,
    progress: &Progress,
) -> Result<Moved, StoreError> {
    is_free(to)?;
    let mut taken = Import {
        store: SledStore::open(StoreSettings { path: to.to_owned(), ..StoreSettings::default() }, now)?,
        now,
        known: Vec::new(),
        waiting: Vec::new(),
        moved: Moved::default(),
    };
    progress.begin("lines", 0);
    let (mut number, mut text) = (0_u64, String::new());
    loop {
        progress.check()?;
        text.clear();
        number += 1;
        if lines.read_line(&mut text).map_err(|error| failed("read", &error))? == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let parsed = parsed(&text).map_err(|error| bad(number, &error.to_string()))?;
        taken.take(number, parsed)?;
        progress.add(1);
    }
    taken.publish()?;
    let Import { store, moved, .. } = taken;
    Box::new(store).close()?;
    Ok(moved)
}

/// An import under way.
struct Import {
    store: SledStore,
    now: Timestamp,
    known: Vec<(String, SubscriptionId)>,
    waiting: Vec<Change>,
    moved: Moved,
}

impl Import {
    fn take(&mut self, number: u64, parsed: Line) -> Result<(), StoreError> {
        if number == 1 && !matches!(parsed, Line::Store(_)) {
            return Err(bad(number, "an export begins with a line of kind \"store\""));
        }
        match parsed {
            Line::Store(StoreLine { format, .. }) if format > FORMAT => {
                let path = Path::new("the export").to_owned();
                Err(StoreError::Newer { path, found: format, supported: FORMAT })
            }
            Line::Store(_) => Ok(()),
            Line::State(_) => {
                self.moved.states += 1;
                Ok(())
            }
            Line::Subscription(SubscriptionLine { name, step, on, .. }) => {
                let filter = crate::event::Filter::default();
                let spec = SubscriptionSpec { name: name.clone(), step, on, since: None, filter };
                let receipts = self.store.stage(self.now, &mut vec![Change::Subscribe(spec)])?;
                if let Some(Receipt::Subscribed(id)) = receipts.first() {
                    self.known.push((name, *id));
                }
                Ok(())
            }
            Line::Event(event) => self.event(number, &event),
        }
    }

    fn event(&mut self, number: u64, event: &EventLine) -> Result<(), StoreError> {
        let Some(cloud_event) = &event.event else {
            self.moved.without_data += 1;
            return Ok(());
        };
        let envelope = envelope_of(cloud_event, event).map_err(|problem| bad(number, &problem))?;
        let open = event.deliveries.iter().filter(|delivery| delivery.is_open);
        let id = |name: &str| self.known.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
        let routes: Vec<SubscriptionId> = open.filter_map(|delivery| id(&delivery.subscription)).collect();
        self.moved.events += 1;
        self.moved.open += routes.len() as u64;
        let mut routed = Routed::new(Arc::new(envelope), routes);
        routed.due = event.due.map(Timestamp).filter(|due| *due > self.now);
        self.waiting.push(Change::Publish(vec![routed]));
        if self.waiting.len() >= GROUP { self.publish() } else { Ok(()) }
    }

    fn publish(&mut self) -> Result<(), StoreError> {
        self.store.stage(self.now, &mut self.waiting)?;
        self.store.sync()?;
        self.store.maintain(self.now).map(drop)
    }
}

/// Reads a line. Raw JSON can stand in a line only when its kind is known before.
fn parsed(text: &str) -> Result<Line, serde_json::Error> {
    let Kind { kind } = serde_json::from_str(text)?;
    match &*kind {
        "store" => serde_json::from_str(text).map(Line::Store),
        "subscription" => serde_json::from_str(text).map(Line::Subscription),
        "event" => serde_json::from_str(text).map(Line::Event),
        "state" => serde_json::from_str(text).map(Line::State),
        other => Err(serde::de::Error::unknown_variant(other, &["store", "subscription", "event", "state"])),
    }
}

/// Reads an event back. White space around JSON data is lost, which the digest of a body counts: a publisher that
/// repeats such an event word by word is told that its id is taken.
fn envelope_of(cloud_event: &RawValue, line: &EventLine) -> Result<Envelope, String> {
    let body = Bytes::copy_from_slice(cloud_event.get().as_bytes());
    let received =
        receive(Some("application/cloudevents+json"), [], &body, 1).map_err(|refusal| refusal.to_string())?;
    let Received::One(draft) = received else { return Err("it is no single event".to_owned()) };
    let time = draft.time.ok_or("it has no time")?;
    let label = Label {
        id: draft.id.unwrap_or_else(|| line.id.clone()),
        source: draft.source,
        name: draft.name,
        time,
        key: draft.key.unwrap_or_default(),
        flow: line.flow.clone(),
        causation: draft.causation,
    };
    Ok(Envelope {
        label: Arc::new(label),
        subject: draft.subject,
        traceparent: draft.traceparent,
        content_type: draft.content_type,
        schema: draft.schema,
        extensions: draft.extensions,
        data: draft.data,
    })
}

fn line(out: &mut dyn Write, told: &Line) -> Result<(), StoreError> {
    let mut bytes =
        serde_json::to_vec(told).map_err(|error| failed("encode", &std::io::Error::other(error)))?;
    bytes.push(b'\n');
    out.write_all(&bytes).map_err(|error| failed("write", &error))
}

fn failed(action: &'static str, error: &std::io::Error) -> StoreError {
    StoreError::io(action, "the export", error)
}

fn bad(number: u64, problem: &str) -> StoreError {
    let problem = format!("line {number} is none of an export: {problem}");
    failed("read", &std::io::Error::new(std::io::ErrorKind::InvalidData, problem))
}
