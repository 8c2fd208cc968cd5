//! At hand: a status that memory holds whole, so that whoever polls for it need not go where the disk may be waited for; and
//! one that is read from wherever it is, to be at hand the next time (`store/polled.rs`).

use std::sync::Arc;

use super::flow::FlowHead;
use super::heads::Text;
use super::hot::Hot;
use super::{EventRow, View, keys};
use crate::event::Identity;
use crate::store::{AtHand, FlowRecord, Seq, StoreError};

/// Events that are read under one lock: whoever writes waits for it.
const READ_AT_ONCE: usize = 16;

impl View {
    /// The event's flow as it stands, when all of it is held decoded; `None` says nothing about the event.
    ///
    /// A flow on its way back, one of very many events, and what is folded already have to be read.
    pub(in crate::store) fn at_hand(&self, identity: Identity) -> Option<AtHand> {
        let mut buckets = self.head.dedupe.numbers().rev();
        let seen = buckets.find_map(|bucket| self.held(|hot| hot.ids.get(&(bucket, identity))))?;
        self.at_hand_of(seen.seq)
    }

    /// As [`View::at_hand`], where the event is known.
    pub(in crate::store) fn at_hand_of(&self, seq: Seq) -> Option<AtHand> {
        let row = self.held(|hot| hot.events.get(&seq))?;
        let text = Text::of(&row.record.flow);
        let head = self.held(|hot| hot.flows.get(text))?;
        if !head.is_whole() || head.more.undos.goes_back() {
            return None;
        }
        let result = if head.has_result() {
            Some(self.rows.held(&keys::flow_result(head.more.first).bytes())?)
        } else {
            None
        };
        let rows = head.tail().iter().map(|seq| self.held(|hot| hot.events.get(seq)));
        let rows = rows.collect::<Option<Vec<&Arc<EventRow>>>>()?;
        let flow = FlowRecord { result, ..head.record(head.tail().to_vec()) };
        let events = rows.into_iter().map(|row| EventRow::clone(row).into_record()).collect();
        Some(AtHand { seq, flow, events })
    }

    /// The event's flow as it stands, from wherever it is; `None` also for a flow of more events than are read under one
    /// lock.
    pub(in crate::store) fn stands(&self, identity: Identity) -> Result<Option<AtHand>, StoreError> {
        let Some(seen) = self.seen(identity)? else { return Ok(None) };
        let Some(own) = self.event_row(seen.seq)? else { return Ok(None) };
        let is_short = |head: &FlowHead| head.is_whole() && head.events() <= READ_AT_ONCE;
        let Some(head) = self.flow_of(&own)?.filter(is_short) else { return Ok(None) };
        let mut events = Vec::with_capacity(head.events());
        for seq in head.tail() {
            let row = if *seq == seen.seq { Some(Arc::clone(&own)) } else { self.event_row(*seq)? };
            let Some(row) = row else { return Ok(None) };
            events.push(Arc::unwrap_or_clone(row).into_record());
        }
        Ok(Some(AtHand { seq: seen.seq, flow: self.flow_record(&head)?, events }))
    }

    /// Whether nothing of a flow is held decoded, so that it stands as it is folded. One that goes back moves by rows
    /// of its own; and where nothing is ever folded, what is not held is gone.
    pub(in crate::store) fn is_folded(&self, status: &AtHand) -> bool {
        let is_held = |flow: &str| self.held_flow(flow).is_some();
        !self.rows.is_alone()
            && status.flow.compensation.is_none()
            && status.events.first().is_some_and(|event| !is_held(&event.flow))
    }

    /// Notes that an id is forgotten, or moves.
    pub(super) fn note_forgotten(&mut self, identity: Identity) {
        self.forgotten.push(identity);
    }

    /// Takes the ids that were forgotten since the last call, or moved to where they outlive their bucket.
    pub(in crate::store) fn take_forgotten(&mut self) -> Vec<Identity> {
        std::mem::take(&mut self.forgotten)
    }

    /// What the layers in memory hold decoded, the newest first.
    fn held<T>(&self, of: impl for<'h> Fn(&'h Hot) -> Option<&'h Option<T>>) -> Option<&T> {
        of(&self.hot).or_else(|| self.cooling.as_deref().and_then(&of))?.as_ref()
    }
}
