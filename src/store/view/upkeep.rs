//! Upkeep: flows expire whose status has outlived its time, and ids are forgotten (`forget.rs`), a slice at a time.
//!
//! ```text
//! View::outlived ──Outlived──> ids are made sure of (the engine) ──> View::upkeep ──Entry──> journal
//! ```

use super::entry::{Act, Entry};
use super::keys::FlowText;
use super::{Effects, Forgetting, View, keys};
use crate::event::Timestamp;
use crate::store::{Commit, Seq, StoreError};

/// Flows that one slice expires: some half of a millisecond where they are of one event, for publishers wait meanwhile.
const EXPIRE_SLICE: usize = 64;
/// What waits for the flows of its neighbourhood to expire too waits this part of a status's time, and of the window.
const PATIENCE: u64 = 16;

/// A slice of what has outlived its time.
#[derive(Debug)]
pub(in crate::store) struct Outlived {
    /// Ids to be forgotten; those of missed events are to be made sure of.
    pub(in crate::store) ids: Option<Forgetting>,
    /// Flows that expire, with their first events; 0 where that is not known.
    pub(super) flows: Vec<(String, Seq)>,
}

impl View {
    /// The next slice of what has outlived its time.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the flow that expires next is lost. It would stay the next one, and be expired in vain for
    /// ever.
    pub(in crate::store) fn outlived(&mut self, now: Timestamp) -> Result<Outlived, StoreError> {
        let flows = match self.expired_until(now) {
            Some(until) => self.flows_at_rest(until, EXPIRE_SLICE)?,
            None => Vec::new(),
        };
        if let Some((flow, first)) = flows.first()
            && self.flow_head_at(*first, flow)?.is_none_or(|head| head.rest_since.is_none())
        {
            return Err(self.lost_at_rest(flow));
        }
        if flows.is_empty() || self.oldest.is_worth_a_look() || self.forget_due(now).is_some() {
            self.look_for_oldest()?;
        }
        Ok(Outlived { ids: self.next_forgotten(now)?, flows })
    }

    /// Lets a slice of it go, and tells whether there is more to do at once. What becomes due in the meantime is left
    /// until it is a slice: each has to be synced.
    pub(in crate::store) fn upkeep(
        &mut self,
        commit: Commit,
        now: Timestamp,
        due: Outlived,
    ) -> Result<(Vec<(Entry, Effects)>, bool), StoreError> {
        let mut has_more = due.ids.is_some() || due.flows.len() == EXPIRE_SLICE;
        // First: what is kept for a flow goes when that expires.
        let mut acts: Vec<Act> =
            due.ids.and_then(|ids| self.take_due(ids)).map(Act::ForgetIds).into_iter().collect();
        let flows: Vec<String> = due.flows.iter().map(|(flow, _)| flow.clone()).collect();
        self.expiring = due.flows.into_iter().collect();
        acts.extend((!flows.is_empty()).then_some(Act::Expire { flows }));
        let mut done = Vec::with_capacity(acts.len());
        for act in acts {
            self.begin(commit, now);
            let entry = Entry::Act(Box::new(act));
            let effects = self.apply(&entry)?;
            done.push((entry, effects));
        }
        has_more |= std::mem::take(&mut self.is_halfway);
        Ok((done, has_more))
    }

    /// Up to `limit` flows that have been at rest since `until` or longer, with their first events; 0 where that is not known.
    ///
    /// Looks on from where it found something last: what was before that is gone, and the deleted rows
    /// would have to be passed again and again until the next checkpoint.
    pub(super) fn flows_at_rest(
        &mut self,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, Seq)>, StoreError> {
        let end = keys::rest_until(until.0).end();
        let start = self.rested_from.take().unwrap_or_else(|| keys::rests().bytes());
        let rows = if start < end { self.rows.scan(&start, &end, limit)? } else { Vec::new() };
        self.rested_from = Some(rows.first().map_or(start, |(key, _)| key.clone()));
        let flow = |(key, value): (Vec<u8>, bytes::Bytes)| match keys::flow_text(&key, 9) {
            // Format 3 and before had nothing there.
            Some(FlowText::Whole(in_key)) => (in_key.to_owned(), Seq(keys::last_u64(&value).unwrap_or(0))),
            _ => (String::from_utf8_lossy(&value).into_owned(), Seq(0)),
        };
        Ok(rows.into_iter().map(flow).collect())
    }

    /// Since when a flow has been at rest whose status expires now.
    pub(in crate::store) fn expired_until(&self, now: Timestamp) -> Option<Timestamp> {
        now.0.checked_sub(self.limits.status_ttl_ms).filter(|until| *until > 0).map(Timestamp)
    }

    /// How many milliseconds ids wait until the flows of their neighbourhood have expired too. While one of them has not, each
    /// event without bookkeeping has to be looked up in the journal.
    pub(super) fn patience_ms(&self) -> u64 {
        self.limits.status_ttl_ms.min(self.limits.dedupe_window_ms) / PATIENCE
    }
}
