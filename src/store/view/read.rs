//! Reads: what readers ask, as far as no payload is needed.

use bytes::Bytes;

use super::flow::FlowHead;
use super::pending::{PendingRow, RowState};
use super::{EventRow, View, groups, keys};
use crate::event::{Envelope, Identity, Timestamp};
use crate::store::{
    DeadLetter, DeliveryRecord, EventRecord, Lookup, Ordinal, Seq, StoreError, SubscriptionId,
    SubscriptionRecord,
};

/// A delivery that can be attempted, before its payload is read.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Candidate {
    pub(in crate::store) ordinal: Ordinal,
    pub(in crate::store) seq: Seq,
    /// When it became ready, where that is not when the event did.
    pub(in crate::store) ready: Option<Timestamp>,
    pub(in crate::store) failures: u32,
    pub(in crate::store) attempts: u32,
    /// A person has had it tried again.
    pub(in crate::store) retried: bool,
    /// The replay that it belongs to; 0 for none.
    pub(in crate::store) generation: u32,
}

/// Whether the flow of an event rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Rest {
    /// There is no bookkeeping of the event: it has expired, or its row is lost ([`View::must_be_there`] tells the two apart).
    Gone,
    /// Something of it is open.
    Open,
    /// It does.
    Since(Timestamp),
}

/// What is left of an event that has no bookkeeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Trace {
    /// Nothing misses it.
    Expired,
    /// There is no flow of that name, so no event of it that was stored until now is missed.
    Gone,
    /// Its flow is there and has it still.
    Missed,
}

impl View {
    /// All subscriptions in the order of their ids.
    pub(in crate::store) fn subscription_records(&self) -> Result<Vec<SubscriptionRecord>, StoreError> {
        let mut records = Vec::with_capacity(self.subscriptions.len());
        for (id, subscription) in &self.subscriptions {
            records.push(SubscriptionRecord {
                id: *id,
                name: subscription.name.clone(),
                step: subscription.step.clone(),
                on: subscription.on.clone(),
                orphaned: subscription.is_orphaned,
                paused: subscription.is_paused,
                backlog: subscription.backlog,
                dead: subscription.dead,
                oldest: self.oldest(*id)?,
                settles: subscription.more.settles,
                filtered: subscription.more.filtered,
                generation: subscription.more.generation,
                replayed: subscription.more.replayed,
            });
        }
        Ok(records)
    }

    fn oldest(&self, id: SubscriptionId) -> Result<Option<Timestamp>, StoreError> {
        let unhandled = self.subscriptions.get(&id).and_then(|queue| queue.unhandled(0, 1).first().copied());
        let fresh = unhandled.map_or(Ok(None), |ordinal| self.seq_at(id, ordinal))?;
        let mut oldest = None;
        for seq in [fresh, self.first_undead(id)?].into_iter().flatten() {
            let acknowledged = self.event_row(seq)?.map(|row| row.record.acknowledged);
            oldest = [oldest, acknowledged].into_iter().flatten().min();
        }
        Ok(oldest)
    }

    /// Finds an event by its identity.
    pub(in crate::store) fn find(&self, identity: Identity) -> Result<Lookup, StoreError> {
        let Some(seen) = self.seen(identity)? else { return Ok(Lookup::Unknown) };
        let is_there = self.event_row(seen.seq)?.is_some();
        Ok(if is_there { Lookup::Known(seen.seq) } else { Lookup::Forgotten })
    }

    /// An event's bookkeeping.
    pub(in crate::store) fn event(&self, seq: Seq) -> Result<Option<EventRecord>, StoreError> {
        Ok(self.event_copy(seq)?.map(EventRow::into_record))
    }

    /// Whether the flow of an event rests: once it has for long enough, nothing needs its payload any more.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when its flow is gone: the two go together.
    pub(in crate::store) fn rest_of(&self, seq: Seq) -> Result<Rest, StoreError> {
        let Some(row) = self.event_row(seq)? else { return Ok(Rest::Gone) };
        let flow = &row.record.flow;
        let head = self.flow_of(&row)?.ok_or_else(|| self.lost_flow(seq, flow))?;
        Ok(head.rest_since.map_or(Rest::Open, Rest::Since))
    }

