//! Index: which events have a name or a key, and which flows are open or have dead letters.
//!
//! A list of event numbers is a run of chunks. The last one takes what is new and is written again with
//! each event; a full one stands until the status of all its events has expired. Writing a row again costs
//! little as long as it is in memory, and one row for many events is what keeps the checkpoint short. Those
//! that are not full have a table of their own, or each would lie among full ones that rest, and a checkpoint
//! would write a page for each (docs/adr/0020). A chunk counts the events that are still known, so an expired
//! one stays in it as a number that leads to nothing.
//!
//! ```text
//! (name or key)           live | last | steps      the chunk that is not full
//! (name or key, !first)   live | last | steps      full ones, the newest first
//! (!first event)          flow, if not in the event   open flows; flows with dead letters
//! ```
//! Events that version 1 has written are in no list; its flows are indexed when they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::keys::Key;
use super::{View, keys};
use crate::event::{EventName, Label};
use crate::store::{Seq, StoreError};

/// Event numbers in a full chunk.
const CHUNK: usize = 256;

/// A list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) enum List<'a> {
    /// Those of this name.
    Name(&'a str),
    /// Those with this key.
    Key(&'a str),
}

impl<'a> List<'a> {
    /// Its word and its text in a key; never changed.
    pub(super) const fn parts(self) -> (u8, &'a str) {
        match self {
            Self::Name(name) => (1, name),
            Self::Key(key) => (2, key),
        }
    }
}

/// An event as the lists know it.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) seq: Seq,
    pub(super) label: Arc<Label>,
}

/// In which indexes of flows a flow stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) open: bool,
    pub(super) dead: bool,
}

/// Event numbers, ascending, as steps from one to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    /// Events of it whose status is still there.
    live: u32,
    last: u64,
    steps: Vec<u8>,
    /// Event numbers in it.
    len: usize,
}

impl Chunk {
    fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let ((live, last), steps) = postcard::take_from_bytes(bytes)?;
        let len = steps.iter().filter(|byte| **byte < 0x80).count();
        Ok(Self { live, last, steps: steps.to_vec(), len })
    }

    fn encode(&self) -> Result<Bytes, postcard::Error> {
        self.encode_behind(Vec::with_capacity(self.steps.len() + 16)).map(Bytes::from)
    }

    /// Writes it behind `bytes`.
    pub(super) fn encode_behind(&self, bytes: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = postcard::to_extend(&(self.live, self.last), bytes)?;
        bytes.extend_from_slice(&self.steps);
        Ok(bytes)
    }

    fn push(&mut self, seq: u64) {
        let mut step = seq.wrapping_sub(self.last);
        while let Some(more) = Some(step >> 7).filter(|more| *more > 0) {
            self.steps.push(low_bits(step) | 0x80);
            step = more;
        }
        self.steps.push(low_bits(step));
        self.last = seq;
        self.live += 1;
        self.len += 1;
    }

    const fn is_full(&self) -> bool {
        self.len >= CHUNK
    }

    /// Bytes that it takes in memory.
    pub(super) const fn size(&self) -> usize {
        size_of::<Self>() + self.steps.capacity()
    }

    /// The chunk after those of `seqs` that are in it have gone, unless it goes with them; cuts `seqs` to those
    /// before it.
    fn without(mut self, seqs: &mut Vec<u64>) -> Option<Self> {
        let first = self.each_seq().next().unwrap_or(0);
        let own = seqs.split_off(seqs.partition_point(|seq| *seq < first));
        let mut own = own.into_iter().peekable();
        let mut lost = 0;
        for held in self.each_seq() {
            while own.next_if(|seq| *seq < held).is_some() {}
            lost += usize::from(own.next_if_eq(&held).is_some());
            if own.peek().is_none() {
                break;
            }
        }
        self.live = self.live.saturating_sub(u32::try_from(lost).unwrap_or(u32::MAX));
        (lost == 0 || self.live > 0).then_some(self)
    }

    fn seqs(&self) -> Vec<u64> {
        let mut seqs = Vec::with_capacity(CHUNK);
        seqs.extend(self.each_seq());
        seqs
    }

    fn each_seq(&self) -> impl Iterator<Item = u64> {
        let (mut at, mut step, mut shift) = (0_u64, 0_u64, 0_u32);
        self.steps.iter().filter_map(move |byte| {
            step |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
            shift += 7;
            (*byte < 0x80).then(|| {
                at = at.wrapping_add(step);
                (step, shift) = (0, 0);
                at
            })
        })
    }
}

