//! Queues: which events wait for a subscription, in order, and which of them are taken over.
//!
//! A queue is a run of ordinals. An ordinal is *handled* when its delivery is settled or has a pending row
//! of its own; `low` is the end of the first handled stretch, `done` holds the stretches above it. Both
//! are bounded: when a delivery lags too far behind, it is given a pending row and counts as handled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::grown::Grown;
use super::pending::{PendingRow, Standing};
use super::{EventRow, View, keys};
use crate::store::{Fates, Ordinal, Seq, StoreError, SubscriptionId};

/// Event numbers in a chunk row; the unfinished one stands in the subscription.
const CHUNK: u64 = 256;
/// Stretches above `low` before the oldest hole is spilled.
const STRETCHES_MAX: usize = 1_024;
/// How far `low` may lag behind the last handled ordinal.
const LAG_MAX: u64 = 65_536;

/// A subscription with its queue's meta data, held decoded in memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Subscription {
    pub(super) name: String,
    pub(super) step: String,
    pub(super) on: Vec<String>,
    pub(super) is_orphaned: bool,
    pub(super) is_paused: bool,
    pub(super) backlog: u64,
    pub(super) dead: u64,
    tail: u64,
    low: u64,
    done: BTreeMap<u64, u64>,
    open_chunk: Vec<Seq>,
    #[serde(skip)]
    pub(super) more: SubscriptionMore,
}

/// What version 1 did not have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct SubscriptionMore {
    /// Outcomes recorded so far.
    pub(super) settles: u64,
    /// Events that its `where` has kept out.
    pub(super) filtered: u64,
    /// Replays begun so far.
    pub(super) generation: u32,
    /// What came of the events of the last one.
    pub(super) replayed: Fates,
}

impl Grown for Subscription {
    type More = SubscriptionMore;
    fn more(&self) -> &SubscriptionMore {
        &self.more
    }
    fn more_mut(&mut self) -> &mut SubscriptionMore {
        &mut self.more
    }
}

impl Subscription {
    /// Whether the delivery is settled or has a row of its own.
    fn is_handled(&self, ordinal: u64) -> bool {
        ordinal <= self.low || self.done.range(..=ordinal).next_back().is_some_and(|(_, end)| *end >= ordinal)
    }

    fn mark(&mut self, ordinal: u64) {
        if self.is_handled(ordinal) {
            return;
        }
        let next = ordinal.saturating_add(1);
        let end = self.done.remove(&next).unwrap_or(ordinal);
        match self.done.range_mut(..ordinal).next_back() {
            Some((_, before)) if before.saturating_add(1) == ordinal => *before = end,
            _ => {
                self.done.insert(ordinal, end);
            }
        }
        if let Some(first) = self.done.first_entry()
            && *first.key() == self.low.saturating_add(1)
        {
            self.low = first.remove();
        }
    }

    /// The hole that has to be spilled for the bounds to hold.
    fn overdue(&self) -> Option<u64> {
        let last = self.done.last_key_value().map_or(self.low, |(_, end)| *end);
        let is_over = self.done.len() > STRETCHES_MAX || last.saturating_sub(self.low) > LAG_MAX;
        is_over.then(|| self.low.saturating_add(1))
    }

    /// The last place of its queue.
    pub(super) const fn tail(&self) -> Ordinal {
        Ordinal(self.tail)
    }

    /// Up to `limit` ordinals over `after` that are not handled, in order.
    pub(super) fn unhandled(&self, after: u64, limit: usize) -> Vec<Ordinal> {
        let mut found = Vec::new();
        let mut at = after.max(self.low).saturating_add(1);
        while at <= self.tail && found.len() < limit {
            match self.done.range(..=at).next_back() {
                Some((_, end)) if *end >= at => at = end.saturating_add(1),
                _ => {
                    found.push(Ordinal(at));
                    at = at.saturating_add(1);
                }
            }
        }
        found
    }
}

