//! Flow index: where the heads of flows stand.
//!
//! Flows that begin together stand together, in a bucket for each stretch of event numbers: what a checkpoint takes
//! then lies side by side, and texts of flows, which are digests mostly, do not scatter it. A flow is looked for in
//! the buckets whose filter may hold it, the newest first.

use std::collections::BTreeMap;

use super::View;
use super::flow::FlowHead;
use super::index::Marks;
use super::keys::{self, FlowText};
use super::sieve::{FLOWS, Sieves};
use crate::event::Identity;
use crate::store::{Seq, StoreError};

/// Rows read at a time.
const PAGE: usize = 1_024;

/// The buckets there are, with the flows in each.
#[derive(Debug, Default)]
pub(super) struct FlowBuckets {
    counts: BTreeMap<u32, u64>,
    sieves: Sieves,
}

/// A flow as the filters know it; never changed, since filters are stored. Texts of derived flows are digests.
fn digest(text: &FlowText<'_>) -> Identity {
    let first = |bytes: &[u8]| bytes.first_chunk().copied().unwrap_or_default();
    Identity(match text {
        FlowText::Whole(text) => {
            unhex(text).unwrap_or_else(|| first(blake3::hash(text.as_bytes()).as_bytes()))
        }
        FlowText::Digest(digest) => first(digest),
    })
}

/// The bytes of 32 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 16]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 16 || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |at: u8| char::from(at).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let [high, low] = *pair;
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}

impl View {
    /// The head of a flow that is not held decoded.
    pub(super) fn stored_flow(&self, flow: &str) -> Result<Option<FlowHead>, StoreError> {
        if self.flows.counts.is_empty() {
            return Ok(None);
        }
        let identity = digest(&FlowText::Whole(flow));
        for bucket in self.flows.counts.keys().rev() {
            if self.flows.sieves.may_hold(*bucket, identity)
                && let Some(head) = self.get_grown(&keys::flow_in(*bucket, flow))?
            {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Notes that there is a flow.
    pub(super) fn count_flow(&mut self, flow: &str, first: Seq) {
        self.note_flow(first, digest(&FlowText::Whole(flow)));
    }

    fn note_flow(&mut self, first: Seq, identity: Identity) {
        let bucket = keys::flow_bucket(first);
        *self.flows.counts.entry(bucket).or_default() += 1;
        self.flows.sieves.put(bucket, identity);
    }

    /// Whether there may be a flow that began with this event or before it.
    pub(in crate::store) fn has_flow_until(&self, seq: Seq) -> bool {
        self.flows.counts.range(..=keys::flow_bucket(seq)).any(|(_, count)| *count > 0)
    }

    /// Notes that a flow is gone.
    pub(super) fn discount_flow(&mut self, first: Seq) {
        let bucket = keys::flow_bucket(first);
        let Some(count) = self.flows.counts.get_mut(&bucket) else { return };
        *count = count.saturating_sub(1);
        // The newest bucket will have others.
        if *count == 0 && bucket != keys::flow_bucket(Seq(self.head.seqs)) {
            self.flows.counts.remove(&bucket);
            if let Some(key) = self.flows.sieves.drop_bucket(FLOWS, bucket) {
                self.rows.delete(key.bytes());
            }
        }
    }

    /// Reads which buckets there are and what they hold.
    pub(super) fn load_flows(&mut self) -> Result<(), StoreError> {
        self.flows.counts = self.get(&keys::flow_buckets())?.unwrap_or_default();
        for bucket in self.flows.counts.keys().copied().collect::<Vec<_>>() {
            if self.load_sieve(FLOWS, bucket)? {
                continue;
            }
            let all = keys::flows(bucket);
            let (mut from, end) = (all.clone().bytes(), all.end());
            loop {
                let rows = self.rows.scan(&from, &end, PAGE)?;
                let Some((last, _)) = rows.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                for text in rows.iter().filter_map(|(key, _)| keys::flow_text(key, 5)) {
                    self.flows.sieves.put(bucket, digest(&text));
                }
            }
        }
        self.move_old_flows()
    }

    /// Writes the buckets, and the filters that are full.
    pub(super) fn write_flows(&mut self) -> Result<(), StoreError> {
        let counts = std::mem::take(&mut self.flows.counts);
        self.put(keys::flow_buckets(), &counts)?;
        self.flows.counts = counts;
        let open = keys::flow_bucket(Seq(self.head.seqs));
        for (key, value) in self.flows.sieves.unwritten(FLOWS, |bucket| bucket < open) {
            self.rows.put(key.bytes(), value);
        }
        Ok(())
    }

    pub(super) fn flow_sieves_mut(&mut self) -> &mut Sieves {
        &mut self.flows.sieves
    }

    /// Moves flows from where version 2 and before kept them.
    fn move_old_flows(&mut self) -> Result<(), StoreError> {
        let all = keys::old_flows();
        loop {
            let rows = self.rows.scan(&all.clone().bytes(), &all.end(), PAGE)?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                let mut head: FlowHead = self.decode_grown(&key, &value)?;
                self.move_old_flow(&key, &mut head)?;
                self.rows.delete(key);
            }
        }
    }

    fn move_old_flow(&mut self, old: &[u8], head: &mut FlowHead) -> Result<(), StoreError> {
        let [chunks, result, undos] = keys::of_old_flow(old);
        let chunks = self.rows.scan(&chunks.clone().bytes(), &chunks.end(), usize::MAX)?;
        let was_marked = head.marks();
        if head.more.first == Seq(0) {
            let oldest: Vec<Seq> =
                chunks.first().map_or(Ok(Vec::new()), |(key, value)| self.decode(key, value))?;
            head.more.first = oldest.first().copied().or_else(|| head.first_in_tail()).unwrap_or_default();
        }
        let first = head.more.first;
        for (key, value) in chunks {
            let chunk = keys::last_u64(&key).unwrap_or_default();
            self.rows.put(keys::flow_chunk(first, chunk).bytes(), value);
            self.rows.delete(key);
        }
        if let Some(value) = self.rows.get(&result.clone().bytes())? {
            self.rows.put(keys::flow_result(first).bytes(), value);
            self.rows.delete(result.bytes());
        }
        for (key, value) in self.rows.scan(&undos.clone().bytes(), &undos.end(), usize::MAX)? {
            let place = key.last_chunk::<4>().map_or(0, |place| u32::from_be_bytes(*place));
            self.rows.put(keys::undo(first, place).bytes(), value);
            self.rows.delete(key);
        }
        let Some(text) = keys::flow_text(old, 1) else { return Ok(()) };
        self.note_flow(first, digest(&text));
        if was_marked != head.marks()
            && let Some(event) = self.event_row(first)?
        {
            self.mark_flow(&event.record.flow, first, Marks::default(), head.marks());
        }
        self.put_grown(keys::flow_as(first, old), head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreSettings;
    use crate::store::rows::Rows;

    fn load(rows: Rows) -> View {
        View::load(rows, &StoreSettings::default(), "here".into()).unwrap()
    }

    /// A view over the same rows, as a start reads them.
    fn again(mut view: View) -> View {
        let frozen = view.freeze().unwrap().rows();
        let mut rows = Rows::default();
        for (key, value) in frozen {
            if let Some(value) = value {
                rows.put(key, value);
            }
        }
        load(rows)
    }

    #[test]
    fn a_flow_is_found_after_a_start_whatever_bucket_it_is_in() {
        let mut view = load(Rows::default());
        let long = "l".repeat(300);
        for (flow, seq) in [("a", 1), (long.as_str(), 200_000), ("b", 400_000), ("c", 400_001)] {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), 1, None).unwrap();
        }

        let view = again(again(view));

        for (flow, seq) in [("a", 1), (long.as_str(), 200_000), ("b", 400_000), ("c", 400_001)] {
            let head = view.flow_head(flow).unwrap().unwrap();
            assert_eq!((head.more.first, head.open), (Seq(seq), 1), "{flow}");
        }
        assert!(view.flow_head("d").unwrap().is_none());
    }

    #[test]
    fn a_bucket_goes_with_the_last_of_its_flows_but_for_the_newest() {
        let mut view = load(Rows::default());
        view.head.at = crate::event::Timestamp(5);
        for (flow, seq) in [("a", 1), ("b", 2), ("c", 200_000)] {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), 0, None).unwrap();
        }
        let mut view = again(view);
        assert_eq!(view.flows.counts, [(0, 2), (1, 1)].into());

        for flow in ["a", "b", "c"] {
            view.expire(flow, &mut Vec::new()).unwrap();
            assert!(view.flow_head(flow).unwrap().is_none());
        }

        assert_eq!(view.flows.counts, [(1, 0)].into());
        let left = view.rows.scan(&[0x12], &[0x13], 9).unwrap();
        assert_eq!(left.len(), 0, "its filter goes as well");
        // A text that has gone may come again.
        view.add_to_flow("a", Seq(200_001), 1, None).unwrap();
        assert_eq!(again(view).flow_head("a").unwrap().unwrap().open, 1);
    }

