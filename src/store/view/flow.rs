//! Flows: counts, result and the list of events, in chunks so that a long flow costs no more per event.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::grown::Grown;
use super::index::{Listed, Marks};
use super::undo::Undos;
use super::{View, keys};
use crate::event::Timestamp;
use crate::store::{Commit, FlowRecord, Novelty, Seq, StoreError};

/// Event numbers in a chunk; the unfinished one stands in the head.
const CHUNK: usize = 64;
/// So many of the unfinished chunk need no allocation.
const HERE: usize = 2;
/// Chunks of one flow that one expiry takes.
const EXPIRE_CHUNKS: u64 = 16;

/// The head of a flow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FlowHead {
    first_chunk: u64,
    chunks: u64,
    tail: SmallVec<[Seq; HERE]>,
    pub(super) open: u64,
    pub(super) dead: u64,
    pub(super) attempts: u64,
    has_result: bool,
    commit: Commit,
    pub(super) rest_since: Option<Timestamp>,
    #[serde(skip)]
    pub(super) more: FlowMore,
    /// It has come since the last freeze, and its name is to be written with it.
    #[serde(skip)]
    pub(super) is_new: bool,
}

/// What version 1 did not have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FlowMore {
    /// Its first event; 0 in a flow that version 1 wrote, until it is moved.
    pub(super) first: Seq,
    /// By when it should be at rest, as its first event says.
    pub(super) deadline: Option<Timestamp>,
    /// Whether the index of deadlines has it.
    pub(super) is_timed: bool,
    /// When it was marked because it was not.
    pub(super) overdue: Option<Timestamp>,
    pub(super) undos: Undos,
}

impl Grown for FlowHead {
    type More = FlowMore;
    fn more(&self) -> &FlowMore {
        &self.more
    }
    fn more_mut(&mut self) -> &mut FlowMore {
        &mut self.more
    }
}

impl FlowHead {
    /// Its first event, as far as the head alone tells: one that expires in slices has lost it.
    pub(super) fn first_event(&self) -> Option<Seq> {
        Some(self.more.first).filter(|first| *first != Seq(0) && self.first_chunk == 0)
    }

    /// The first event that stands in the head itself.
    pub(super) fn first_in_tail(&self) -> Option<Seq> {
        self.tail.first().copied()
    }

    /// Whether all of its events stand in the head.
    pub(super) const fn is_whole(&self) -> bool {
        self.chunks == 0
    }

    /// Its events, as far as they stand in the head.
    pub(super) fn tail(&self) -> &[Seq] {
        &self.tail
    }

    pub(super) const fn has_result(&self) -> bool {
        self.has_result
    }

    /// What readers see of it, but for its result and its compensation, which are rows of their own.
    pub(super) const fn record(&self, events: Vec<Seq>) -> FlowRecord {
        FlowRecord {
            events,
            open: self.open,
            dead: self.dead,
            attempts: self.attempts,
            result: None,
            commit: self.commit,
            rest_since: self.rest_since,
            deadline: self.more.deadline,
            overdue: self.more.overdue,
            compensation: None,
        }
    }

    /// Event numbers in the head.
    pub(super) fn events(&self) -> usize {
        self.tail.len()
    }

    /// Bytes of it that do not stand in the head itself.
    pub(super) fn bytes_elsewhere(&self) -> usize {
        if self.tail.spilled() { size_of::<Seq>() * self.tail.capacity() } else { 0 }
    }

    /// Whether it stands among the open flows, and among those with dead letters.
    pub(super) fn marks(&self) -> Marks {
        let is_indexed = self.more.first != Seq(0);
        Marks { open: is_indexed && self.open > 0, dead: is_indexed && self.dead > 0 }
    }
}

impl View {
    /// Changes a flow's counts and keeps the index of flows at rest in step.
    pub(super) fn change_flow(
        &mut self,
        flow: &str,
        change: impl FnOnce(&mut FlowHead),
    ) -> Result<(), StoreError> {
        self.change_flow_at(Seq(0), flow, change)
    }

