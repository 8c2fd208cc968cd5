//! Steering: pausing and draining the whole bus or one subscription, and keys that a person parks.
//!
//! Each act is durable with the fact that tells of it before anything follows from it, so it holds over a
//! restart. Publishing goes on while the bus is paused: it holds the flood.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::handle::{Bus, Inner};
use super::query::applied;
use super::render::{dead_letter_id, timestamp};
use super::view::{BusView, Page, ParkedKeyView, SubscriptionView};
use super::{Operator, QueryError, Readiness};
use crate::delivery::{Holder, Order, Port};
use crate::event::Timestamp;
use crate::store::{Change, Ordinal, Receipt, Shelf, SubscriptionRecord};

/// The record that is there while the bus is paused.
pub(super) const BUS_SWITCH: &str = "pause";

/// So many that wait for a key are counted.
const WAITING_COUNTED: usize = 10_000;

/// Records of a shelf read at once.
const PAGE: usize = 1_024;

/// Who did it, why and when: what is stored of a switch and of a parked key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Act {
    by: String,
    reason: String,
    since: Timestamp,
}

/// What the names of a subscription's parked keys begin with.
pub(super) fn parked_prefix(subscription: &str) -> String {
    format!("{subscription}\u{0}")
}

impl Bus {
    /// How the whole bus stands.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn bus(&self) -> Result<BusView, QueryError> {
        self.read(Inner::bus_view).await
    }

    /// Pauses or resumes the whole bus, durably: no subscription starts anything, attempts that run go on.
    /// Events are taken all the same. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn pause_bus(&self, paused: bool, operator: Operator) -> Result<BusView, QueryError> {
        if self.read(Inner::bus_act).await?.is_some() != paused {
            let name = if paused { "tidegate.bus.paused" } else { "tidegate.bus.resumed" };
            let fact = operator.fact(name, "bus", json!({}));
            let value = paused.then(|| self.act_of(&operator));
            let ports = self.0.ports.clone();
            let tell = move |_: &Receipt| ports.values().for_each(|port| port.pause_bus(paused));
            let change = Change::Keep { shelf: Shelf::Bus, name: BUS_SWITCH.to_owned(), value };
            self.act_and_tell(change, fact, tell).await?;
        }
        self.bus().await
    }

    /// Pauses the whole bus and waits until nothing runs, at most so long. The answer says what still runs.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn drain_bus(&self, patience: Duration, operator: Operator) -> Result<BusView, QueryError> {
        self.pause_bus(true, operator).await?;
        let drained = async {
            for port in self.0.ports.values() {
                port.drained().await;
            }
        };
        // Who waits no longer is told what runs still.
        let _in_time = tokio::time::timeout(patience, drained).await.is_ok();
        self.bus().await
    }

    /// Pauses a subscription and waits until nothing of it runs, at most so long. The answer says what still
    /// runs.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn drain(
        &self,
        name: &str,
        patience: Duration,
        operator: Operator,
    ) -> Result<SubscriptionView, QueryError> {
        self.pause(name, true, operator).await?;
        if let Some(port) = self.0.ports.values().find(|port| &*port.name == name) {
            let _in_time = tokio::time::timeout(patience, port.drained()).await.is_ok();
        }
        self.subscription(name).await
    }

    /// Lets everything of a key wait, in order, until a person resumes it; durably. What runs, runs to its
    /// end. Doing it twice is doing it once.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] for an unknown subscription; [`QueryError::Refused`] when it knows no keys.
    pub async fn park_key(
        &self,
        subscription: &str,
        key: &str,
        operator: Operator,
    ) -> Result<ParkedKeyView, QueryError> {
        let port = self.ordered(subscription).await?;
        if port.holder_of(key) != Some(Holder::Hand) {
            let value = Some(self.act_of(&operator));
            self.keep_key(port, key, value, operator).await?;
        }
        let (name, key) = (subscription.to_owned(), key.to_owned());
        self.read(move |inner| inner.parked_key(&inner.named(&name)?, &key)).await
    }

    /// Lets a key that a person has parked go on where it stood. Answers with what holds it still, if a dead
    /// letter does.
    ///
    /// # Errors
    /// [`QueryError::NotFound`] for an unknown subscription; [`QueryError::Refused`] when nobody has parked
    /// the key.
    pub async fn resume_key(
        &self,
        subscription: &str,
        key: &str,
        operator: Operator,
    ) -> Result<Option<ParkedKeyView>, QueryError> {
        let port = self.ordered(subscription).await?;
        match port.holder_of(key) {
            Some(Holder::Hand) => self.keep_key(port.clone(), key, None, operator).await?,
            Some(Holder::DeadLetter(_)) => {
                let why = format!(
                    "key {key:?} of {subscription} waits behind a dead letter; retry, skip or settle that one"
                );
                return Err(QueryError::Refused { why });
            }
            None => {
                let why = format!("key {key:?} of {subscription} is not parked; nothing was to be resumed");
                return Err(QueryError::Refused { why });
            }
        }
        if port.holder_of(key).is_none() {
            return Ok(None);
        }
        let (name, key) = (subscription.to_owned(), key.to_owned());
        self.read(move |inner| inner.parked_key(&inner.named(&name)?, &key).map(Some)).await
    }

    /// A page of the keys that wait for a person, by hand or behind a dead letter, by key.
    ///
    /// # Errors
    /// [`QueryError::NotFound`].
    pub async fn parked_keys(
        &self,
        subscription: &str,
        cursor: Option<String>,
        limit: usize,
    ) -> Result<Page<ParkedKeyView>, QueryError> {
        let name = subscription.to_owned();
        self.read(move |inner| inner.parked_keys(&name, cursor.as_deref(), limit)).await
    }

    /// Takes away what the next start would hold against the deliveries that run: the process ends well.
    pub(crate) async fn ends_well(&self) {
        let forget =
            |port: Port| Change::Keep { shelf: Shelf::Suspect, name: port.name.to_string(), value: None };
        let changes: Vec<Change> = self.0.ports.values().map(forget).collect();
        if changes.is_empty() {
            return;
        }
        // When the store has failed, the end is none of the good ones.
        drop(self.0.submitter.commit_then(changes, |_| {}).await);
    }

    async fn keep_key(
        &self,
        port: Port,
        key: &str,
        value: Option<bytes::Bytes>,
        operator: Operator,
    ) -> Result<(), QueryError> {
        let parked = value.is_some();
        let (name, subscription) = (parked_prefix(&port.name) + key, port.name.to_string());
        let fact = if parked { "tidegate.key.parked" } else { "tidegate.key.resumed" };
        let fact = operator.fact(fact, &subscription, json!({ "subscription": subscription, "key": key }));
        let told = key.to_owned();
        let tell = move |receipt: &Receipt| {
            if applied(receipt) {
                port.park_key(&told, parked);
            }
        };
        let change = Change::Keep { shelf: Shelf::ParkedKey, name, value };
        let receipt = self.act_and_tell(change, fact, tell).await?;
        if applied(&receipt) {
            return Ok(());
        }
        let why = "the key is too long to be parked; 900 bytes are taken".to_owned();
        Err(QueryError::Refused { why })
    }

    /// The port of a subscription that knows keys.
    async fn ordered(&self, subscription: &str) -> Result<Port, QueryError> {
        let name = subscription.to_owned();
        let record = self.read(move |inner| inner.named(&name)).await?;
        let Some(port) = self.0.ports.get(&record.id) else {
            let why =
                format!("subscription {subscription} is orphaned: it runs nothing; wire it again first");
            return Err(QueryError::Refused { why });
        };
        if port.order == Order::None {
            let why = format!(
                "subscription {subscription} has `order = \"none\"`, so no key can hold; pause the subscription"
            );
            return Err(QueryError::Refused { why });
        }
        Ok(port)
    }

    fn act_of(&self, operator: &Operator) -> bytes::Bytes {
        let act = Act { by: operator.by.clone(), reason: operator.reason.clone(), since: self.0.clock.now() };
        serde_json::to_vec(&act).unwrap_or_default().into()
    }
}