    #[test]
    fn flows_of_version_2_are_moved_with_all_that_belongs_to_them() {
        let mut view = load(Rows::default());
        for seq in 1..=150 {
            view.add_to_flow("f", Seq(seq), 1, None).unwrap();
        }
        view.resolve("f", bytes::Bytes::from_static(b"7")).unwrap();
        view.rows.put(keys::undo(Seq(1), 3).bytes(), bytes::Bytes::from_static(b"undo"));
        let before = format!("{:?}", view.flow("f").unwrap());
        // As they stood, under the text.
        let old = |table: u8, end: &[u8]| [&[table, 0, 1, b'f'], end].concat();
        let mut rows = Rows::default();
        for (key, value) in view.freeze().unwrap().rows() {
            let end = key.get(9..).unwrap_or_default();
            let key = match key[0] {
                0x03 | 0x12 => continue,
                0x36 => old(0x30, &[]),
                0x37 => old(0x31, end),
                0x38 => old(0x32, &[]),
                0x39 => old(0x34, end),
                _ => key,
            };
            rows.put(key, value.unwrap());
        }

        let view = load(rows);

        assert_eq!(format!("{:?}", view.flow("f").unwrap()), before);
        assert_eq!(view.rows.get(&keys::undo(Seq(1), 3).bytes()).unwrap().as_deref(), Some(&b"undo"[..]));
        assert!(view.rows.scan(&[0x30], &[0x33], 9).unwrap().is_empty());
        let again = again(view);
        assert_eq!(format!("{:?}", again.flow("f").unwrap()), before);
    }
}
