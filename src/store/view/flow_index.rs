//! Flow index: where the heads of flows stand.
//!
//! A flow stands under its first event, so that what a checkpoint takes and what a backlog is settled in lies side by
//! side: events know it. Whoever has its text only asks the names, in buckets of flows that began together; those whose
//! filter may hold it are looked into, the newest first.
//!
//! ```text
//! (first event)       head
//! (stretch, name)     first event
//! ```
//! A filter has room for a bucket, which is more than a checkpoint takes; names of as many stand in several stretches,
//! so that few of their pages are written by more than one checkpoint.

use std::collections::BTreeMap;

use super::View;
use super::flow::FlowHead;
use super::keys::{self, Key};
use super::sieve::{FLOWS, Sieves};
use super::spelled::unhex;
use crate::event::Identity;
use crate::store::{Seq, StoreError};

/// Rows read at a time.
const PAGE: usize = 1_024;

/// The buckets there are, with the flows in each.
#[derive(Debug, Default)]
pub(super) struct FlowBuckets {
    counts: BTreeMap<u32, u64>,
    sieves: Sieves,
    /// Names stand where format 6 of the folder kept them too, until their flows have gone.
    has_old_names: bool,
}

/// A flow as the index knows it: the bytes of 32 hexadecimal digits, as derived flows have them; else a digest of its text.
/// Which of the two counts, or a text could be made that is taken for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowName {
    pub(super) is_hashed: bool,
    pub(super) digest: Identity,
}

/// The name of a flow; never changed, since it is stored. Texts of derived flows are digests.
pub(super) fn name_of(flow: &str) -> FlowName {
    match unhex(flow.as_bytes()) {
        Some(digest) => FlowName { is_hashed: false, digest: Identity(digest) },
        None => hashed(blake3::hash(flow.as_bytes()).as_bytes()),
    }
}

/// The name of a flow whose hash is known.
pub(super) fn hashed(hash: &[u8]) -> FlowName {
    FlowName { is_hashed: true, digest: Identity(hash.first_chunk().copied().unwrap_or_default()) }
}

impl View {
    /// The head of a flow that is not held decoded.
    pub(super) fn stored_flow(&self, flow: &str) -> Result<Option<FlowHead>, StoreError> {
        if self.flows.counts.is_empty() {
            return Ok(None);
        }
        let name = name_of(flow);
        for bucket in self.flows.sieves.candidates(name.digest) {
            if let Some(first) = self.named_in(bucket, name)? {
                // One that is lost is none, as one that has no name: whoever knows that it must be there tells it.
                return self.get_grown(&keys::flow(first));
            }
        }
        Ok(None)
    }

    /// The first event of a flow of a bucket.
    fn named_in(&self, bucket: u32, name: FlowName) -> Result<Option<Seq>, StoreError> {
        for stretch in keys::flow_stretches(bucket).rev() {
            if let Some(first) = self.get(&keys::flow_name(stretch, name))? {
                return Ok(Some(first));
            }
        }
        if self.flows.has_old_names { self.get(&keys::old::flow_name(bucket, name)) } else { Ok(None) }
    }

    /// Removes the name of a flow.
    pub(super) fn unname(&mut self, flow: &str, first: Seq) {
        let name = name_of(flow);
        self.rows.delete(keys::flow_name(keys::flow_stretch(first), name).bytes());
        if self.flows.has_old_names {
            self.rows.delete(keys::old::flow_name(keys::flow_bucket(first), name).bytes());
        }
    }

    /// The head of a flow that is not held decoded and that begins with an event.
    pub(super) fn stored_flow_at(&self, first: Seq) -> Result<Option<FlowHead>, StoreError> {
        if first == Seq(0) { Ok(None) } else { self.get_grown(&keys::flow(first)) }
    }

    /// Notes that there is a flow.
    pub(super) fn count_flow(&mut self, flow: &str, first: Seq) {
        self.note_flow(first, name_of(flow));
    }

    pub(super) fn note_flow(&mut self, first: Seq, name: FlowName) {
        let bucket = keys::flow_bucket(first);
        *self.flows.counts.entry(bucket).or_default() += 1;
        self.flows.sieves.put(bucket, name.digest);
    }

    /// Forgets the filters of flows, which are stored: they are made anew from the names.
    pub(super) fn forget_flow_sieves(&mut self) {
        for bucket in self.flows.counts.keys() {
            self.rows.delete(keys::sieve(FLOWS, *bucket).bytes());
        }
    }

    /// Whether there may be a flow that began with this event or before it.
    pub(in crate::store) fn has_flow_until(&self, seq: Seq) -> bool {
        !self.is_clear_until(seq) && self.has_flow_beside(seq)
    }

    /// The same by buckets of flows alone: all engines answer alike, whenever their checkpoints end.
    pub(super) fn has_flow_beside(&self, seq: Seq) -> bool {
        self.flows.counts.range(..=keys::flow_bucket(seq)).any(|(_, count)| *count > 0)
    }

