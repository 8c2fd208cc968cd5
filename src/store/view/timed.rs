//! Timed: events that are delayed, with their count, and flows that have a deadline.

use bytes::Bytes;

use super::apply::remember_attempt;
use super::flow::FlowHead;
use super::{Effects, View, keys};
use crate::event::Timestamp;
use crate::store::{AttemptRecord, DeliveryState, OverdueFlows, Seq, StoreError};

/// Rows read at a time when all of them are counted.
const PAGE: usize = 4_096;

impl View {
    /// Counts the delayed events of a store that was written before they were counted.
    pub(super) fn count_delayed_once(&mut self) -> Result<(), StoreError> {
        if self.head.more.delayed.is_some() {
            return Ok(());
        }
        let all = keys::delayeds();
        let (mut from, mut count) = (all.clone().bytes(), 0_u64);
        loop {
            let page = self.rows.scan(&from, &all.end(), PAGE)?;
            count += page.len() as u64;
            match page.last() {
                Some((last, _)) if page.len() == PAGE => from = [last.as_slice(), &[0]].concat(),
                _ => break,
            }
        }
        self.head.more.delayed = Some(count);
        Ok(())
    }

    /// Events that are delayed now.
    pub(in crate::store) fn delayed(&self) -> u64 {
        self.head.more.delayed.unwrap_or_default()
    }

    pub(super) fn is_delayed(&self, seq: Seq) -> Result<bool, StoreError> {
        Ok(self.event_row(seq)?.is_some_and(|row| row.due.is_some()))
    }

    /// Notes that an event is due later.
    pub(super) fn delay(&mut self, due: Timestamp, seq: Seq) {
        self.rows.put(keys::delayed(due.0, seq).bytes(), Bytes::new());
        self.head.more.delayed = Some(self.delayed().saturating_add(1));
    }

    /// Forgets that it is.
    pub(super) fn end_delay(&mut self, due: Timestamp, seq: Seq) {
        self.rows.delete(keys::delayed(due.0, seq).bytes());
        self.head.more.delayed = Some(self.delayed().saturating_sub(1));
    }

    /// Moves a delayed event to another time, or takes it back: what it was going to be delivered to is
    /// skipped.
    pub(super) fn apply_reschedule(
        &mut self,
        seq: Seq,
        due: Option<Timestamp>,
        reason: &str,
    ) -> Result<Effects, StoreError> {
        let Some(mut row) = self.event_copy(seq)? else { return Ok(Effects::default()) };
        let Some(old) = row.due else { return Ok(Effects::default()) };
        self.end_delay(old, seq);
        if let Some(due) = due {
            self.delay(due, seq);
        }
        row.due = due;
        let (commit, at) = (self.head.commit, self.head.at);
        let mut skipped = 0;
        for delivery in row.record.deliveries.iter_mut().filter(|delivery| delivery.ordinal.is_none()) {
            delivery.state = due.map_or(DeliveryState::Skipped, |due| DeliveryState::Waiting { due });
            skipped += u64::from(due.is_none());
            let outcome = if due.is_some() { "rescheduled" } else { "cancelled" }.into();
            let error = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
            let told = AttemptRecord { commit, at, outcome, error, waited_ms: 0, ran_ms: 0 };
            remember_attempt(delivery, told);
        }
        let (first, flow) = (row.more.last.flow, row.record.flow.clone());
        self.put_event(seq, row);
        self.change_flow_at(first, &flow, |head| head.open = head.open.saturating_sub(skipped))?;
        Ok(Effects { flow: Some(flow), ..Effects::default() })
    }

    /// Keeps the index of deadlines in step with a flow: it holds those that are open and not marked.
    ///
    /// A flow that comes to rest and is woken later is watched again as long as its deadline has not passed:
    /// it was at rest by then.
    pub(super) fn time_flow(&mut self, flow: &str, head: &mut FlowHead) {
        let Some(deadline) = head.more.deadline else { return };
        let is_open = head.open > 0 && head.more.overdue.is_none();
        let is_timed = is_open && (head.more.is_timed || deadline > self.head.at);
        if is_timed == head.more.is_timed {
            return;
        }
        head.more.is_timed = is_timed;
        let key = keys::deadline(deadline.0, flow).bytes();
        if is_timed {
            // The value is the flow: a long one stands in the key as its digest.
            self.rows.put(key, Bytes::copy_from_slice(flow.as_bytes()));
        } else {
            self.rows.delete(key);
        }
    }

    /// Whether a flow is open past its deadline and not marked.
    pub(super) fn is_overdue(&self, flow: &str) -> Result<bool, StoreError> {
        let head = self.flow_head(flow)?;
        Ok(head.is_some_and(|head| {
            head.more.is_timed && head.more.deadline.is_some_and(|deadline| deadline <= self.head.at)
        }))
    }

    pub(super) fn apply_overdue(&mut self, flow: &str) -> Result<Effects, StoreError> {
        let at = self.head.at;
        self.change_flow(flow, |head| head.more.overdue = Some(at))?;
        Ok(Effects { flow: Some(flow.to_owned()), ..Effects::default() })
    }

    /// Up to `limit` open flows with a deadline up to `until`, and the deadline of the next one.
    pub(in crate::store) fn overdue(
        &self,
        until: Timestamp,
        limit: usize,
    ) -> Result<OverdueFlows, StoreError> {
        let all = keys::deadlines();
        let rows = self.rows.scan(&all.clone().bytes(), &all.end(), limit.saturating_add(1))?;
        let mut found = Vec::new();
        for (key, flow) in rows {
            let Some(deadline) = key.get(1..9).and_then(keys::last_u64) else { continue };
            if deadline > until.0 || found.len() == limit {
                return Ok((found, Some(Timestamp(deadline))));
            }
            found.push((String::from_utf8_lossy(&flow).into_owned(), Timestamp(deadline)));
        }
        Ok((found, None))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::StoreSettings;
    use crate::store::rows::Rows;

    #[test]
    fn a_store_of_version_1_is_counted_when_it_is_opened() {
        let mut rows = Rows::default();
        for seq in 1..=5_000 {
            rows.put(keys::delayed(seq / 7, Seq(seq)).bytes(), Bytes::new());
        }
        // Head of version 1: nothing stands behind it.
        let head = postcard::to_stdvec(&super::super::Head::default()).unwrap();
        rows.put(keys::head().bytes(), Bytes::from(head));

        let mut view = View::load(rows, &StoreSettings::default(), PathBuf::new()).unwrap();

        assert_eq!(view.delayed(), 5_000);
        view.end_delay(Timestamp(0), Seq(1));
        view.freeze().unwrap();
        let rows = std::mem::take(&mut view.rows);
        let view = View::load(rows, &StoreSettings::default(), PathBuf::new()).unwrap();
        assert_eq!(view.delayed(), 4_999, "the count is kept, not made again");
    }
}