impl View {
    /// Appends an event to a queue; `None` when there is no such subscription.
    pub(super) fn enqueue(&mut self, id: SubscriptionId, seq: Seq) -> Result<Option<Ordinal>, StoreError> {
        let Some(queue) = self.subscriptions.get_mut(&id) else { return Ok(None) };
        queue.tail += 1;
        queue.backlog += 1;
        queue.open_chunk.push(seq);
        let tail = queue.tail;
        if tail.is_multiple_of(CHUNK) {
            let full = std::mem::take(&mut queue.open_chunk);
            self.put(keys::queue(id, first_of(tail)), &pack(&full))?;
        }
        Ok(Some(Ordinal(tail)))
    }

    /// The event at a place of a queue, as long as the place is not in the first handled stretch.
    pub(super) fn seq_at(&self, id: SubscriptionId, ordinal: Ordinal) -> Result<Option<Seq>, StoreError> {
        Ok(self.seqs_at(id, &[ordinal])?.first().map(|(_, seq)| *seq))
    }

    /// The events at places of a queue, which come in order; reads each chunk once.
    pub(super) fn seqs_at(
        &self,
        id: SubscriptionId,
        ordinals: &[Ordinal],
    ) -> Result<Vec<(Ordinal, Seq)>, StoreError> {
        let Some(queue) = self.subscriptions.get(&id) else { return Ok(Vec::new()) };
        let open_first = queue.tail - queue.open_chunk.len() as u64 + 1;
        let mut chunk = (0, Vec::new());
        let mut found = Vec::with_capacity(ordinals.len());
        for ordinal in ordinals.iter().filter(|ordinal| ordinal.0 > 0 && ordinal.0 <= queue.tail) {
            let seq = if ordinal.0 >= open_first {
                at(&queue.open_chunk, ordinal.0 - open_first)
            } else {
                let first = first_of(ordinal.0);
                if chunk.0 != first {
                    chunk = (first, self.chunk(id, first, queue.low)?);
                }
                at(&chunk.1, ordinal.0 - first)
            };
            found.extend(seq.map(|seq| (*ordinal, seq)));
        }
        Ok(found)
    }

    /// A full chunk of a queue. It is there as long as one of its places is not handled, so one that is not is
    /// damage: without it its deliveries would pass for settled.
    fn chunk(&self, id: SubscriptionId, first: u64, low: u64) -> Result<Vec<Seq>, StoreError> {
        let key = keys::queue(id, first);
        let packed: Option<Vec<u64>> = self.get(&key)?;
        match packed {
            Some(packed) => Ok(unpack(&packed)),
            None if first + CHUNK - 1 > low => Err(self.lost(&key.bytes())),
            None => Ok(Vec::new()),
        }
    }

    /// Where an open delivery stands; `None` when it is settled or was never there.
    pub(super) fn standing(
        &self,
        id: SubscriptionId,
        ordinal: Ordinal,
    ) -> Result<Option<Standing>, StoreError> {
        let Some(queue) = self.subscriptions.get(&id) else { return Ok(None) };
        if queue.is_handled(ordinal.0) {
            let row: Option<PendingRow> = self.get(&keys::pending(id, ordinal))?;
            return Ok(row.map(|row| Standing { seq: row.seq, pending: Some(row) }));
        }
        Ok(self.seq_at(id, ordinal)?.map(|seq| Standing { seq, pending: None }))
    }

    /// As [`View::standing`], where the event is known: its own row tells more cheaply than the queue.
    pub(super) fn standing_of(
        &self,
        id: SubscriptionId,
        ordinal: Ordinal,
        event: &EventRow,
    ) -> Result<Option<Standing>, StoreError> {
        let Some(queue) = self.subscriptions.get(&id) else { return Ok(None) };
        let mut own = event.record.deliveries.iter().filter(|delivery| delivery.subscription == id);
        if !queue.is_handled(ordinal.0) && own.any(|delivery| delivery.ordinal == Some(ordinal)) {
            return Ok(Some(Standing { seq: event.record.seq, pending: None }));
        }
        self.standing(id, ordinal)
    }

    /// Counts a delivery as handled, deletes what the queue needs no more, spills what lags behind.
    pub(super) fn mark_handled(&mut self, id: SubscriptionId, ordinal: Ordinal) -> Result<(), StoreError> {
        self.mark_one(id, ordinal);
        while let Some(hole) = self.subscriptions.get(&id).and_then(Subscription::overdue) {
            let hole = Ordinal(hole);
            if let Some(seq) = self.seq_at(id, hole)? {
                self.write_pending(id, hole, &PendingRow::spilled(seq))?;
            }
            self.mark_one(id, hole);
        }
        Ok(())
    }

