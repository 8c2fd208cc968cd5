//! What people ask of the bus: the status of an event, a flow, the subscriptions and their states.
//!
//! Every answer is read from the store and leaves only when all of it is on disk; what runs at this
//! moment is added from the subscriptions.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::compensation::compensation_view;
use super::handle::{Bus, Inner};
use super::render::{delivery_view, flow_status, raw, subscription_view, timestamp};
use super::states::States;
use super::view::{FlowEventView, FlowStatus, FlowView, StatusView, SubscriptionView};
use super::{Operator, QueryError};
use crate::event::{Envelope, Identity};
use crate::store::{
    AtHand, Change, DeliveryRecord, DeliveryState, EventRecord, FlowRecord, Lookup, Receipt, StoreError,
    SubscriptionId, SubscriptionRecord,
};

/// Most events of a flow that are looked into for its status.
const LOOKED_INTO: usize = 10_000;

/// Most readings of a flow that changes meanwhile.
const READINGS_MAX: u32 = 16;

impl Bus {
    /// Where the event's flow stands.
    ///
    /// # Errors
    /// [`QueryError::NotFound`], or [`QueryError::Gone`] when its time to live is over and its id is still
    /// remembered.
    pub async fn status(&self, source: &str, id: &str) -> Result<StatusView, QueryError> {
        let identity = Identity::of(source, id);
        if let Some(view) = self.0.status_at_hand(identity) {
            return Ok(view);
        }
        let found = self.read(move |inner| inner.status(identity)).await?;
        found.map_err(|missing| {
            let what = format!("event {id:?} of source {source:?}");
            match missing {
                Missing::Unknown => QueryError::NotFound { what },
                Missing::Expired => QueryError::Gone { what },
            }
        })
    }

    /// The flow with all its events and deliveries.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn flow(&self, flow: &str) -> Result<FlowView, QueryError> {
        let flow = flow.to_owned();
        self.read(move |inner| inner.flow(flow, false)).await
    }

    /// The flow, and with each delivery the state that its step keeps for its key, as it is now.
    ///
    /// How the state was when the delivery was handled is not recorded. Of a flow with very large states
    /// only the first mebibyte of them is told.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn flow_with_state(&self, flow: &str) -> Result<FlowView, QueryError> {
        let flow = flow.to_owned();
        self.read(move |inner| inner.flow(flow, true)).await
    }

    /// An event as it travels, with its data.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]; [`QueryError::Gone`] when its data is past its retention.
    pub async fn envelope(&self, source: &str, id: &str) -> Result<Arc<Envelope>, QueryError> {
        let what = format!("event {id:?} of source {source:?}");
        let identity = Identity::of(source, id);
        self.read(move |inner| {
            let Lookup::Known(seq) = inner.reader.find(identity)? else {
                return Err(QueryError::NotFound { what });
            };
            inner.reader.envelope(seq)?.ok_or(QueryError::Gone { what })
        })
        .await
    }

    /// All subscriptions, in the order they were first declared.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn subscriptions(&self) -> Result<Vec<SubscriptionView>, QueryError> {
        self.read(|inner| {
            let records = inner.reader.subscriptions()?;
            records.into_iter().map(|record| inner.subscription_view(record)).collect()
        })
        .await
    }

    /// One subscription.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn subscription(&self, name: &str) -> Result<SubscriptionView, QueryError> {
        let name = name.to_owned();
        self.read(move |inner| inner.named(&name).and_then(|record| inner.subscription_view(record))).await
    }

    /// Pauses or resumes a subscription, durably. Attempts that run go on.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn pause(
        &self,
        name: &str,
        paused: bool,
        operator: Operator,
    ) -> Result<SubscriptionView, QueryError> {
        let named = name.to_owned();
        let (id, before) =
            self.read(move |inner| inner.named(&named).map(|record| (record.id, record.paused))).await?;
        let ports = self.0.ports.clone();
        let tell = move |_: &Receipt| ports.get(&id).iter().for_each(|port| port.pause(paused));
        let fact = if paused { "tidegate.subscription.paused" } else { "tidegate.subscription.resumed" };
        let word = |paused| if paused { "paused" } else { "running" };
        let data = serde_json::json!({
            "subscription": name, "before": word(before), "after": word(paused),
        });
        let fact = operator.fact(fact, name, data);
        self.act_and_tell(Change::Pause { subscription: id, paused }, fact, tell).await?;
        self.subscription(name).await
    }

    /// The state of a key of a subscription, as JSON.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] when the subscription is unknown or the key has no state.
    pub async fn state(&self, subscription: &str, key: &str) -> Result<Box<RawValue>, QueryError> {
        let (name, key) = (subscription.to_owned(), key.to_owned());
        self.read(move |inner| {
            let record = inner.named(&name)?;
            let state = inner.reader.state(record.id, &key)?;
            let state = state.as_ref().and_then(raw);
            state.ok_or_else(|| QueryError::NotFound { what: format!("state of key {key:?} in {name}") })
        })
        .await
    }
}