    /// As [`View::change_flow`], where the first event of the flow is known, which spares asking for its name; 0 where it
    /// is not.
    pub(super) fn change_flow_at(
        &mut self,
        first: Seq,
        flow: &str,
        change: impl FnOnce(&mut FlowHead),
    ) -> Result<(), StoreError> {
        let known = self.take_flow(first, flow)?;
        self.change_known(flow, known, change);
        Ok(())
    }

    fn change_known(&mut self, flow: &str, known: Option<Box<FlowHead>>, change: impl FnOnce(&mut FlowHead)) {
        let is_new = known.is_none();
        let mut head = known.unwrap_or_default();
        let (rested, before) = (head.rest_since, head.marks());
        change(&mut head);
        if is_new {
            head.is_new = true;
            head.more.first = head.first_in_tail().unwrap_or_default();
            self.count_flow(flow, head.more.first);
        }
        let text = if head.first_event().is_some() { "" } else { flow };
        self.mark_flow(text, head.more.first, before, head.marks());
        head.commit = self.head.commit;
        let is_open = head.open > 0 || head.more.undos.is_under_way();
        match (is_open, rested) {
            (false, None) => {
                if head.more.undos.is_listed() {
                    self.unlist(flow);
                }
                head.rest_since = Some(self.head.at);
                // A text that is not in the key stands here; whoever has it asks for its name.
                let first = head.more.first.0.to_be_bytes();
                let value = if keys::fits(flow) { first.as_slice() } else { flow.as_bytes() };
                self.rows.put(keys::rest(self.head.at.0, flow).bytes(), Bytes::copy_from_slice(value));
            }
            (true, Some(since)) => {
                head.rest_since = None;
                self.rows.delete(keys::rest(since.0, flow).bytes());
            }
            _ => {}
        }
        self.time_flow(flow, &mut head);
        self.put_flow(flow, head);
    }

    /// Adds a new event with its open deliveries; `deadline` counts when the flow begins with it. A flow that is said to be new is not
    /// looked for: one that is known would begin anew. Returns the first event of the flow.
    pub(super) fn add_to_flow(
        &mut self,
        flow: &str,
        seq: Seq,
        open: u64,
        deadline: Option<Timestamp>,
        novelty: Novelty,
    ) -> Result<Seq, StoreError> {
        let mut known = if novelty == Novelty::Flow {
            debug_assert!(self.flow_head(flow)?.is_none(), "a flow that is said to be new is known");
            None
        } else {
            self.take_flow(Seq(0), flow)?
        };
        let (mut full, mut first) = (None, seq);
        // One at rest goes out of that index: its time to live begins anew.
        if let Some(since) = known.as_mut().and_then(|head| head.rest_since.take()) {
            self.rows.delete(keys::rest(since.0, flow).bytes());
        }
        self.change_known(flow, known, |head| {
            if head.chunks == 0 && head.tail.is_empty() {
                head.more.deadline = deadline;
            }
            head.open += open;
            head.tail.push(seq);
            first = if head.more.first == Seq(0) { seq } else { head.more.first };
            if head.tail.len() >= CHUNK {
                full = Some((head.chunks, std::mem::take(&mut head.tail)));
                head.chunks += 1;
            }
        });
        full.map_or(Ok(()), |(chunk, seqs)| self.put(keys::flow_chunk(first, chunk), &seqs))?;
        Ok(first)
    }

    /// Takes the flow's result; the first one stands.
    pub(super) fn resolve(&mut self, flow: &str, result: Bytes) -> Result<(), StoreError> {
        let (mut is_first, mut first) = (false, Seq(0));
        self.change_flow(flow, |head| {
            is_first = !std::mem::replace(&mut head.has_result, true);
            first = head.more.first;
        })?;
        if is_first {
            self.rows.put(keys::flow_result(first).bytes(), result);
        }
        Ok(())
    }

    /// The flow as readers see it.
    pub(in crate::store) fn flow(&self, flow: &str) -> Result<Option<FlowRecord>, StoreError> {
        self.flow_head(flow)?.map(|head| self.flow_record(&head)).transpose()
    }

