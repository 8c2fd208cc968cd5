//! Unheard: events that nobody listened to, and those that a filter has kept out. Both are counted and listed
//! as long as their status is there.

use std::sync::Arc;

use bytes::Bytes;

use super::{EventMore, EventRow, View, keys};
use crate::store::{EventRecord, Seq, StoreError, SubscriptionId};

impl EventMore {
    /// The last replay of the delivery to a subscription; 0 for none.
    pub(super) fn generation(&self, id: SubscriptionId) -> u32 {
        self.generations.iter().find(|(of, _)| *of == id).map_or(0, |(_, generation)| *generation)
    }
}

impl EventRow {
    /// The record with what stands beside it in the row.
    pub(super) fn into_record(self) -> EventRecord {
        let Self { mut record, more, .. } = self;
        for delivery in &mut record.deliveries {
            delivery.generation = more.generation(delivery.subscription);
        }
        EventRecord { filtered: more.filtered, ..record }
    }

    /// Whether nobody listens to its name.
    fn is_unrouted(&self) -> bool {
        let is_told_to_nobody = self.record.deliveries.is_empty() && self.more.filtered.is_empty();
        is_told_to_nobody && !self.record.name.is_reserved()
    }
}

impl View {
    /// Notes who does not get a new event.
    pub(super) fn note_unheard(&mut self, row: &mut EventRow, filtered: &[SubscriptionId]) {
        let seq = row.record.seq;
        for id in filtered {
            // One event of one subscription is counted once, and a subscription that gets it is none of them.
            let is_known = row.more.filtered.contains(id)
                || row.record.deliveries.iter().any(|delivery| delivery.subscription == *id);
            if let Some(subscription) = self.subscriptions.get_mut(id).filter(|_| !is_known) {
                subscription.more.filtered += 1;
                row.more.filtered.push(*id);
                self.rows.put(keys::filtered(*id, seq).bytes(), Bytes::new());
            }
        }
        if row.is_unrouted() {
            self.head.more.unrouted += 1;
            self.rows.put(keys::unrouted(seq).bytes(), Bytes::new());
        }
    }

    /// Notes that a subscription gets an event after all; the counts stay, for they tell what has happened.
    pub(super) fn note_heard(&mut self, row: &mut EventRow, id: SubscriptionId) {
        let seq = row.record.seq;
        if row.more.filtered.contains(&id) {
            row.more.filtered.retain(|other| *other != id);
            self.rows.delete(keys::filtered(id, seq).bytes());
        } else if row.more.filtered.is_empty() && row.record.deliveries.len() <= 1 {
            self.rows.delete(keys::unrouted(seq).bytes());
        }
    }

    /// Takes an event whose status is gone out of the lists.
    pub(super) fn forget_unheard(&mut self, row: &EventRow) {
        let seq = row.record.seq;
        for id in &row.more.filtered {
            self.rows.delete(keys::filtered(*id, seq).bytes());
        }
        if row.is_unrouted() {
            self.rows.delete(keys::unrouted(seq).bytes());
        }
    }

    /// Events that nobody listened to since the beginning.
    pub(in crate::store) fn unrouted_total(&self) -> u64 {
        self.head.more.unrouted
    }

    /// Up to `limit` events before `before` that a subscription's filter has kept out, or nobody listened to.
    pub(in crate::store) fn unheard(
        &self,
        id: Option<SubscriptionId>,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let all = id.map_or_else(keys::unrouteds, keys::filtereds);
        let from = match before {
            Some(Seq(0)) => return Ok(Vec::new()),
            Some(before) => {
                let first = Seq(before.0 - 1);
                id.map_or_else(|| keys::unrouted(first), |id| keys::filtered(id, first))
            }
            None => all.clone(),
        };
        let mut found = Vec::new();
        for (key, _) in self.rows.scan(&from.bytes(), &all.end(), limit)? {
            if let Some(number) = keys::last_u64(&key) {
                found.extend(self.event(Seq(!number))?);
            }
        }
        Ok(found)
    }

    /// Up to `limit` events from `from` on, in order.
    pub(in crate::store) fn events_from(
        &self,
        from: Seq,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let rows = self.scan_events(from, Seq(u64::MAX), limit)?;
        Ok(rows.into_iter().map(|row| Arc::unwrap_or_clone(row).into_record()).collect())
    }
}
