//! Hot: the rows that change most (events, flows, lists that are not full) are held decoded until a checkpoint has
//! taken them. Each is read and written several times before, and only what is left of it then is encoded, by the
//! thread that folds.
//!
//! ```text
//! hot       changes since the last freeze
//! cooling   changes being folded            read only
//! rows      everything else, and what is folded
//! ```

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::dedupe::Seen;
use super::flow::FlowHead;
use super::heads::{self, Heads, Text};
use super::index::{Chunk, List};
use super::keys;
use super::{EventRow, View};
use crate::event::{Identity, Label};
use crate::store::rows::{PAGE, PASSED, Row};
use crate::store::{DeliveryRecord, Seq, StoreError};

/// Decoded rows; `None` where one is deleted.
#[derive(Debug, Default)]
pub(super) struct Hot {
    pub(super) events: BTreeMap<Seq, Option<Arc<EventRow>>>,
    pub(super) flows: Heads,
    pub(super) names: HashMap<String, Option<Chunk>>,
    pub(super) keys: HashMap<String, Option<Chunk>>,
    pub(super) ids: HashMap<(u32, Identity), Option<Seen>>,
    /// The event that a settle has read last from the rows: it looks at it twice, and takes it then. What is held of an
    /// event counts before it, so that a write need not clear it.
    read: Option<(Seq, Arc<EventRow>)>,
    bytes: u64,
}

/// What a decoded row costs in memory, about.
trait Weight {
    fn weight(&self) -> usize;
}

impl Weight for Arc<EventRow> {
    fn weight(&self) -> usize {
        let record = &self.record;
        let texts = record.id.len() + record.source.len() + record.name.as_str().len() + record.flow.len();
        let history = record.deliveries.iter().map(|delivery| 96 * delivery.history.len()).sum::<usize>();
        // A single one stands in the row.
        let spilled = if record.deliveries.spilled() { record.deliveries.len() } else { 0 };
        let deliveries = spilled * size_of::<DeliveryRecord>() + history;
        size_of::<EventRow>() + size_of::<Label>() + texts + record.key.len() + deliveries
    }
}

impl Weight for FlowHead {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes_elsewhere()
    }
}

impl Weight for Chunk {
    fn weight(&self) -> usize {
        self.size()
    }
}

/// What a slot costs beside its key: a place in a map.
const SLOT: usize = 64;
/// What the record of an id costs.
const ID: u64 = 96;

fn slot<T: Weight>(key: usize, value: Option<&T>) -> u64 {
    (SLOT + key + value.map_or(0, Weight::weight)) as u64
}

impl View {
    /// Bytes of changes not yet frozen.
    pub(in crate::store) fn active_bytes(&self) -> u64 {
        self.rows.active_bytes().saturating_add(self.hot.bytes)
    }

