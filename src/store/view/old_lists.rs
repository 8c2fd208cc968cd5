//! Old lists: format 4 of the folder kept full chunks and open ones in one table. A start parts them, once.

use super::View;
use super::keys::old;
use crate::store::StoreError;

/// Rows read at a time.
const PAGE: usize = 1_024;

impl View {
    /// Moves lists from where format 4 of the folder kept them.
    pub(super) fn move_old_lists(&mut self) -> Result<(), StoreError> {
        let all = old::old_lists();
        let (mut from, end) = (all.clone().bytes(), all.end());
        loop {
            let rows = self.rows.scan(&from, &end, PAGE)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in rows {
                self.rows.put(old::moved_list(&key).bytes(), value);
                self.rows.delete(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::flow_index::tests::{again, load};
    use super::super::index::List;
    use crate::event::EventName;
    use crate::store::Seq;
    use crate::store::rows::Rows;

    #[test]
    fn lists_of_format_4_are_parted_and_go_on() {
        let mut view = load(Rows::default());
        let (name, long) = (EventName::new("a.b").unwrap(), "l".repeat(300));
        for seq in 1..=600 {
            view.list_event(Seq(seq), &name, if seq % 2 == 0 { "k" } else { &long }).unwrap();
        }
        // As they stood: under one byte, an open chunk where a full one has its first event.
        let mut rows = Rows::default();
        for (key, value) in view.freeze().unwrap().rows() {
            let key = match key[0] {
                0xC3 => [&[0xC0], &key[1..]].concat(),
                0xC4 => [&[0xC0], &key[1..], &[0; 8]].concat(),
                _ => key,
            };
            rows.put(key, value.unwrap());
        }

        let mut view = load(rows);

        let step = |list| if list == List::Name("a.b") { 1 } else { 2 };
        for last in [600, 700] {
            for (list, odd) in [(List::Name("a.b"), 0), (List::Key("k"), 0), (List::Key(&long), 1)] {
                let own = (1..=last).rev().filter(|seq| seq % step(list) == odd).map(Seq);
                let found = view.listed_below(list, Seq(u64::MAX), 999).unwrap();
                assert_eq!(found, own.collect::<Vec<_>>());
            }
            assert!(view.rows.scan(&[0xC0], &[0xC1], 9).unwrap().is_empty());
            view = again(view);
            for seq in last + 1..=700 {
                view.list_event(Seq(seq), &name, if seq % 2 == 0 { "k" } else { &long }).unwrap();
            }
        }
    }
}