/// Why an event has no status.
enum Missing {
    Unknown,
    Expired,
}

impl Inner {
    fn status(&self, identity: Identity) -> Result<Result<StatusView, Missing>, QueryError> {
        if let Some(view) = self.reader.stands(identity)?.and_then(|found| self.status_of(&found)) {
            return Ok(Ok(view));
        }
        let seq = match self.reader.find(identity)? {
            Lookup::Known(seq) => seq,
            Lookup::Forgotten => return Ok(Err(Missing::Expired)),
            Lookup::Unknown => return Ok(Err(Missing::Unknown)),
        };
        let Some(event) = self.reader.event(seq)? else { return Ok(Err(Missing::Expired)) };
        let Some((flow, events)) = self.at_one_moment(|| self.reader.flow_of(seq))? else {
            return Ok(Err(Missing::Expired));
        };
        let status = flow_status(self, &flow, &events);
        // As it stood at that moment, too.
        let own = events.iter().find(|other| other.seq == seq);
        Ok(Ok(self.status_view(status, &flow, own.unwrap_or(&event))))
    }

    /// The status of an event that came or was polled a moment ago: no thread need be woken for what memory holds, is on
    /// disk, and nobody changes just now.
    fn status_at_hand(&self, identity: Identity) -> Option<StatusView> {
        self.status_of(&*self.reader.at_hand(identity)?)
    }

    fn status_of(&self, AtHand { seq, flow, events }: &AtHand) -> Option<StatusView> {
        let own = events.iter().find(|event| event.seq == *seq)?;
        Some(self.status_view(flow_status(self, flow, events), flow, own))
    }

    fn status_view(&self, status: FlowStatus, flow: &FlowRecord, event: &EventRecord) -> StatusView {
        StatusView {
            status,
            result: flow.result.as_ref().and_then(raw),
            open: flow.open,
            dead: flow.dead,
            deliveries: event.deliveries.iter().map(|d| delivery_view(self, event.seq, d, false)).collect(),
            version: flow.commit.0,
            deadline: flow.deadline.map(timestamp),
            overdue: flow.overdue.is_some(),
            id: event.id.clone(),
            source: event.source.clone(),
            name: event.name.to_string(),
            flow: event.flow.clone(),
        }
    }

    fn flow(&self, flow: String, with_state: bool) -> Result<FlowView, QueryError> {
        let Some((record, events)) = self.at_one_moment(|| self.reader.flow(&flow))? else {
            return Err(QueryError::NotFound { what: format!("flow {flow:?}") });
        };
        let states = if with_state { States::read(&*self.reader, &events)? } else { States::default() };
        Ok(FlowView {
            status: flow_status(self, &record, &events),
            result: record.result.as_ref().and_then(raw),
            open: record.open,
            dead: record.dead,
            pending: self.pending(&events),
            compensation: record.compensation.as_ref().map(compensation_view),
            version: record.commit.0,
            deadline: record.deadline.map(timestamp),
            overdue: record.overdue.is_some(),
            events: events.iter().map(|event| self.flow_event(event, &states)).collect(),
            flow,
        })
    }