    /// Notes that a flow is gone.
    pub(super) fn discount_flow(&mut self, first: Seq) {
        self.oldest.gone(first);
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
        self.move_bucket_flows()?;
        let old = keys::old::names();
        self.flows.has_old_names = !self.rows.scan(&old.clone().bytes(), &old.end(), 1)?.is_empty();
        for bucket in self.flows.counts.keys().copied().collect::<Vec<_>>() {
            if self.load_sieve(FLOWS, bucket)? {
                continue;
            }
            for names in
                keys::flow_stretches(bucket).map(keys::flow_names).chain([keys::old::names_of(bucket)])
            {
                self.fill_flow_sieve(bucket, &names)?;
            }
        }
        self.move_old_flows()
    }

    fn fill_flow_sieve(&mut self, bucket: u32, names: &Key) -> Result<(), StoreError> {
        let (mut from, end) = (names.clone().bytes(), names.end());
        loop {
            let rows = self.rows.scan(&from, &end, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            for name in rows.iter().filter_map(|(key, _)| keys::flow_name_of(key)) {
                self.flows.sieves.put(bucket, name.digest);
            }
        }
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
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::store::rows::Rows;
    use crate::store::{Novelty, StoreSettings};

    pub(in crate::store::view) fn load(rows: Rows) -> View {
        View::load(rows, &StoreSettings::default(), "here".into()).unwrap()
    }

    /// A view over the same rows, as a start reads them.
    pub(in crate::store::view) fn again(mut view: View) -> View {
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
    fn the_name_of_a_derived_flow_is_what_its_text_spells_and_of_any_other_a_hash() {
        let derived = name_of("00112233445566778899aabbccddeeff");
        let spelled = [0, 17, 34, 51, 68, 85, 102, 119, 136, 153, 170, 187, 204, 221, 238, 255];
        assert_eq!(derived, FlowName { is_hashed: false, digest: Identity(spelled) });
        for text in [
            "00112233445566778899aabbccddeefF",
            "00112233445566778899aabbccddeefg",
            "00112233445566778899aabbccddee/0",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeeff0",
            "",
        ] {
            assert_eq!(name_of(text), hashed(blake3::hash(text.as_bytes()).as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_flow_is_found_after_a_start_whatever_bucket_it_is_in() {
        let mut view = load(Rows::default());
        let long = "l".repeat(300);
        for (flow, seq) in [("a", 1), (long.as_str(), 200_000), ("b", 400_000), ("c", 400_001)] {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), 1, None, Novelty::None).unwrap();
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
        view.head.at = Timestamp(5);
        for (flow, seq) in [("a", 1), ("b", 2), ("c", 200_000)] {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), 0, None, Novelty::None).unwrap();
        }
        let mut view = again(view);
        assert_eq!(view.flows.counts, [(0, 2), (1, 1)].into());

        for flow in ["a", "b", "c"] {
            view.expire(Seq(0), flow, &mut Vec::new()).unwrap();
            assert!(view.flow_head(flow).unwrap().is_none());
        }

        assert_eq!(view.flows.counts, [(1, 0)].into());
        let left = view.rows.scan(&[0x12], &[0x13], 9).unwrap();
        assert_eq!(left.len(), 0, "its filter goes as well");
        // A text that has gone may come again.
        view.add_to_flow("a", Seq(200_001), 1, None, Novelty::None).unwrap();
        assert_eq!(again(view).flow_head("a").unwrap().unwrap().open, 1);
    }

    #[test]
    fn a_text_that_spells_the_digest_of_another_one_is_a_flow_of_its_own() {
        let mut view = load(Rows::default());
        let spelled: String = blake3::hash(b"a").to_hex().chars().take(32).collect();
        for (flow, seq) in [("a", 1), (spelled.as_str(), 2), (&spelled.to_uppercase(), 3)] {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), seq, None, Novelty::None).unwrap();
        }

        let view = again(again(view));

        let open = |flow: &str| view.flow_head(flow).unwrap().unwrap().open;
        assert_eq!((open("a"), open(&spelled), open(&spelled.to_uppercase())), (1, 2, 3));
    }

    #[test]
    fn the_texts_of_flows_at_rest_are_known_however_long_they_are() {
        let mut view = load(Rows::default());
        view.head.at = Timestamp(5);
        let long = "l".repeat(300);
        for (flow, seq) in [("a", 1), (long.as_str(), 2)] {
            view.add_to_flow(flow, Seq(seq), 0, None, Novelty::None).unwrap();
        }

        let mut at_rest = again(view).flows_at_rest(Timestamp(5), 9).unwrap();

        at_rest.sort_unstable();
        assert_eq!(at_rest, [("a".to_owned(), Seq(1)), (long, Seq(0))]);
    }

    #[test]
    fn a_flow_that_opens_again_when_its_first_event_has_expired_is_listed_by_its_text() {
        let mut view = load(Rows::default());
        // More events than one slice of expiry takes.
        for seq in 1..=1_100 {
            view.add_to_flow("f", Seq(seq), 0, None, Novelty::None).unwrap();
        }
        view.expire(Seq(0), "f", &mut Vec::new()).unwrap();
        view.add_to_flow("f", Seq(1_101), 1, None, Novelty::None).unwrap();

        let open = view.rows.scan(&[0xC1], &[0xC2], 9).unwrap();

        assert_eq!(open.iter().map(|(_, text)| &**text).collect::<Vec<_>>(), [b"f"]);
    }
}
