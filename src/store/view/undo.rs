//! Undos: a stack of events for each flow, and how far a flow is with going back over it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::{Act, Entry};
use super::flow::FlowHead;
use super::{Effects, View, keys};
use crate::event::{Envelope, Timestamp};
use crate::store::{
    Append, Compensate, CompensationRecord, CompensationState, DeliveryState, OpenDelivery, Receipt, Routed,
    Seq, Settle, Shelf, StoreError, Undoing,
};

/// Undos of a flow that one slice of its expiry takes.
const EXPIRE_UNDOS: u32 = 1_024;

/// What a flow's head holds of its undos.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Undos {
    /// Undos recorded and not emitted: the height of the stack.
    height: u32,
    /// Past the point of no return.
    is_pivoted: bool,
    going_back: Option<GoingBack>,
}

/// A flow on its way back.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct GoingBack {
    state: CompensationState,
    by: String,
    reason: String,
    since: Timestamp,
    /// The newest event when it began: what belongs to the undoing came later.
    after: Seq,
    undone: u32,
}

impl Undos {
    /// Whether the flow is on its way back, or has been.
    pub(super) const fn goes_back(&self) -> bool {
        self.going_back.is_some()
    }

    /// Whether the flow must not come to rest yet, though nothing of it may be open.
    pub(super) fn is_under_way(&self) -> bool {
        self.state() == Some(CompensationState::Undoing)
    }

    /// Whether it is listed among the flows whose forward deliveries must not run.
    pub(super) fn is_listed(&self) -> bool {
        self.going_back.is_some()
    }

    fn state(&self) -> Option<CompensationState> {
        self.going_back.as_ref().map(|back| back.state)
    }
}

impl View {
    pub(super) fn stage_compensate(
        &mut self,
        act: Compensate,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let (Compensate::Begin { flow, .. } | Compensate::Next { flow, .. } | Compensate::End { flow }) =
            &act;
        let (flow, mut appended) = (flow.clone(), Vec::new());
        let Some(head) = self.flow_head(&flow)? else { return Ok(Receipt::Stale) };
        let act = match act {
            Compensate::Begin { flow, by, reason } => {
                let may = head.more.undos.going_back.is_none() && !head.more.undos.is_pivoted;
                may.then_some(Act::GoBack { flow, by, reason })
            }
            Compensate::Next { flow, undo } => {
                self.stage_next(&head, undo, &mut appended, entries)?.then_some(Act::Undone(flow))
            }
            Compensate::End { flow } => {
                let may = head.more.undos.height == 0 && self.is_free(&head)?;
                may.then_some(Act::GoneBack(flow))
            }
        };
        let Some(act) = act else { return Ok(Receipt::Stale) };
        let entry = Entry::Act(Box::new(act));
        self.apply(&entry)?;
        entries.push(entry);
        Ok(Receipt::Applied { commit: self.head.commit, appended, flow: Some(flow) })
    }

    /// Emits an undo when it is the next one; `false` when it is not.
    fn stage_next(
        &mut self,
        head: &FlowHead,
        undo: Routed,
        appended: &mut Vec<Append>,
        entries: &mut Vec<Entry>,
    ) -> Result<bool, StoreError> {
        let top = self.top_undo(head)?;
        let is_next = top.is_some_and(|top| top.identity() == undo.digests.identity);
        if !is_next || !self.is_free(head)? {
            return Ok(false);
        }
        if self.seen(undo.digests.identity)?.is_none() {
            self.append_event(undo, appended, entries)?;
        }
        Ok(true)
    }

    /// What a settle records beside its outcome; nothing when its event belongs to an undoing itself.
    pub(super) fn undo_act(&self, settle: &mut Settle) -> Result<Option<Act>, StoreError> {
        let undos = std::mem::take(&mut settle.undos);
        if undos.is_empty() && !settle.pivot {
            return Ok(None);
        }
        let Some(row) = self.event_row(settle.seq)?.filter(|row| !row.more.is_undo) else { return Ok(None) };
        let undos = undos.into_iter().map(Arc::unwrap_or_clone).collect();
        Ok(Some(Act::Undo { flow: row.record.flow.clone(), undos, is_pivot: settle.pivot }))
    }