    /// An event's bookkeeping.
    pub(super) fn event_row(&self, seq: Seq) -> Result<Option<Arc<EventRow>>, StoreError> {
        match self.held_event(seq) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.get_grown(&keys::event(seq))?.map(Arc::new)),
        }
    }

    /// An event's bookkeeping as it is held decoded; `Some(None)` where it is deleted.
    fn held_event(&self, seq: Seq) -> Option<&Option<Arc<EventRow>>> {
        let cooling = || self.cooling.as_ref().and_then(|hot| hot.events.get(&seq));
        self.hot.events.get(&seq).or_else(cooling)
    }

    /// As [`View::event_row`], by a change that may take it soon.
    pub(super) fn read_event(&mut self, seq: Seq) -> Result<Option<Arc<EventRow>>, StoreError> {
        if let Some(held) = self.held_event(seq) {
            return Ok(held.clone());
        }
        if let Some((_, row)) = self.hot.read.as_ref().filter(|(of, _)| *of == seq) {
            return Ok(Some(Arc::clone(row)));
        }
        let row = self.event_row(seq)?;
        self.hot.read = row.clone().map(|row| (seq, row));
        Ok(row)
    }

    /// A copy of an event's bookkeeping, to be changed.
    pub(super) fn event_copy(&self, seq: Seq) -> Result<Option<EventRow>, StoreError> {
        Ok(self.event_row(seq)?.map(Arc::unwrap_or_clone))
    }

    /// Takes an event's bookkeeping out, to be changed and put back before anybody else asks for it. One that is held
    /// is nobody else's, so that [`Arc::make_mut`] copies nothing.
    pub(super) fn take_event(&mut self, seq: Seq) -> Result<Option<Arc<EventRow>>, StoreError> {
        if let Some(held) = self.hot.events.get_mut(&seq) {
            let row = held.take();
            self.hot.bytes = self.hot.bytes.saturating_sub(row.as_ref().map_or(0, Weight::weight) as u64);
            return Ok(row);
        }
        match self.hot.read.take_if(|(of, _)| *of == seq) {
            Some((_, row)) => Ok(Some(row)),
            None => self.event_row(seq),
        }
    }

    pub(super) fn put_event(&mut self, seq: Seq, row: impl Into<Arc<EventRow>>) {
        self.set_event(seq, Some(row.into()));
    }

    pub(super) fn delete_event(&mut self, seq: Seq) {
        if self.rows.is_alone() {
            let gone = self.hot.events.remove(&seq);
            self.hot.bytes = self.hot.bytes.saturating_sub(gone.map_or(0, |old| slot(0, old.as_ref())));
        } else {
            self.set_event(seq, None);
        }
    }

    fn set_event(&mut self, seq: Seq, row: Option<Arc<EventRow>>) {
        self.hot.bytes += slot(0, row.as_ref());
        if let Some(old) = self.hot.events.insert(seq, row) {
            self.hot.bytes = self.hot.bytes.saturating_sub(slot(0, old.as_ref()));
        }
    }

    /// The first event from `from` (included) to `to` (excluded), though many that have expired come before it.
    pub(super) fn first_event(&self, from: Seq, to: Seq) -> Result<Option<Seq>, StoreError> {
        Ok(self.scan_events_by(from, to, 1, PASSED)?.first().map(|row| row.record.seq))
    }

    /// Up to `limit` events from `from` (included) to `to` (excluded), in order.
    pub(super) fn scan_events(
        &self,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<Arc<EventRow>>, StoreError> {
        self.scan_events_by(from, to, limit, limit.clamp(1, PAGE))
    }

    /// As [`View::scan_events`], with `page` stored ones at a time.
    fn scan_events_by(
        &self,
        from: Seq,
        to: Seq,
        limit: usize,
        page: usize,
    ) -> Result<Vec<Arc<EventRow>>, StoreError> {
        let mut found = Vec::new();
        if from >= to {
            return Ok(found);
        }
        let mut layers: Vec<Events<'_>> = [Some(&self.hot), self.cooling.as_deref()]
            .into_iter()
            .flatten()
            .map(|hot| hot.events.range(from..to).peekable())
            .collect();
        let mut stored =
            Stored { view: self, from, to, page, rows: Vec::new().into_iter().peekable(), is_over: false };
        while found.len() < limit {
            let below = stored.peek()?;
            let seqs = layers.iter_mut().filter_map(|layer| layer.peek().map(|(seq, _)| **seq));
            let Some(seq) = seqs.chain(below).min() else { break };
            // The newest layer counts, and all of them go on.
            let own: Vec<_> =
                layers.iter_mut().map(|layer| layer.next_if(|(next, _)| **next == seq)).collect();
            let row = stored.take(seq);
            match own.into_iter().flatten().next() {
                Some((_, newest)) => found.extend(newest.clone()),
                None => found.extend(row.map(|row| self.decode_event(&row)).transpose()?),
            }
        }
        Ok(found)
    }

    fn decode_event(&self, (key, value): &Row) -> Result<Arc<EventRow>, StoreError> {
        self.decode_grown(key, value).map(Arc::new)
    }

    /// The head of a flow.
    pub(super) fn flow_head(&self, flow: &str) -> Result<Option<FlowHead>, StoreError> {
        self.flow_head_at(Seq(0), flow)
    }

    /// The head of the flow of an event.
    pub(super) fn flow_of(&self, row: &EventRow) -> Result<Option<FlowHead>, StoreError> {
        self.flow_head_at(row.more.last.flow, &row.record.flow)
    }

    /// As [`View::flow_head`], where an event is known that the flow may begin with: it spares asking for its name.
    pub(super) fn flow_head_at(&self, first: Seq, flow: &str) -> Result<Option<FlowHead>, StoreError> {
        if let Some(head) = self.held_flow(flow) {
            return Ok(head.as_deref().cloned());
        }
        self.stored_flow_at(first)?.map_or_else(|| self.stored_flow(flow), |head| Ok(Some(head)))
    }

    /// The head of a flow as it is held decoded; `Some(None)` where it is deleted.
    pub(super) fn held_flow(&self, flow: &str) -> Option<&heads::Held> {
        let text = Text::of(flow);
        let cooling = || self.cooling.as_ref().and_then(|hot| hot.flows.get(text));
        self.hot.flows.get(text).or_else(cooling)
    }

    /// Takes the head of a flow out, to be changed and put back before anybody else asks for it. Its first event spares
    /// asking for its name; 0 where it is not known.
    pub(super) fn take_flow(&mut self, first: Seq, flow: &str) -> Result<Option<Box<FlowHead>>, StoreError> {
        if let Some(held) = self.hot.flows.get_mut(Text::of(flow))
            && let Some(head) = held.take()
        {
            self.hot.bytes = self.hot.bytes.saturating_sub(head.weight() as u64);
            return Ok(Some(head));
        }
        let mut head = self.flow_head_at(first, flow)?.map(Box::new);
        if let Some(head) = &mut head {
            // The layer before has its name.
            head.is_new = false;
        }
        Ok(head)
    }

    /// Writes the head of a flow; it bears its first event, which never changes.
    pub(super) fn put_flow(&mut self, flow: &str, head: Box<FlowHead>) {
        let text = Text::of(flow);
        self.hot.bytes += slot(text.len(), Some(&*head));
        let old = self.hot.flows.insert(text, Some(head));
        let old = old.map_or(0, |old| slot(text.len(), old.as_deref()));
        self.hot.bytes = self.hot.bytes.saturating_sub(old);
    }

    pub(super) fn delete_flow(&mut self, flow: &str, first: Seq) {
        self.rows.delete(keys::flow(first).bytes());
        self.unname(flow, first);
        let text = Text::of(flow);
        let old = if self.rows.is_alone() {
            self.hot.flows.remove(text)
        } else {
            self.hot.bytes += slot::<FlowHead>(text.len(), None);
            self.hot.flows.insert(text, None)
        };
        let old = old.map_or(0, |old| slot(text.len(), old.as_deref()));
        self.hot.bytes = self.hot.bytes.saturating_sub(old);
    }

    /// The record of an id in a bucket.
    pub(super) fn id_in(&self, bucket: u32, identity: Identity) -> Result<Option<Seen>, StoreError> {
        match self.held_id(bucket, identity) {
            Some(seen) => Ok(*seen),
            None => self.get(&keys::dedupe(bucket, identity)),
        }
    }

    /// The record of an id as it is held decoded; `Some(None)` where it is deleted.
    pub(super) fn held_id(&self, bucket: u32, identity: Identity) -> Option<&Option<Seen>> {
        let cooling = || self.cooling.as_ref().and_then(|hot| hot.ids.get(&(bucket, identity)));
        self.hot.ids.get(&(bucket, identity)).or_else(cooling)
    }

    /// The records of a bucket that are held decoded; `None` where one is deleted.
    pub(super) fn held_ids(&self, bucket: u32) -> BTreeMap<Identity, Option<Seen>> {
        let mut held = BTreeMap::new();
        for layer in [self.cooling.as_deref(), Some(&self.hot)].into_iter().flatten() {
            let own = layer.ids.iter().filter(|((of, _), _)| *of == bucket);
            held.extend(own.map(|((_, identity), seen)| (*identity, *seen)));
        }
        held
    }

    /// Up to `limit` records of a bucket, in the order of their ids.
    pub(super) fn ids_in(&self, bucket: u32, limit: usize) -> Result<Vec<(Identity, Seen)>, StoreError> {
        let mut held = self.held_ids(bucket);
        let gone = held.values().filter(|seen| seen.is_none()).count();
        let all = keys::bucket(bucket);
        // What is held decoded hides as many of the rows at most.
        let rows = self.rows.scan(&all.clone().bytes(), &all.end(), limit.saturating_add(gone))?;
        for (key, value) in rows {
            if let Some(identity) = keys::identity_of(&key) {
                let seen = self.decode(&key, &value)?;
                held.entry(identity).or_insert(Some(seen));
            }
        }
        Ok(held.into_iter().filter_map(|(identity, seen)| Some((identity, seen?))).take(limit).collect())
    }

    /// Removes all records of a bucket that nobody looks into any more, about so many.
    pub(super) fn sweep_ids(&mut self, bucket: u32, records: u64) {
        let held = self.hot.ids.len();
        self.hot.ids.retain(|(of, _), _| *of != bucket);
        self.hot.bytes = self.hot.bytes.saturating_sub(ID * (held - self.hot.ids.len()) as u64);
        let all = keys::bucket(bucket);
        self.rows.sweep(&all.clone().bytes(), &all.end(), records);
    }

    pub(super) fn put_id(&mut self, bucket: u32, identity: Identity, seen: Seen) {
        self.set_id(bucket, identity, Some(seen));
    }

    pub(super) fn delete_id(&mut self, bucket: u32, identity: Identity) {
        self.note_forgotten(identity);
        if !self.rows.is_alone() {
            self.set_id(bucket, identity, None);
        } else if self.hot.ids.remove(&(bucket, identity)).is_some() {
            self.hot.bytes = self.hot.bytes.saturating_sub(ID);
        }
    }

    fn set_id(&mut self, bucket: u32, identity: Identity, seen: Option<Seen>) {
        if self.hot.ids.insert((bucket, identity), seen).is_none() {
            self.hot.bytes += ID;
        }
    }

    /// The chunk of a list that is not full.
    pub(super) fn open_chunk(&self, list: List<'_>) -> Result<Option<Chunk>, StoreError> {
        let cooling = || self.cooling.as_ref().and_then(|hot| hot.chunk(list));
        match self.hot.chunk(list).or_else(cooling) {
            Some(chunk) => Ok(chunk.clone()),
            None => self.chunk_of(&keys::listed_open(list)),
        }
    }

    /// Changes the chunk of a list that is not full; there is none when `change` answers so.
    pub(super) fn change_open_chunk(
        &mut self,
        list: List<'_>,
        change: impl FnOnce(Option<Chunk>) -> Option<Chunk>,
    ) -> Result<(), StoreError> {
        let (_, text) = list.parts();
        let (before, after, is_gone) = if let Some(held) = self.hot.chunks_mut(list).get_mut(text) {
            let before = slot(text.len(), held.as_ref());
            *held = change(held.take());
            (before, slot(text.len(), held.as_ref()), held.is_none())
        } else {
            let known = self.open_chunk(list)?;
            let was_there = known.is_some();
            let chunk = change(known);
            if chunk.is_none() && !was_there {
                return Ok(());
            }
            let (after, is_gone) = (slot(text.len(), chunk.as_ref()), chunk.is_none());
            self.hot.chunks_mut(list).insert(text.to_owned(), chunk);
            (0, after, is_gone)
        };
        self.hot.bytes = (self.hot.bytes + after).saturating_sub(before);
        if is_gone && self.rows.is_alone() {
            self.hot.chunks_mut(list).remove(text);
            self.hot.bytes = self.hot.bytes.saturating_sub(after);
        }
        Ok(())
    }
}

