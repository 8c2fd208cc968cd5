//! Check: whether rows that stand for the same thing agree. For verification; nothing here changes a row.

use super::pending::{PendingRow, RowState};
use super::{EventRow, View, keys};
use crate::store::{DeliveryRecord, DeliveryState, EventRecord, Ordinal, Seq, StoreError, SubscriptionId};

/// A delivery that is not settled, as its queue has it.
#[derive(Debug, Clone)]
pub(in crate::store) struct OpenDelivery {
    pub(in crate::store) subscription: SubscriptionId,
    pub(in crate::store) ordinal: Ordinal,
    pub(in crate::store) seq: Seq,
    /// What stands in its own row; `None` when it has none.
    state: Option<RowState>,
}

impl OpenDelivery {
    pub(in crate::store) fn is_dead(&self) -> bool {
        matches!(self.state, Some(RowState::Dead { .. }))
    }
}

impl View {
    /// Up to `limit` open deliveries over `after`, in order, whatever they wait for.
    pub(in crate::store) fn open_deliveries(
        &self,
        id: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<OpenDelivery>, StoreError> {
        let Some(queue) = self.subscriptions.get(&id) else { return Ok(Vec::new()) };
        let fresh = self.seqs_at(id, &queue.unhandled(after.0, limit))?;
        let open = |ordinal, seq, state| OpenDelivery { subscription: id, ordinal, seq, state };
        let mut found: Vec<OpenDelivery> =
            fresh.into_iter().map(|(ordinal, seq)| open(ordinal, seq, None)).collect();
        let from = keys::pending(id, Ordinal(after.0.saturating_add(1))).bytes();
        for (key, value) in self.rows.scan(&from, &keys::pendings(id).end(), limit)? {
            let row: PendingRow = self.decode(&key, &value)?;
            let ordinal = Ordinal(keys::last_u64(&key).unwrap_or_default());
            found.push(open(ordinal, row.seq, Some(row.state)));
        }
        found.sort_unstable_by_key(|open| open.ordinal);
        found.truncate(limit);
        Ok(found)
    }

    /// Whether it is open still: it may have been settled since it was listed.
    pub(in crate::store) fn stands_still(&self, open: &OpenDelivery) -> Result<bool, StoreError> {
        let standing = self.standing(open.subscription, open.ordinal)?;
        Ok(standing.is_some_and(|standing| standing.seq == open.seq))
    }

    /// What is wrong with an open delivery; `None` when its event knows it.
    pub(in crate::store) fn wrong_with(&self, open: &OpenDelivery) -> Result<Option<String>, StoreError> {
        let Some(event) = self.event_row(open.seq)? else {
            return Ok(Some("its event has no bookkeeping".to_owned()));
        };
        let of = |delivery: &&DeliveryRecord| delivery.subscription == open.subscription;
        let Some(delivery) = event.record.deliveries.iter().find(of) else {
            return Ok(Some("its event does not know that it was routed there".to_owned()));
        };
        let agrees = delivery.ordinal == Some(open.ordinal)
            && match (&delivery.state, open.state) {
                (DeliveryState::Ready, None | Some(RowState::Repaired | RowState::Spilled))
                | (DeliveryState::Deferred, Some(RowState::Deferred)) => true,
                (DeliveryState::Waiting { due }, Some(RowState::Waiting { due: at })) => *due == at,
                (DeliveryState::Dead { reason }, Some(RowState::Dead { reason: why, .. })) => *reason == why,
                _ => false,
            };
        let told = || {
            let place = delivery.ordinal.map_or(0, |ordinal| ordinal.0);
            format!(
                "its queue has it at {} as {:?}, its event at {place} as {:?}",
                open.ordinal.0, open.state, delivery.state
            )
        };
        Ok((!agrees).then(told))
    }

    /// What is wrong with an event's bookkeeping: deliveries that say "open" and are in no queue, or the other
    /// way round. One text for each. Its id is not asked for: under pressure one of a flow at rest is forgotten, and
    /// the flow may be open again since.
    pub(in crate::store) fn wrong_with_event(&self, record: &EventRecord) -> Result<Vec<String>, StoreError> {
        let mut wrong = Vec::new();
        let is_delayed = |event: &EventRow| match event.due {
            Some(due) => Ok(self.rows.get(&keys::delayed(due.0, record.seq).bytes())?.is_some()),
            None => Ok::<bool, StoreError>(false),
        };
        for delivery in &record.deliveries {
            if !self.subscriptions.contains_key(&delivery.subscription) {
                continue;
            }
            let id = delivery.subscription.0;
            let Some(ordinal) = delivery.ordinal else {
                let row = self.event_row(record.seq)?;
                if is_open(delivery) && !row.as_deref().map_or(Ok(false), is_delayed)? {
                    wrong.push(format!("it waits for its time for subscription {id}, but no timer has it"));
                }
                continue;
            };
            let standing = self.standing(delivery.subscription, ordinal)?;
            let is_queued = standing.is_some_and(|standing| standing.seq == record.seq);
            if is_open(delivery) && !is_queued {
                wrong.push(format!("it is open for subscription {id}, whose queue does not have it"));
            } else if !is_open(delivery) && is_queued {
                wrong.push(format!("it is settled for subscription {id}, whose queue has it still"));
            }
        }
        Ok(wrong)
    }

    /// Compares a flow's counts with its deliveries; `None` when the event is not the flow's first, so that
    /// each flow is looked at once.
    pub(in crate::store) fn wrong_with_flow(
        &self,
        record: &EventRecord,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let Some(head) = self.flow_head_at(record.seq, &record.flow)? else {
            return Ok(Some(vec![format!("flow {:?} of an event has no head", record.flow)]));
        };
        if head.first_event() != Some(record.seq) {
            return Ok(None);
        }
        let (mut open, mut dead, mut lost) = (0, 0, 0_u64);
        self.each_of_flow(&head, |seq| {
            match self.event_row(seq)? {
                None => lost += 1,
                Some(row) => {
                    let deliveries = row.record.deliveries.iter();
                    open += deliveries.clone().filter(|delivery| is_open(delivery)).count() as u64;
                    dead +=
                        deliveries.filter(|d| matches!(d.state, DeliveryState::Dead { .. })).count() as u64;
                }
            }
            Ok(true)
        })?;
        let mut wrong = Vec::new();
        if self.flow_head(&record.flow)?.is_none_or(|named| named.more.first != head.more.first) {
            wrong.push("it is not found by its text".to_owned());
        }
        if lost > 0 {
            wrong.push(format!("{lost} of its events have no bookkeeping"));
        }
        if (open, dead) != (head.open, head.dead) {
            let counted = format!("it counts {} open and {} dead", head.open, head.dead);
            wrong.push(format!("{counted} deliveries, its events have {open} and {dead}"));
        }
        Ok(Some(wrong))
    }
}

pub(in crate::store) fn is_open(delivery: &DeliveryRecord) -> bool {
    match delivery.state {
        DeliveryState::Ready
        | DeliveryState::Waiting { .. }
        | DeliveryState::Deferred
        | DeliveryState::Dead { .. } => true,
        DeliveryState::Done | DeliveryState::Skipped => false,
    }
}

/// What a row is about, for people.
pub(in crate::store) fn describe(key: &[u8]) -> String {
    let subscription = || keys::subscription_of(key).map_or(0, |id| id.0);
    let number = || keys::last_u64(key).unwrap_or_default();
    match key.first() {
        Some(0x00) => "the stamp of the checkpoint".to_owned(),
        Some(0x01) => "the counters of the whole store".to_owned(),
        Some(0x02) => format!("subscription {} with its queue", subscription()),
        Some(0x10) => "a remembered id (a repeat of it would be taken a second time)".to_owned(),
        Some(0x20) => format!("the bookkeeping of event number {}", number()),
        Some(0x03 | 0x12) => "where flows and remembered ids are looked for".to_owned(),
        Some(0x33 | 0x61) => format!("flow {:?}", text_of(key.get(9..).unwrap_or_default())),
        Some(0x36) => format!("flow {:?}", text_of(key.get(5..).unwrap_or_default())),
        Some(0x3B | 0x3C) => "the name of a flow (it is not found by it)".to_owned(),
        Some(0x37..=0x3A) => {
            let first = key.get(1..9).and_then(keys::last_u64).unwrap_or_default();
            format!("the flow that begins with event number {first}")
        }
        Some(0x30..=0x34) => format!("flow {:?}", text_of(key.get(1..).unwrap_or_default())),
        Some(0x40) => format!("a stretch of the queue of subscription {}", subscription()),
        Some(0x41..=0x45) => format!("a delivery of subscription {}", subscription()),
        Some(0x46 | 0x47) => format!("a group of dead letters of subscription {}", subscription()),
        Some(0x50) => {
            let of = text_of(key.get(5..).unwrap_or_default());
            format!("the state of key {of:?} of subscription {}", subscription())
        }
        Some(0x51 | 0x52) => format!("a journaled result of subscription {}", subscription()),
        Some(0x60) => format!("the timer of event number {}", number()),
        Some(0x70) => format!("where events {} to {} are in the journal", number(), number() + 63),
        Some(0x80) => "a record of the bus's own (a job, a schedule, a pause)".to_owned(),
        Some(0x90 | 0x91) => "an event that nobody heard".to_owned(),
        Some(0xA8) => "a fact of the audit".to_owned(),
        Some(0xC0..=0xC4) => "an index for searches".to_owned(),
        _ => "a row of unknown kind".to_owned(),
    }
}

/// A text as it stands in a key, its length before it; a long one stands there as its digest only.
fn text_of(bytes: &[u8]) -> String {
    let Some((len, rest)) = bytes.split_first_chunk::<2>() else { return String::new() };
    let text = rest.get(..usize::from(u16::from_be_bytes(*len))).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