    fn flow_event(&self, event: &EventRecord, states: &States) -> FlowEventView {
        let delivery =
            |d: &DeliveryRecord| states.shown(event.seq, d, delivery_view(self, event.seq, d, true));
        FlowEventView {
            commit: event.commit.0,
            deliveries: event.deliveries.iter().map(delivery).collect(),
            id: event.id.clone(),
            source: event.source.clone(),
            name: event.name.to_string(),
            causation: event.causation.clone(),
            time: timestamp(event.time),
            filtered: event.filtered.iter().map(|id| self.name_of(*id)).collect(),
        }
    }

    /// The flow with its events as they stood together.
    ///
    /// The head and the events are read one after the other while commits go on. With a head from before an
    /// outcome and the events from after it, something open would be nowhere to be seen. A head that has
    /// not changed in between vouches for what was read; one that never stands still is read as it comes.
    pub(super) fn at_one_moment(
        &self,
        read: impl Fn() -> Result<Option<FlowRecord>, StoreError>,
    ) -> Result<Option<(FlowRecord, Vec<EventRecord>)>, QueryError> {
        let mut head = read()?;
        for _ in 1..READINGS_MAX {
            let Some(before) = head else { return Ok(None) };
            let events = self.looked_into(&before)?;
            head = read()?;
            if head.as_ref() == Some(&before) {
                return Ok(Some((before, events)));
            }
        }
        let Some(head) = head else { return Ok(None) };
        let events = self.looked_into(&head)?;
        Ok(Some((head, events)))
    }

    /// The bookkeeping of the flow's events; of a huge flow only of the first and the last.
    fn looked_into(&self, flow: &FlowRecord) -> Result<Vec<EventRecord>, QueryError> {
        let skipped = flow.events.len().saturating_sub(LOOKED_INTO);
        let first = flow.events.iter().take(LOOKED_INTO / 2);
        let last = flow.events.iter().skip(skipped + LOOKED_INTO / 2);
        let mut events = Vec::new();
        for seq in first.chain(last) {
            events.extend(self.reader.event(*seq)?);
        }
        Ok(events)
    }

    /// Subscriptions that open deliveries may still lead to and that have had no delivery of this flow.
    fn pending(&self, events: &[EventRecord]) -> Vec<String> {
        let deliveries = || events.iter().flat_map(|event| event.deliveries.iter().map(move |d| (event, d)));
        let is_open = |d: &DeliveryRecord| !matches!(d.state, DeliveryState::Done | DeliveryState::Skipped);
        let mut reached = BTreeSet::new();
        for (event, delivery) in deliveries().filter(|(_, d)| is_open(d)) {
            reached.extend((self.reach.0)(&self.name_of(delivery.subscription), &event.name));
        }
        for (_, delivery) in deliveries() {
            reached.remove(&self.name_of(delivery.subscription));
        }
        reached.into_iter().collect()
    }

    /// The subscription of this name, wired or orphaned.
    pub(super) fn named(&self, name: &str) -> Result<SubscriptionRecord, QueryError> {
        let records = self.reader.subscriptions()?;
        let found = records.into_iter().find(|record| record.name == name);
        found.ok_or_else(|| QueryError::NotFound { what: format!("subscription {name:?}") })
    }

    /// The name of a subscription; its number when the store does not know it.
    pub(super) fn name_of(&self, id: SubscriptionId) -> String {
        if let Some(port) = self.ports.get(&id) {
            return port.name.to_string();
        }
        let records = self.reader.subscriptions().unwrap_or_default();
        records.into_iter().find(|record| record.id == id).map_or_else(|| format!("#{}", id.0), |r| r.name)
    }

    fn subscription_view(&self, record: SubscriptionRecord) -> Result<SubscriptionView, QueryError> {
        let port = self.ports.get(&record.id);
        let filter = self.routing.filter(record.id);
        Ok(subscription_view(record, port.as_ref(), filter.as_ref(), self.is_bus_paused()?, self.clock.now()))
    }
}

/// Whether a repair applied, as the caller has to know it.
pub(super) fn applied(receipt: &Receipt) -> bool {
    matches!(receipt, Receipt::Applied { .. })
}