impl Inner {
    fn bus_act(&self) -> Result<Option<Act>, QueryError> {
        let value = self.reader.kept_one(Shelf::Bus, BUS_SWITCH)?;
        // That it is there is the switch; who wrote it is only told.
        Ok(value.map(|value| read_act(&value)))
    }

    /// Whether a person has paused the whole bus.
    pub(super) fn is_bus_paused(&self) -> Result<bool, QueryError> {
        Ok(self.reader.kept_one(Shelf::Bus, BUS_SWITCH)?.is_some())
    }

    fn bus_view(&self) -> Result<BusView, QueryError> {
        let records = self.reader.subscriptions()?;
        let act = self.bus_act()?;
        let state = match self.health.readiness() {
            Readiness::Draining => "draining",
            Readiness::Unhealthy { .. } => "broken",
            Readiness::Ready | Readiness::Starting if act.is_some() => "paused",
            Readiness::Ready | Readiness::Starting => "running",
        };
        Ok(BusView {
            state: state.to_owned(),
            inflight: self.ports.values().map(|port| port.inflight() as u64).sum(),
            backlog: records.iter().map(|record| record.backlog).sum(),
            dead: records.iter().map(|record| record.dead).sum(),
            paused_by: act.as_ref().map(|act| act.by.clone()),
            reason: act.as_ref().map(|act| act.reason.clone()),
            since: act.map(|act| timestamp(act.since)),
        })
    }

