//! Pending deliveries: those with a row of their own, and the indexes over them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::View;
use super::keys::{self, Key};
use crate::event::Timestamp;
use crate::store::{DeadReason, Ordinal, Pending, PendingState, Seq, StoreError, SubscriptionId};

/// Rows read at a time when many have to be passed over.
const PAGE: usize = 256;

/// A delivery with a row of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingRow {
    pub(super) seq: Seq,
    pub(super) key: String,
    pub(super) state: RowState,
    /// When it became ready, where that is not the event's time of acknowledgement.
    pub(super) ready: Option<Timestamp>,
}

/// Why it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RowState {
    /// Waits for a retry or a snooze.
    Waiting { due: Timestamp },
    /// Stands behind its key.
    Deferred,
    /// A dead letter.
    Dead { reason: DeadReason, parks: bool, since: Timestamp },
    /// A person had it tried again; its key's deferred ones go on waiting for it.
    Repaired,
    /// Ready from the beginning, lagging far behind the others.
    Spilled,
}

/// An open delivery: its event, and its row when it has one.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) seq: Seq,
    pub(super) pending: Option<PendingRow>,
}

impl Standing {
    pub(super) fn is_dead(&self) -> bool {
        self.pending.as_ref().is_some_and(|row| matches!(row.state, RowState::Dead { .. }))
    }
}

impl PendingRow {
    pub(super) fn spilled(seq: Seq) -> Self {
        Self { seq, key: String::new(), state: RowState::Spilled, ready: None }
    }

    /// The index rows that belong to it.
    fn indexes(&self, id: SubscriptionId, ordinal: Ordinal) -> Vec<Key> {
        let blocker = || keys::blocker(id, &self.key, ordinal);
        match self.state {
            RowState::Waiting { .. } => vec![blocker()],
            RowState::Deferred => vec![keys::deferred(id, &self.key, ordinal)],
            RowState::Dead { parks: true, .. } => vec![keys::dead(id, self.seq), blocker()],
            RowState::Dead { parks: false, .. } => vec![keys::dead(id, self.seq)],
            RowState::Repaired => vec![keys::ready(id, ordinal), blocker()],
            RowState::Spilled => vec![keys::ready(id, ordinal)],
        }
    }
}

impl View {
    /// Replaces the row of an open delivery by `new`, or takes it away: then the delivery is settled.
    pub(super) fn move_pending(
        &mut self,
        id: SubscriptionId,
        ordinal: Ordinal,
        old: Option<&PendingRow>,
        new: Option<&PendingRow>,
    ) -> Result<(), StoreError> {
        for key in old.map_or_else(Vec::new, |row| row.indexes(id, ordinal)) {
            self.rows.delete(key.bytes());
        }
        match (old, new) {
            (_, Some(row)) => self.write_pending(id, ordinal, row)?,
            (Some(_), None) => self.rows.delete(keys::pending(id, ordinal).bytes()),
            (None, None) => {}
        }
        if old.is_none() { self.mark_handled(id, ordinal) } else { Ok(()) }
    }

    pub(super) fn write_pending(
        &mut self,
        id: SubscriptionId,
        ordinal: Ordinal,
        row: &PendingRow,
    ) -> Result<(), StoreError> {
        for key in row.indexes(id, ordinal) {
            self.rows.put(key.bytes(), Bytes::copy_from_slice(&ordinal.0.to_be_bytes()));
        }
        self.put(keys::pending(id, ordinal), row)
    }

    /// The dead letter of an event in a subscription.
    pub(super) fn dead_ordinal(&self, id: SubscriptionId, seq: Seq) -> Result<Option<Ordinal>, StoreError> {
        let value = self.rows.get(&keys::dead(id, seq).bytes())?;
        Ok(value.and_then(|value| keys::last_u64(&value)).map(Ordinal))
    }