const fn low_bits(step: u64) -> u8 {
    (step & 0x7F) as u8
}

impl View {
    /// Adds a new event to the lists of its name and its key.
    pub(super) fn list_event(&mut self, seq: Seq, name: &EventName, key: &str) -> Result<(), StoreError> {
        self.list(List::Name(name.as_str()), seq)?;
        // All events without a key would be one long list that nobody asks for.
        if key.is_empty() { Ok(()) } else { self.list(List::Key(key), seq) }
    }

    fn list(&mut self, list: List<'_>, seq: Seq) -> Result<(), StoreError> {
        let mut full = None;
        self.change_open_chunk(list, |chunk| {
            let mut chunk = chunk.unwrap_or_default();
            chunk.push(seq.0);
            if chunk.is_full() {
                full = Some(chunk);
                return None;
            }
            Some(chunk)
        })?;
        let Some(chunk) = full else { return Ok(()) };
        let first = chunk.seqs().first().copied().unwrap_or(seq.0);
        self.put_chunk(keys::listed_from(list, first), &chunk)
    }

    /// Takes expired events out of their lists; a chunk goes with the last of its events.
    pub(super) fn unlist_events(&mut self, gone: &[Listed]) -> Result<(), StoreError> {
        let mut lists: BTreeMap<List<'_>, Vec<u64>> = BTreeMap::new();
        for event in gone {
            lists.entry(List::Name(event.label.name.as_str())).or_default().push(event.seq.0);
            if !event.label.key.is_empty() {
                lists.entry(List::Key(&event.label.key)).or_default().push(event.seq.0);
            }
        }
        for (list, mut seqs) in lists {
            seqs.sort_unstable();
            self.change_open_chunk(list, |chunk| chunk.and_then(|chunk| chunk.without(&mut seqs)))?;
            while let Some(last) = seqs.last() {
                let (from, end) = (keys::listed_from(list, *last), keys::listed(list).end());
                let found = self.rows.scan(&from.bytes(), &end, 1)?.pop();
                // Those of version 1 are in no chunk.
                let Some((key, value)) = found else { break };
                let chunk = Chunk::decode(&value).map_err(|error| self.damaged(&key, &error))?;
                let first = keys::last_u64(&key).unwrap_or(u64::MAX);
                let key = keys::listed_from(list, !first);
                match chunk.without(&mut seqs) {
                    Some(chunk) => self.put_chunk(key, &chunk)?,
                    None => self.rows.delete(key.bytes()),
                }
            }
        }
        Ok(())
    }

