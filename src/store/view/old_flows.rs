//! Old flows: where earlier versions kept them. A start moves them, once.

use super::View;
use super::flow::FlowHead;
use super::flow_index::{FlowName, hashed, name_of};
use super::index::Marks;
use super::keys::{self, FlowText, old};
use crate::store::{Seq, StoreError};

/// Rows read at a time.
const PAGE: usize = 1_024;

/// The name of a flow as its old key has it.
fn name_in(text: &FlowText<'_>) -> FlowName {
    match text {
        FlowText::Whole(text) => name_of(text),
        FlowText::Digest(hash) => hashed(hash),
    }
}

impl View {
    /// Moves flows from where format 2 of the folder kept them: in buckets, under their texts.
    pub(super) fn move_bucket_flows(&mut self) -> Result<(), StoreError> {
        let all = old::bucket_flows();
        let (mut from, end, mut has_any) = (all.clone().bytes(), all.end(), false);
        loop {
            let rows = self.rows.scan(&from, &end, PAGE)?;
            let Some((last, _)) = rows.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            has_any = true;
            for (key, value) in rows {
                let head: FlowHead = self.decode_grown(&key, &value)?;
                if let Some(text) = keys::flow_text(&key, 5) {
                    self.put_named(name_in(&text), &head)?;
                }
                self.rows.delete(key);
            }
        }
        if has_any {
            self.forget_flow_sieves();
        }
        Ok(())
    }

    fn put_named(&mut self, name: FlowName, head: &FlowHead) -> Result<(), StoreError> {
        let first = head.more.first;
        self.put(keys::flow_name(keys::flow_stretch(first), name), &first)?;
        self.put_grown(keys::flow(first), head)
    }

    /// Moves flows from where version 2 and before kept them.
    pub(super) fn move_old_flows(&mut self) -> Result<(), StoreError> {
        let all = old::old_flows();
        let (mut from, end) = (all.clone().bytes(), all.end());
        loop {
            let rows = self.rows.scan(&from, &end, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in rows {
                let mut head: FlowHead = self.decode_grown(&key, &value)?;
                self.move_old_flow(&key, &mut head)?;
                self.rows.delete(key);
            }
        }
    }

    fn move_old_flow(&mut self, old: &[u8], head: &mut FlowHead) -> Result<(), StoreError> {
        let [chunks, result, undos] = old::of_old_flow(old);
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
        let name = name_in(&text);
        self.note_flow(first, name);
        if was_marked != head.marks() && self.event_row(first)?.is_some() {
            self.mark_flow("", first, Marks::default(), head.marks());
        }
        self.put_named(name, head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Novelty;
    use crate::store::rows::Rows;
    use crate::store::view::flow_index::tests::{again, load};

    #[test]
    fn flows_of_format_2_are_moved_whatever_their_texts() {
        let mut view = load(Rows::default());
        let (long, hex) = ("l".repeat(300), "0123456789abcdef".repeat(2));
        let upper = hex.to_uppercase();
        let flows = [("a", 1), (&long, 2), (&hex, 3), (&upper, 4), ("b", 200_000), ("c", 400_000)];
        for (flow, seq) in flows {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), seq, None, Novelty::None).unwrap();
        }
        // As they stood, in buckets under their texts, with filters that hold none of them.
        let mut rows = Rows::default();
        for (key, value) in view.freeze().unwrap().rows() {
            let value = value.unwrap();
            let old = |seq: u64| {
                let flow = flows.iter().find(|(_, first)| *first == seq).unwrap().0;
                let text = match u16::try_from(flow.len()).unwrap() {
                    len if len <= 240 => [len.to_be_bytes().as_slice(), flow.as_bytes()].concat(),
                    _ => [[0xFF; 2].as_slice(), blake3::hash(flow.as_bytes()).as_bytes()].concat(),
                };
                [&[0x36], keys::flow_bucket(Seq(seq)).to_be_bytes().as_slice(), &text].concat()
            };
            match key[0] {
                0x3A => rows.put(old(keys::last_u64(&key).unwrap()), value),
                0x3C => {}
                0x12 => rows.put(key, vec![0; value.len()].into()),
                _ => rows.put(key, value),
            }
        }

        let mut view = load(rows);

        for _ in 0..2 {
            for (flow, seq) in flows {
                assert_eq!(view.flow_head(flow).unwrap().map(|head| head.open), Some(seq), "{flow}");
            }
            assert!(view.rows().scan(&[0x36], &[0x37], 9).unwrap().is_empty());
            assert!(view.has_flow_until(Seq(1)));
            view = again(view);
        }
    }

    #[test]
    fn flows_of_version_2_are_moved_with_all_that_belongs_to_them() {
        let mut view = load(Rows::default());
        for seq in 1..=150 {
            view.add_to_flow("f", Seq(seq), 1, None, Novelty::None).unwrap();
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
                0x03 | 0x12 | 0x3C => continue,
                0x3A => old(0x30, &[]),
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

    #[test]
    fn names_of_format_6_are_found_until_their_flows_go() {
        let mut view = load(Rows::default());
        view.head.at = crate::event::Timestamp(5);
        let flows = [("a", 1), ("b", 40_000), ("c", 140_000)];
        for (flow, seq) in flows {
            view.head.seqs = seq;
            view.add_to_flow(flow, Seq(seq), 0, None, Novelty::None).unwrap();
        }
        // As they stood, by buckets, with no filter.
        let mut rows = Rows::default();
        for (key, value) in view.freeze().unwrap().rows() {
            let first = value.as_deref().map(postcard::from_bytes::<Seq>);
            match (key[0], first) {
                (0x3C, Some(Ok(first))) => {
                    let name = keys::flow_name_of(&key).unwrap();
                    rows.put(old::flow_name(keys::flow_bucket(first), name).bytes(), value.unwrap());
                }
                (0x12, _) => {}
                _ => rows.put(key, value.unwrap()),
            }
        }

        let mut view = load(rows);

        view.head.seqs = 140_001;
        view.add_to_flow("d", Seq(140_001), 0, None, Novelty::None).unwrap();
        for (flow, first) in flows.into_iter().chain([("d", 140_001)]) {
            assert_eq!(view.flow_head(flow).unwrap().map(|head| head.more.first), Some(Seq(first)), "{flow}");
            view.expire(Seq(0), flow, &mut Vec::new()).unwrap();
            assert!(view.flow_head(flow).unwrap().is_none(), "{flow}");
        }
        let view = again(view);
        assert!(view.rows().scan(&[0x3B], &[0x3D], 9).unwrap().is_empty());
    }
}