    fn mark_one(&mut self, id: SubscriptionId, ordinal: Ordinal) {
        let Some(queue) = self.subscriptions.get_mut(&id) else { return };
        let before = queue.low;
        queue.mark(ordinal.0);
        for chunk in before / CHUNK..queue.low / CHUNK {
            self.rows.delete(keys::queue(id, chunk * CHUNK + 1).bytes());
        }
    }
}

/// The first ordinal of the chunk of `ordinal`.
const fn first_of(ordinal: u64) -> u64 {
    (ordinal - 1) / CHUNK * CHUNK + 1
}

fn at(seqs: &[Seq], index: u64) -> Option<Seq> {
    usize::try_from(index).ok().and_then(|index| seqs.get(index)).copied()
}

/// Differences are a byte or two each as varints. They wrap: an event from before may be enqueued late.
fn pack(seqs: &[Seq]) -> Vec<u64> {
    let mut before = 0;
    seqs.iter().map(|seq| zigzag(seq.0.wrapping_sub(std::mem::replace(&mut before, seq.0)))).collect()
}

fn unpack(packed: &[u64]) -> Vec<Seq> {
    let mut before = 0_u64;
    packed
        .iter()
        .map(|step| {
            before = before.wrapping_add((step >> 1) ^ (step & 1).wrapping_neg());
            Seq(before)
        })
        .collect()
}

const fn zigzag(step: u64) -> u64 {
    (step << 1) ^ (step >> 63).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_read_as_they_were_packed() {
        let seqs = [7, 8, 900, 3, u64::MAX / 2, 1].map(Seq);

        assert_eq!(unpack(&pack(&seqs)), seqs);
    }

    #[test]
    fn a_chunk_that_is_gone_is_damage_and_never_passes_for_settled() {
        let settings = crate::store::StoreSettings::default();
        let mut view = View::load(crate::store::rows::Rows::default(), &settings, "here".into()).unwrap();
        let id = SubscriptionId(1);
        view.subscriptions.insert(id, Subscription::default());
        for seq in 1..=2 * CHUNK {
            view.enqueue(id, Seq(seq)).unwrap();
        }
        assert_eq!(view.seq_at(id, Ordinal(7)).unwrap(), Some(Seq(7)));

        view.rows.delete(keys::queue(id, 1).bytes());

        assert!(matches!(view.seq_at(id, Ordinal(7)), Err(StoreError::Damaged { .. })));
        assert_eq!(view.seq_at(id, Ordinal(CHUNK + 1)).unwrap(), Some(Seq(CHUNK + 1)));
    }

    #[test]
    fn handled_stretches_grow_together_and_move_the_low_mark() {
        let mut queue = Subscription { tail: 10, ..Subscription::default() };
        for ordinal in [2, 4, 5, 3, 8] {
            queue.mark(ordinal);
        }
        assert_eq!((queue.low, queue.done.clone()), (0, BTreeMap::from([(2, 5), (8, 8)])));
        assert_eq!(queue.unhandled(0, 9), [1, 6, 7, 9, 10].map(Ordinal));
        assert_eq!(queue.unhandled(6, 2), [7, 9].map(Ordinal));

        queue.mark(1);

        assert_eq!((queue.low, queue.done.len()), (5, 1));
        assert!(queue.is_handled(8) && !queue.is_handled(7));
    }

    #[test]
    fn what_is_remembered_of_a_queue_is_bounded() {
        let mut queue = Subscription { tail: 200_000, ..Subscription::default() };
        queue.mark(LAG_MAX);
        assert_eq!(queue.overdue(), None);
        queue.mark(LAG_MAX + 1);
        assert_eq!(queue.overdue(), Some(1));

        let mut queue = Subscription { tail: 200_000, ..Subscription::default() };
        (1..=1_025).for_each(|n| queue.mark(n * 2));
        assert_eq!(queue.overdue(), Some(1));
    }
}