    /// Up to `limit` numbers of a list under `before`, the newest first; fewer only at its end.
    pub(super) fn listed_below(
        &self,
        list: List<'_>,
        before: Seq,
        limit: usize,
    ) -> Result<Vec<Seq>, StoreError> {
        let mut found = Vec::new();
        let take = |found: &mut Vec<Seq>, chunk: &Chunk| {
            found.extend(chunk.seqs().into_iter().rev().map(Seq).filter(|seq| *seq < before));
        };
        if let Some(chunk) = self.open_chunk(list)? {
            take(&mut found, &chunk);
        }
        if found.len() < limit && before.0 > 0 {
            let from = keys::listed_from(list, before.0 - 1).bytes();
            // One more: the first may hold few that are under `before`.
            let rows = self.rows.scan(&from, &keys::listed(list).end(), limit / CHUNK + 2)?;
            for (key, value) in rows {
                take(&mut found, &Chunk::decode(&value).map_err(|error| self.damaged(&key, &error))?);
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Moves a flow in and out of the indexes of flows.
    /// `text` is that of the flow, or empty where its first event has it.
    pub(super) fn mark_flow(&mut self, text: &str, first: Seq, before: Marks, now: Marks) {
        type Index = fn() -> Key;
        let indexes: [(Index, bool, bool); 2] =
            [(keys::open_flows, before.open, now.open), (keys::dead_flows, before.dead, now.dead)];
        for (index, was_in, is_in) in indexes {
            let key = || keys::indexed(index(), first.0).bytes();
            match (was_in, is_in) {
                (false, true) => self.rows.put(key(), Bytes::copy_from_slice(text.as_bytes())),
                (true, false) => self.rows.delete(key()),
                (true, true) | (false, false) => {}
            }
        }
    }

    pub(super) fn chunk_of(&self, key: &Key) -> Result<Option<Chunk>, StoreError> {
        let key = key.clone().bytes();
        let Some(value) = self.rows.get(&key)? else { return Ok(None) };
        Chunk::decode(&value).map(Some).map_err(|error| self.damaged(&key, &error))
    }

    fn put_chunk(&mut self, key: Key, chunk: &Chunk) -> Result<(), StoreError> {
        let key = key.bytes();
        let bytes = chunk.encode().map_err(|error| self.damaged(&key, &error))?;
        self.rows.put(key, bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let settings = crate::store::StoreSettings::default();
        View::load(crate::store::rows::Rows::default(), &settings, "here".into()).unwrap()
    }

    fn name(text: &str) -> EventName {
        EventName::new(text).unwrap()
    }

    fn rows(view: &View) -> usize {
        let open = [List::Name("a.b"), List::Key("k")];
        let open = open.into_iter().filter(|list| view.open_chunk(*list).unwrap().is_some()).count();
        open + view.rows.scan(&[0xC3], &[0xC4], usize::MAX).unwrap().len()
    }

    #[test]
    fn a_chunk_reads_as_it_was_written() {
        let mut chunk = Chunk::default();
        let seqs = [1, 2, 130, 20_000, u64::MAX / 3];
        for seq in seqs {
            chunk.push(seq);
        }

        let again = Chunk::decode(&chunk.encode().unwrap()).unwrap();

        assert_eq!((again.seqs(), again.live, again.last), (seqs.to_vec(), 5, u64::MAX / 3));
    }

    #[test]
    fn a_list_reads_backwards_from_anywhere_over_chunks() {
        let (mut view, name) = (view(), name("a.b"));
        (1..=1_000).for_each(|seq| view.list_event(Seq(seq * 3), &name, "k").unwrap());

        for list in [List::Name("a.b"), List::Key("k")] {
            for (before, limit) in
                [(u64::MAX, 2_000), (3_001, 5), (769 * 3, 300), (768 * 3, 1), (4, 9), (0, 9)]
            {
                let expected: Vec<Seq> =
                    (1..=1_000).rev().map(|n| Seq(n * 3)).filter(|s| s.0 < before).take(limit).collect();
                assert_eq!(view.listed_below(list, Seq(before), limit).unwrap(), expected, "{before}");
            }
        }
        assert_eq!(view.listed_below(List::Name("k"), Seq(u64::MAX), 9).unwrap(), []);
    }

    #[test]
    fn a_chunk_goes_with_the_last_of_its_events() {
        let (mut view, name) = (view(), name("a.b"));
        (1..=600).for_each(|seq| view.list_event(Seq(seq), &name, "k").unwrap());
        assert_eq!(rows(&view), 6, "two full ones and an open one for each list");
        let mut event = crate::store::conformance::envelope("e");
        event.name = name;
        let listed = |seq| Listed { seq: Seq(seq), label: Arc::clone(&event.label) };

        view.unlist_events(&(1..=255).chain(513..=599).map(listed).collect::<Vec<_>>()).unwrap();
        assert_eq!(rows(&view), 6);
        view.unlist_events(&[listed(600), listed(256)]).unwrap();
        assert_eq!(rows(&view), 2);
        // What was never listed takes nothing with it.
        view.unlist_events(&[listed(9_000), listed(1)]).unwrap();
        assert_eq!(rows(&view), 2);
        view.unlist_events(&(257..=512).map(listed).collect::<Vec<_>>()).unwrap();
        assert_eq!(rows(&view), 0);
    }
}