    pub(super) fn apply_undo(
        &mut self,
        flow: &str,
        undos: &[Envelope],
        is_pivot: bool,
    ) -> Result<Effects, StoreError> {
        let head = self.flow_head(flow)?.unwrap_or_default();
        let (first, known) = (head.more.first, head.more.undos);
        let has_undone = known.going_back.as_ref().is_some_and(|back| back.undone > 0);
        let is_over = known.is_pivoted || known.going_back.is_some() && !known.is_under_way();
        if is_over || is_pivot && has_undone {
            // What is undone already cannot be taken back by a pivot that comes after it.
            return Ok(Effects::default());
        }
        let mut height = known.height;
        if is_pivot {
            self.drop_undos(first, height, height);
            height = 0;
        } else {
            for undo in undos {
                self.put(keys::undo(first, height), undo)?;
                height += 1;
            }
        }
        self.change_flow(flow, |head| {
            let undos = &mut head.more.undos;
            undos.height = height;
            undos.is_pivoted = is_pivot;
            if let Some(back) = undos.going_back.as_mut().filter(|_| is_pivot) {
                back.state = CompensationState::CalledOff;
            }
        })?;
        if is_pivot && known.is_listed() {
            self.unlist(flow);
        }
        Ok(Effects::default())
    }

    pub(super) fn apply_go_back(
        &mut self,
        flow: &str,
        by: &str,
        reason: &str,
    ) -> Result<Effects, StoreError> {
        let (since, after) = (self.head.at, Seq(self.head.seqs));
        self.change_flow(flow, |head| {
            head.more.undos.going_back = Some(GoingBack {
                state: CompensationState::Undoing,
                by: by.to_owned(),
                reason: reason.to_owned(),
                since,
                after,
                undone: 0,
            });
        })?;
        let name = listed_as(flow);
        let row = keys::kept(Shelf::Compensation, &name).bytes();
        self.rows.put(row, bytes::Bytes::copy_from_slice(flow.as_bytes()));
        Ok(on_flow(flow))
    }

    pub(super) fn apply_undone(&mut self, flow: &str) -> Result<Effects, StoreError> {
        let head = self.flow_head(flow)?.unwrap_or_default();
        let height = head.more.undos.height;
        self.drop_undos(head.more.first, height, 1);
        self.change_flow(flow, |head| {
            head.more.undos.height = height.saturating_sub(1);
            if let Some(back) = head.more.undos.going_back.as_mut() {
                back.undone += 1;
            }
        })?;
        Ok(on_flow(flow))
    }

    pub(super) fn apply_gone_back(&mut self, flow: &str) -> Result<Effects, StoreError> {
        self.change_flow(flow, |head| {
            if let Some(back) = head.more.undos.going_back.as_mut() {
                back.state = CompensationState::Done;
            }
        })?;
        Ok(on_flow(flow))
    }

    /// Takes a flow off the list of those whose forward deliveries must not run.
    pub(super) fn unlist(&mut self, flow: &str) {
        self.rows.delete(keys::kept(Shelf::Compensation, &listed_as(flow)).bytes());
    }

    /// Deletes some of the undos of a flow that expires; `true` when none is left.
    pub(super) fn expire_undos(&mut self, head: &mut FlowHead) -> bool {
        let height = head.more.undos.height;
        self.drop_undos(head.more.first, height, EXPIRE_UNDOS);
        head.more.undos.height = height.saturating_sub(EXPIRE_UNDOS);
        head.more.undos.height == 0
    }

    /// Deletes the upper `count` undos of a stack.
    fn drop_undos(&mut self, first: Seq, height: u32, count: u32) {
        for at in height.saturating_sub(count)..height {
            self.rows.delete(keys::undo(first, at).bytes());
        }
    }