    fn parked_key(&self, record: &SubscriptionRecord, key: &str) -> Result<ParkedKeyView, QueryError> {
        let name = parked_prefix(&record.name) + key;
        let act = self.reader.kept_one(Shelf::ParkedKey, &name)?.map(|value| read_act(&value));
        let port = self.ports.get(&record.id);
        let letter = match port.and_then(|port| port.letter_of(key)) {
            Some(ordinal) => self.letter_at(record, ordinal)?,
            None => None,
        };
        if act.is_none() && letter.is_none() {
            return Err(QueryError::NotFound { what: format!("parked key {key:?} of {}", record.name) });
        }
        let since = act.as_ref().map(|act| act.since).or(letter.as_ref().map(|(_, since)| *since));
        Ok(ParkedKeyView {
            subscription: record.name.clone(),
            key: key.to_owned(),
            by_hand: act.is_some(),
            behind: letter.map(|(id, _)| id),
            since: timestamp(since.unwrap_or_default()),
            by: act.as_ref().map(|act| act.by.clone()),
            reason: act.map(|act| act.reason),
            waiting: self.reader.deferred_count(record.id, key, WAITING_COUNTED)? as u64,
        })
    }

    /// The id of the dead letter at a place of the queue, and since when it is one.
    fn letter_at(
        &self,
        record: &SubscriptionRecord,
        ordinal: Ordinal,
    ) -> Result<Option<(String, Timestamp)>, QueryError> {
        let Some(delivery) = self.reader.delivery(record.id, ordinal)? else { return Ok(None) };
        let letter = self.reader.dead_letter(record.id, delivery.seq)?;
        Ok(letter.map(|letter| (dead_letter_id(&record.name, letter.seq), letter.since)))
    }

    fn parked_keys(
        &self,
        subscription: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<ParkedKeyView>, QueryError> {
        let record = self.named(subscription)?;
        let after = cursor.map(|cursor| {
            let key = cursor.strip_prefix('=');
            key.ok_or_else(|| QueryError::BadCursor { cursor: cursor.to_owned() })
        });
        let after = after.transpose()?;
        let mut keys = BTreeSet::new();
        let prefix = parked_prefix(subscription);
        let mut from: Option<String> = after.map(|key| format!("{prefix}{key}"));
        loop {
            let page = self.reader.kept(Shelf::ParkedKey, &prefix, from.as_deref(), PAGE)?;
            from = page.last().map(|(name, _)| name.clone());
            let is_last = page.len() < PAGE;
            let by_hand = page.iter().filter_map(|(name, _)| name.strip_prefix(&prefix));
            keys.extend(by_hand.map(str::to_owned));
            if is_last || keys.len() > limit {
                break;
            }
        }
        let behind = self.ports.get(&record.id).map(|port| port.keys_behind_letters()).unwrap_or_default();
        let behind = behind.into_iter().map(|(key, _)| key);
        keys.extend(behind.filter(|key| after.is_none_or(|after| key.as_str() > after)));
        let mut items = Vec::new();
        let mut next = None;
        for key in keys {
            if items.len() == limit {
                next = items.last().map(|last: &ParkedKeyView| format!("={}", last.key));
                break;
            }
            match self.parked_key(&record, &key) {
                Ok(view) => items.push(view),
                // Released since.
                Err(QueryError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Page { items, next })
    }
}

fn read_act(value: &[u8]) -> Act {
    let unknown = Act { by: String::new(), reason: String::new(), since: Timestamp(0) };
    serde_json::from_slice(value).unwrap_or(unknown)
}
