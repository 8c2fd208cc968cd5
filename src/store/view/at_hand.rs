//! At hand: a status that memory holds whole, so that whoever polls for it need not go where the disk may be waited for.

use std::sync::Arc;

use super::hot::Hot;
use super::{EventRow, View, keys};
use crate::event::Identity;
use crate::store::{AtHand, FlowRecord};

impl View {
    /// The event's flow as it stands, when all of it is held decoded; `None` says nothing about the event.
    ///
    /// A flow on its way back, one of very many events, and what is folded already have to be read.
    pub(in crate::store) fn at_hand(&self, identity: Identity) -> Option<AtHand> {
        let mut buckets = self.head.dedupe.numbers().rev();
        let seen = buckets.find_map(|bucket| self.held(|hot| hot.ids.get(&(bucket, identity))))?;
        let row = self.held(|hot| hot.events.get(&seen.seq))?;
        let head = self.held(|hot| hot.flows.get(&row.record.flow))?;
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
        Some(AtHand { seq: seen.seq, flow, events })
    }

    /// What the layers in memory hold decoded, the newest first.
    fn held<T>(&self, of: impl for<'h> Fn(&'h Hot) -> Option<&'h Option<T>>) -> Option<&T> {
        of(&self.hot).or_else(|| self.cooling.as_deref().and_then(&of))?.as_ref()
    }
}
