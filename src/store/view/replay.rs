//! Replay: earlier events go to a subscription again.
//!
//! A new delivery is queued as any other. One that is opened again has a row of its own from the beginning,
//! as one that lags behind: reading it goes past the event's row, which knows the generation.

use super::apply::{fresh_delivery, remember_attempt};
use super::entry::{Act, Entry};
use super::pending::PendingRow;
use super::{Effects, EventRow, Payloads, View};
use crate::store::{
    AttemptRecord, DeliveryState, Fate, Fates, Receipt, Replay, Seq, StoreError, SubscriptionId,
};

impl View {
    /// What a replay would do with each of these events.
    pub(in crate::store) fn fates(
        &self,
        payloads: &dyn Payloads,
        id: SubscriptionId,
        seqs: &[Seq],
    ) -> Result<Vec<Fate>, StoreError> {
        let places = payloads.places(self, seqs)?;
        seqs.iter().zip(places).map(|(seq, place)| self.fate(id, *seq, place.is_some())).collect()
    }

    fn fate(&self, id: SubscriptionId, seq: Seq, is_there: bool) -> Result<Fate, StoreError> {
        let Some(row) = self.event_row(seq)?.filter(|_| is_there) else { return Ok(Fate::Gone) };
        let delivery = row.record.deliveries.iter().find(|delivery| delivery.subscription == id);
        Ok(delivery.map_or(Fate::New, |delivery| match delivery.state {
            DeliveryState::Done | DeliveryState::Skipped => Fate::Again,
            DeliveryState::Dead { .. } => Fate::Dead,
            DeliveryState::Ready | DeliveryState::Waiting { .. } | DeliveryState::Deferred => Fate::Open,
        }))
    }

    pub(super) fn stage_replay(
        &mut self,
        payloads: &dyn Payloads,
        replay: &Replay,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let id = replay.subscription;
        let begun = self.subscriptions.get(&id).map(|subscription| subscription.more.generation);
        let is_begin = replay.seqs.is_empty();
        let expected = begun.map(|begun| begun.saturating_add(u32::from(is_begin)));
        if expected != Some(replay.generation) || replay.generation == 0 {
            return Ok(Receipt::Stale);
        }
        let (mut all, mut left, mut taken) = (Fates::default(), Fates::default(), Vec::new());
        for (seq, fate) in replay.seqs.iter().zip(self.fates(payloads, id, &replay.seqs)?) {
            all.count(fate);
            match fate {
                // An event that is named twice is taken once.
                Fate::New | Fate::Again if !taken.contains(seq) => taken.push(*seq),
                Fate::New | Fate::Again => {}
                Fate::Open | Fate::Dead | Fate::Gone => left.count(fate),
            }
        }
        let act = Act::Replay {
            replay: Replay { subscription: id, seqs: taken, generation: replay.generation },
            left,
        };
        let entry = Entry::Act(Box::new(act));
        let flows = self.apply(&entry)?.flows;
        let tail = self.subscriptions.get(&id).map(super::queue::Subscription::tail).unwrap_or_default();
        let commit = self.head.commit;
        entries.push(entry);
        Ok(Receipt::Replayed { commit, subscription: id, tail, flows, fates: all, appended: Vec::new() })
    }

    pub(super) fn apply_replay(&mut self, replay: &Replay, left: Fates) -> Result<Effects, StoreError> {
        let Replay { subscription: id, seqs, generation } = replay;
        let (mut counts, mut effects) = (left, Effects::default());
        for seq in seqs {
            let Some(mut row) = self.event_copy(*seq)? else { continue };
            if row.record.deliveries.iter().any(|delivery| delivery.subscription == *id) {
                counts.count(Fate::Again);
                self.open_again(*id, *generation, &mut row)?;
            } else {
                counts.count(Fate::New);
                let due = row.due;
                let ordinal = if due.is_some() { None } else { self.enqueue(*id, *seq)? };
                row.record.deliveries.push(fresh_delivery(*id, ordinal, due));
                self.note_heard(&mut row, *id);
            }
            let (first, flow) = (row.more.last.flow, row.record.flow.clone());
            self.put_event(*seq, row);
            self.change_flow_at(first, &flow, |head| head.open += 1)?;
            if effects.flows.last() != Some(&flow) {
                effects.flows.push(flow);
            }
        }
        if let Some(subscription) = self.subscriptions.get_mut(id) {
            let more = &mut subscription.more;
            let before = if more.generation == *generation { more.replayed } else { Fates::default() };
            more.generation = *generation;
            more.replayed = before.and(counts);
        }
        Ok(effects)
    }

    /// Opens a delivery that is at rest again, at the end of the queue. Its attempts and their history stay.
    fn open_again(
        &mut self,
        id: SubscriptionId,
        generation: u32,
        row: &mut EventRow,
    ) -> Result<(), StoreError> {
        let (seq, now, commit) = (row.record.seq, self.head.at, self.head.commit);
        let Some(ordinal) = self.enqueue(id, seq)? else { return Ok(()) };
        let pending = PendingRow { ready: Some(now), ..PendingRow::spilled(seq) };
        self.move_pending(id, ordinal, None, Some(&pending))?;
        row.more.generations.retain(|(of, _)| *of != id);
        row.more.generations.push((id, generation));
        let delivery = row.record.deliveries.iter_mut().find(|delivery| delivery.subscription == id);
        let Some(delivery) = delivery else { return Ok(()) };
        delivery.ordinal = Some(ordinal);
        delivery.state = DeliveryState::Ready;
        delivery.failures = 0;
        delivery.progress = None;
        let outcome = "replayed".into();
        let record = AttemptRecord { commit, at: now, outcome, error: None, waited_ms: 0, ran_ms: 0 };
        remember_attempt(delivery, record);
        Ok(())
    }
}