#[cfg(test)]
impl View {
    /// What the decoded rows are said to cost, and what they cost one by one.
    pub(in crate::store) fn weights(&self) -> (u64, u64) {
        let hot = &self.hot;
        let events = hot.events.values().map(|row| slot(0, row.as_ref()));
        let flows = hot.flows.iter().map(|(text, head)| slot(text.len(), head.as_deref()));
        let chunks = hot.names.iter().chain(&hot.keys).map(|(text, chunk)| slot(text.len(), chunk.as_ref()));
        let ids = hot.ids.len() as u64 * ID;
        (hot.bytes, events.chain(flows).chain(chunks).sum::<u64>() + ids)
    }
}

impl Hot {
    /// An empty one that can hold as much without growing on the way.
    pub(super) fn as_roomy(&self) -> Self {
        Self {
            flows: self.flows.as_roomy(),
            ids: HashMap::with_capacity(self.ids.len()),
            keys: HashMap::with_capacity(self.keys.len()),
            ..Self::default()
        }
    }

    fn chunk(&self, list: List<'_>) -> Option<&Option<Chunk>> {
        match list {
            List::Name(name) => self.names.get(name),
            List::Key(key) => self.keys.get(key),
        }
    }

    fn chunks_mut(&mut self, list: List<'_>) -> &mut HashMap<String, Option<Chunk>> {
        match list {
            List::Name(_) => &mut self.names,
            List::Key(_) => &mut self.keys,
        }
    }
}

type Events<'a> = Peekable<btree_map::Range<'a, Seq, Option<Arc<EventRow>>>>;

/// Reads the rows of events page by page, since layers above may hide any number of them.
struct Stored<'a> {
    view: &'a View,
    from: Seq,
    to: Seq,
    page: usize,
    rows: Peekable<std::vec::IntoIter<Row>>,
    is_over: bool,
}

impl Stored<'_> {
    fn peek(&mut self) -> Result<Option<Seq>, StoreError> {
        if self.rows.peek().is_none() && !self.is_over {
            let (from, to) = (keys::event(self.from).bytes(), keys::event(self.to).bytes());
            let rows = self.view.rows.scan(&from, &to, self.page)?;
            self.is_over = rows.len() < self.page;
            if let Some(last) = rows.last().and_then(|(key, _)| keys::last_u64(key)) {
                self.from = Seq(last.saturating_add(1));
            }
            self.rows = rows.into_iter().peekable();
        }
        Ok(self.rows.peek().and_then(|(key, _)| keys::last_u64(key)).map(Seq))
    }

    fn take(&mut self, seq: Seq) -> Option<Row> {
        self.rows.next_if(|(key, _)| keys::last_u64(key) == Some(seq.0))
    }
}