    fn top_undo(&self, head: &FlowHead) -> Result<Option<Envelope>, StoreError> {
        let undos = &head.more.undos;
        match undos.height.checked_sub(1).filter(|_| undos.is_under_way()) {
            Some(at) => self.get(&keys::undo(head.more.first, at)),
            None => Ok(None),
        }
    }

    /// Whether the flow is on its way back and nothing of the undo before is open.
    fn is_free(&self, head: &FlowHead) -> Result<bool, StoreError> {
        Ok(head.more.undos.is_under_way() && self.count_undoing(head)?.0 == 0)
    }

    /// Open deliveries of the undoing, and dead letters among them.
    fn count_undoing(&self, head: &FlowHead) -> Result<(u64, u64), StoreError> {
        let Some(back) = &head.more.undos.going_back else { return Ok((0, 0)) };
        let mut counts = (0, 0);
        for seq in self.events_of(head, back.after)? {
            for delivery in self.open_of(seq)?.iter().filter(|delivery| delivery.is_undo) {
                counts.0 += 1;
                counts.1 += u64::from(matches!(delivery.state, DeliveryState::Dead { .. }));
            }
        }
        Ok(counts)
    }

    fn open_of(&self, seq: Seq) -> Result<Vec<OpenDelivery>, StoreError> {
        let Some(row) = self.event_row(seq)? else { return Ok(Vec::new()) };
        let row = Arc::unwrap_or_clone(row);
        let is_undo = row.more.is_undo;
        let is_open = |state: &DeliveryState| !matches!(state, DeliveryState::Done | DeliveryState::Skipped);
        let open = row.record.deliveries.into_iter().filter(|delivery| is_open(&delivery.state));
        let open = open.map(|delivery| OpenDelivery {
            seq,
            subscription: delivery.subscription,
            ordinal: delivery.ordinal,
            key: delivery.key.as_deref().map(str::to_owned),
            state: delivery.state,
            attempts: delivery.attempts,
            is_undo,
        });
        Ok(open.collect())
    }

    pub(super) fn compensation(&self, head: &FlowHead) -> Result<Option<CompensationRecord>, StoreError> {
        let Some(back) = &head.more.undos.going_back else { return Ok(None) };
        let (open, dead) = self.count_undoing(head)?;
        Ok(Some(CompensationRecord {
            state: back.state,
            by: back.by.clone(),
            reason: back.reason.clone(),
            since: back.since,
            undone: back.undone,
            left: head.more.undos.height,
            open,
            dead,
        }))
    }

    /// What undoing a flow has to know; `None` when it is not being undone, or is undone and at rest.
    pub(in crate::store) fn undoing(&self, flow: &str) -> Result<Option<Undoing>, StoreError> {
        let Some(head) = self.flow_head(flow)?.filter(|head| head.rest_since.is_none()) else {
            return Ok(None);
        };
        let Some(record) = self.compensation(&head)? else { return Ok(None) };
        if record.state == CompensationState::CalledOff {
            return Ok(None);
        }
        let next = self.top_undo(&head)?.map(Arc::new);
        let mut open = Vec::new();
        // What is open of a flow may be anywhere in it; when nothing else is, it is not looked for.
        let after = if head.open > record.open { Seq(0) } else { self.going_back_after(&head) };
        for seq in self.events_of(&head, after)? {
            open.extend(self.open_of(seq)?);
        }
        Ok(Some(Undoing { record, next, open }))
    }

    fn going_back_after(&self, head: &FlowHead) -> Seq {
        head.more.undos.going_back.as_ref().map_or(Seq(self.head.seqs), |back| back.after)
    }
}

/// A flow's name on its shelf, where names are bounded.
fn listed_as(flow: &str) -> String {
    if flow.len() <= 240 { flow.to_owned() } else { format!("#{}", blake3::hash(flow.as_bytes()).to_hex()) }
}

fn on_flow(flow: &str) -> Effects {
    Effects { flow: Some(flow.to_owned()), ..Effects::default() }
}