    /// The flow of an event as readers see it.
    pub(in crate::store) fn flow_of_event(&self, seq: Seq) -> Result<Option<FlowRecord>, StoreError> {
        let Some(row) = self.event_row(seq)? else { return Ok(None) };
        self.flow_of(&row)?.map(|head| self.flow_record(&head)).transpose()
    }

    pub(super) fn flow_record(&self, head: &FlowHead) -> Result<FlowRecord, StoreError> {
        let events = self.events_of(head, Seq(0))?;
        let compensation = self.compensation(head)?;
        let result =
            if head.has_result { self.rows.get(&keys::flow_result(head.more.first).bytes())? } else { None };
        Ok(FlowRecord { result, compensation, ..head.record(events) })
    }

    /// The flow's events after `after`, in order.
    pub(super) fn events_of(&self, head: &FlowHead, after: Seq) -> Result<Vec<Seq>, StoreError> {
        let is_over = |last: Option<&Seq>| last.is_none_or(|last| *last <= after);
        let mut chunks = Vec::new();
        for chunk in (head.first_chunk..head.chunks).rev() {
            let seqs = self.flow_seqs(head, chunk)?;
            if after > Seq(0) && is_over(seqs.last()) {
                break;
            }
            chunks.push(seqs);
        }
        let mut events: Vec<Seq> = chunks.into_iter().rev().flatten().collect();
        events.extend_from_slice(&head.tail);
        events.retain(|seq| *seq > after);
        Ok(events)
    }

    /// Deletes the status of a flow at rest, a long one in several calls; returns its events, and adds to
    /// `unlisted` what the index has to lose. Its first event spares asking for its name; 0 where it is not known.
    pub(super) fn expire(
        &mut self,
        first: Seq,
        flow: &str,
        unlisted: &mut Vec<Listed>,
    ) -> Result<Vec<Seq>, StoreError> {
        let Some(mut head) = self.flow_head_at(first, flow)? else { return Ok(Vec::new()) };
        let Some(since) = head.rest_since else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        let until = head.chunks.min(head.first_chunk + EXPIRE_CHUNKS);
        for chunk in head.first_chunk..until {
            gone.extend(self.flow_seqs(&head, chunk)?);
            self.rows.delete(keys::flow_chunk(head.more.first, chunk).bytes());
        }
        head.first_chunk = until;
        if until == head.chunks && self.expire_undos(&mut head) {
            gone.extend(head.tail.drain(..));
            self.delete_flow(flow, head.more.first);
            self.discount_flow(head.more.first);
            self.rows.delete(keys::rest(since.0, flow).bytes());
            if head.has_result {
                self.rows.delete(keys::flow_result(head.more.first).bytes());
            }
        } else {
            self.is_halfway = true;
            self.put_flow(flow, Box::new(head));
        }
        for seq in &gone {
            unlisted.extend(self.expire_event(*seq)?);
        }
        Ok(gone)
    }

    /// The numbers of a flow's events in order, read as far as they are taken.
    pub(super) fn each_of_flow(
        &self,
        head: &FlowHead,
        mut take: impl FnMut(Seq) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        for chunk in head.first_chunk..=head.chunks {
            let stored = if chunk < head.chunks { self.flow_seqs(head, chunk)? } else { head.tail.to_vec() };
            for seq in stored {
                if !take(seq)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn flow_seqs(&self, head: &FlowHead, chunk: u64) -> Result<Vec<Seq>, StoreError> {
        Ok(self.get(&keys::flow_chunk(head.more.first, chunk))?.unwrap_or_default())
    }

    fn expire_event(&mut self, seq: Seq) -> Result<Option<Listed>, StoreError> {
        let Some(row) = self.event_row(seq)? else { return Ok(None) };
        if self.kept > 0 {
            self.release_kept(crate::event::Identity::of(&row.record.source, &row.record.id))?;
        }
        self.forget_unheard(&row);
        self.drop_step_states(&row)?;
        self.unlist_fact(&row.record.source, &row.record.name, seq);
        self.delete_event(seq);
        Ok(Some(Listed { seq, label: Arc::clone(&row.record.label) }))
    }
}