    /// Whether the bookkeeping of an event of this flow must be there, since its flow has not expired.
    pub(in crate::store) fn must_be_there(&self, seq: Seq, flow: &str) -> Result<bool, StoreError> {
        self.flow_head(flow)?.map_or(Ok(false), |head| self.misses(&head, seq))
    }

    /// As [`View::must_be_there`], for whoever asks of very many that have mostly expired.
    ///
    /// An event that names its flow is looked for where a flow stands that began with it, beside its neighbours; names stand in no
    /// order, and each would be a page of its own. Not noticed then: the loss of one that was published again when its id
    /// was forgotten already, and joined the flow of its name that another event had begun.
    pub(in crate::store) fn trace(&self, seq: Seq, event: &Envelope) -> Result<Trace, StoreError> {
        let names = event.names_its_flow();
        let head = match self.held_flow(&event.flow) {
            Some(held) => held.as_deref().cloned(),
            None if names => self.stored_flow_at(seq)?,
            None => self.stored_flow(&event.flow)?,
        };
        let Some(head) = head else { return Ok(if names { Trace::Expired } else { Trace::Gone }) };
        Ok(if self.misses(&head, seq)? { Trace::Missed } else { Trace::Expired })
    }

    /// Whether an event that has no bookkeeping belongs to a flow of its name.
    fn misses(&self, head: &FlowHead, seq: Seq) -> Result<bool, StoreError> {
        // A flow that began later has the name of one that has expired.
        if head.more.first > seq {
            return Ok(false);
        }
        if head.first_event().is_some() {
            return Ok(true);
        }
        // It expires in slices, the first events first.
        let mut is_listed = false;
        self.each_of_flow(head, |listed| {
            is_listed = listed == seq;
            Ok(listed < seq)
        })?;
        Ok(is_listed)
    }

    /// Up to `limit` deliveries over `after` that are ready, in order, deferred ones left out.
    pub(in crate::store) fn queue(
        &self,
        id: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        let Some(queue) = self.subscriptions.get(&id) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for ordinal in self.ready_rows(id, after, limit)? {
            found.extend(self.candidate(id, ordinal)?);
        }
        let fresh = self.seqs_at(id, &queue.unhandled(after.0, limit))?;
        found.extend(fresh.into_iter().map(|(ordinal, seq)| fresh_candidate(ordinal, seq)));
        found.sort_unstable_by_key(|candidate| candidate.ordinal);
        found.truncate(limit);
        Ok(found)
    }

