//! The state of a key before and after each attempt, for the subscriptions that want to keep it.

use bytes::Bytes;

use super::apply::HISTORY;
use super::entry::Act;
use super::{Effects, EventRow, View, keys};
use crate::store::{Seq, Settle, StepStates, StoreError, SubscriptionId};

impl View {
    /// What a settle keeps of its key's state; nothing when its subscription does not want to.
    pub(super) fn states_act(&self, settle: &Settle) -> Result<Option<Act>, StoreError> {
        if !settle.keep_states {
            return Ok(None);
        }
        let before = self.state(settle.subscription, &settle.key)?;
        let after = settle.state.as_ref().map(|state| state.value.clone()).or_else(|| before.clone());
        Ok(Some(Act::StepStates { subscription: settle.subscription, seq: settle.seq, before, after }))
    }

    pub(super) fn apply_step_states(
        &mut self,
        id: SubscriptionId,
        seq: Seq,
        before: Option<&Bytes>,
        after: Option<&Bytes>,
    ) -> Result<Effects, StoreError> {
        let Some(mut row) = self.event_copy(seq)? else { return Ok(Effects::default()) };
        let commit = self.head.commit;
        let states = StepStates { commit, before: before.cloned(), after: after.cloned() };
        self.put(keys::step_states_at(id, seq, commit), &states)?;
        self.drop_oldest(id, seq)?;
        if !row.more.stated.contains(&id) {
            row.more.stated.push(id);
            self.put_event(seq, row);
        }
        Ok(Effects::default())
    }

    /// Keeps no more of a delivery than its history shows.
    fn drop_oldest(&mut self, id: SubscriptionId, seq: Seq) -> Result<(), StoreError> {
        let all = keys::step_states(id, seq);
        let mut rows = self.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)?;
        let surplus = rows.len().saturating_sub(HISTORY);
        for (key, _) in rows.drain(..surplus) {
            self.rows.delete(key);
        }
        Ok(())
    }

    /// What is kept of a delivery, the oldest attempt first.
    pub(in crate::store) fn step_states(
        &self,
        id: SubscriptionId,
        seq: Seq,
    ) -> Result<Vec<StepStates>, StoreError> {
        let all = keys::step_states(id, seq);
        let rows = self.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)?;
        rows.iter().map(|(key, value)| self.decode(key, value)).collect()
    }

    /// Deletes what is kept of an event that goes.
    pub(super) fn drop_step_states(&mut self, row: &EventRow) -> Result<(), StoreError> {
        for id in &row.more.stated {
            let all = keys::step_states(*id, row.record.seq);
            for (key, _) in self.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)? {
                self.rows.delete(key);
            }
        }
        Ok(())
    }
}