    /// Up to `limit` ordinals over `after` that have a row and can be attempted, in order.
    pub(super) fn ready_rows(
        &self,
        id: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Ordinal>, StoreError> {
        let from = keys::ready(id, next(after)).bytes();
        self.ordinals(&from, &keys::readies(id).end(), limit)
    }

    /// Up to `limit` deferred ordinals of `key`, in order.
    pub(super) fn deferred_rows(
        &self,
        id: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Ordinal>, StoreError> {
        let deferreds = keys::deferreds(id, key);
        self.ordinals(&deferreds.clone().bytes(), &deferreds.end(), limit)
    }

    /// Up to `limit` deliveries that the deferred ones of `key` wait for, in order.
    pub(in crate::store) fn holders(
        &self,
        id: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let blockers = keys::blockers(id, key);
        let mut found = Vec::new();
        for ordinal in self.ordinals(&blockers.clone().bytes(), &blockers.end(), limit)? {
            let row: Option<PendingRow> = self.get(&keys::pending(id, ordinal))?;
            let Some(PendingRow { seq, key, state, .. }) = row else { continue };
            let state = match state {
                RowState::Waiting { due } => PendingState::Waiting { due },
                RowState::Dead { parks, .. } => PendingState::Dead { parks },
                RowState::Deferred | RowState::Repaired | RowState::Spilled => PendingState::Deferred,
            };
            found.push(Pending { ordinal, seq, key, failures: 0, state });
        }
        Ok(found)
    }

    /// Up to `limit` deferred ordinals of `key` over `after`, in order.
    pub(super) fn deferred_after(
        &self,
        id: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Ordinal>, StoreError> {
        let from = keys::deferred(id, key, next(after)).bytes();
        self.ordinals(&from, &keys::deferreds(id, key).end(), limit)
    }

    /// What a subscription has to know when it starts, after `after`.
    pub(in crate::store) fn pending(
        &self,
        id: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let mut found = Vec::new();
        let mut at = after;
        while found.len() < limit {
            let page = self.pending_rows(id, at, PAGE)?;
            let Some((last, _)) = page.last() else { break };
            at = *last;
            for (ordinal, row) in page {
                let state = match row.state {
                    RowState::Waiting { due } => PendingState::Waiting { due },
                    RowState::Dead { parks, .. } => PendingState::Dead { parks },
                    RowState::Deferred if self.is_first_deferred(id, &row.key, ordinal)? => {
                        PendingState::Deferred
                    }
                    RowState::Deferred | RowState::Repaired | RowState::Spilled => continue,
                };
                let failures = match state {
                    PendingState::Waiting { .. } => self.failures_of(id, row.seq)?,
                    PendingState::Deferred | PendingState::Dead { .. } => 0,
                };
                found.push(Pending { ordinal, seq: row.seq, key: row.key, failures, state });
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    fn failures_of(&self, id: SubscriptionId, seq: Seq) -> Result<u32, StoreError> {
        let event = self.event_row(seq)?;
        let delivery = event.iter().flat_map(|event| &event.record.deliveries).find(|d| d.subscription == id);
        Ok(delivery.map_or(0, |delivery| delivery.failures))
    }

    /// The first open delivery with a row that is not dead.
    pub(super) fn first_undead(&self, id: SubscriptionId) -> Result<Option<Seq>, StoreError> {
        let mut at = Ordinal(0);
        loop {
            let page = self.pending_rows(id, at, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            at = *last;
            let undead = page.iter().find(|(_, row)| !matches!(row.state, RowState::Dead { .. }));
            if let Some((_, row)) = undead {
                return Ok(Some(row.seq));
            }
        }
    }

    fn pending_rows(
        &self,
        id: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<(Ordinal, PendingRow)>, StoreError> {
        let from = keys::pending(id, next(after)).bytes();
        let rows = self.rows.scan(&from, &keys::pendings(id).end(), limit)?;
        let mut found = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let row = self.decode(&key, &value)?;
            found.extend(keys::last_u64(&key).map(|ordinal| (Ordinal(ordinal), row)));
        }
        Ok(found)
    }

    fn is_first_deferred(&self, id: SubscriptionId, key: &str, ordinal: Ordinal) -> Result<bool, StoreError> {
        let all = keys::deferreds(id, key);
        Ok(self.ordinals(&all.clone().bytes(), &all.end(), 1)?.first() == Some(&ordinal))
    }

    fn ordinals(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Ordinal>, StoreError> {
        let rows = self.rows.scan(from, to, limit)?;
        Ok(rows.iter().filter_map(|(key, _)| keys::last_u64(key)).map(Ordinal).collect())
    }
}

const fn next(ordinal: Ordinal) -> Ordinal {
    Ordinal(ordinal.0.saturating_add(1))
}