    /// Up to `limit` deferred deliveries of `key` that wait for nothing else, in order.
    pub(in crate::store) fn deferred(
        &self,
        id: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Candidate>, StoreError> {
        let mut found = Vec::new();
        for ordinal in self.deferred_rows(id, key, limit)? {
            found.extend(self.candidate(id, ordinal)?);
        }
        Ok(found)
    }

    /// Deferred deliveries of `key`, counted up to `limit`.
    pub(in crate::store) fn deferred_count(
        &self,
        id: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<usize, StoreError> {
        Ok(self.deferred_rows(id, key, limit)?.len())
    }

    /// One delivery that is not settled for good.
    pub(in crate::store) fn candidate(
        &self,
        id: SubscriptionId,
        ordinal: Ordinal,
    ) -> Result<Option<Candidate>, StoreError> {
        let Some(standing) = self.standing(id, ordinal)? else { return Ok(None) };
        let Some(row) = standing.pending else { return Ok(Some(fresh_candidate(ordinal, standing.seq))) };
        let event = self.event_row(row.seq)?;
        let delivery = event.iter().flat_map(|event| &event.record.deliveries).find(|d| d.subscription == id);
        let (failures, attempts) = delivery.map_or((0, 0), |delivery| (delivery.failures, delivery.attempts));
        let retried = delivery.is_some_and(was_retried);
        let generation = event.map_or(0, |event| event.more.generation(id));
        Ok(Some(Candidate {
            ordinal,
            seq: row.seq,
            ready: row.ready,
            failures,
            attempts,
            retried,
            generation,
        }))
    }

    /// A key's state.
    pub(in crate::store) fn state(&self, id: SubscriptionId, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(&keys::state(id, key).bytes())
    }

    /// The journaled results of a delivery.
    pub(in crate::store) fn effects(
        &self,
        id: SubscriptionId,
        seq: Seq,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let all = keys::effects(id, seq);
        let rows = self.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)?;
        let mut found: Vec<(String, Bytes)> =
            rows.iter().map(|(key, value)| self.decode(key, value)).collect::<Result<_, _>>()?;
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    /// Up to `limit` dead letters after `after`.
    pub(in crate::store) fn dead_letters(
        &self,
        id: Option<SubscriptionId>,
        after: Option<(SubscriptionId, Seq)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let all = id.map_or_else(keys::all_dead, keys::deads);
        let start = after.map(|(id, seq)| keys::dead(id, Seq(seq.0.saturating_add(1))).bytes());
        let from = start.unwrap_or_default().max(all.clone().bytes());
        let mut found = Vec::new();
        for (key, _) in self.rows.scan(&from, &all.end(), limit)? {
            if let (Some(id), Some(seq)) = (keys::subscription_of(&key), keys::last_u64(&key)) {
                found.extend(self.dead_letter(id, Seq(seq))?);
            }
        }
        Ok(found)
    }

    /// One dead letter.
    pub(in crate::store) fn dead_letter(
        &self,
        id: SubscriptionId,
        seq: Seq,
    ) -> Result<Option<DeadLetter>, StoreError> {
        let Some(ordinal) = self.dead_ordinal(id, seq)? else { return Ok(None) };
        let row: Option<PendingRow> = self.get(&keys::pending(id, ordinal))?;
        let (Some(row), Some(event)) = (row, self.event(seq)?) else { return Ok(None) };
        let RowState::Dead { reason, parks, since } = row.state else { return Ok(None) };
        let delivery = event.deliveries.iter().find(|delivery| delivery.subscription == id);
        let (attempts, error) =
            delivery.map_or((0, None), |delivery| (delivery.attempts, delivery.error.clone()));
        let group = match self.member_of(id, seq)? {
            Some(group) => group,
            None => self.group_of(id, reason, &groups::normalised(error.as_deref().unwrap_or_default())),
        };
        Ok(Some(DeadLetter {
            subscription: id,
            seq,
            ordinal,
            key: row.key,
            reason,
            attempts,
            error: error.unwrap_or_default(),
            since,
            parks,
            group,
            event,
        }))
    }

    /// Up to `limit` delayed events due at `until`, and when the next one after those is due.
    pub(in crate::store) fn due(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<(Vec<Seq>, Option<Timestamp>), StoreError> {
        let all = keys::delayeds();
        let rows = self.rows.scan(&all.clone().bytes(), &all.end(), limit.saturating_add(1))?;
        let mut found = Vec::new();
        for (key, _) in rows {
            let Some(due) = key.get(1..9).and_then(keys::last_u64) else { continue };
            if due > until.0 || found.len() == limit {
                return Ok((found, Some(Timestamp(due))));
            }
            found.extend(keys::last_u64(&key).map(Seq));
        }
        Ok((found, None))
    }
}

const fn fresh_candidate(ordinal: Ordinal, seq: Seq) -> Candidate {
    Candidate { ordinal, seq, ready: None, failures: 0, attempts: 0, retried: false, generation: 0 }
}

/// Whether a person has had a delivery tried again, as far back as its history goes.
fn was_retried(delivery: &DeliveryRecord) -> bool {
    delivery.history.iter().any(|attempt| attempt.outcome.starts_with("retried"))
}
