//! Sieves: which buckets cannot hold an id, told from memory. Of ids some buckets share one (`dedupe.rs`); it is called a bucket here.
//!
//! Nearly every id that comes is new, and each bucket would be read from disk in vain. A sieve is a Bloom
//! filter: what it does not hold was never put in; of what was not put in, it lets some 0.005 % through when it is
//! full (9 bits set of 24 for each id): a look at a bucket that rests costs as much as storing ten events. The bits of an id
//! stand in three lines of the processor's cache, and those of eight buckets share one field, a bit of each of its bytes, so
//! that one line or two ask all of them. The sieve of a bucket which takes no more is stored, so
//! that a start need not read all ids; those of the others are made anew.

use bytes::Bytes;

use super::View;
use super::keys::{self, Key};
use crate::event::Identity;
use crate::store::StoreError;

/// Kind of the sieves of dedupe records; never changed, nor are the others.
pub(super) const IDS: u8 = 7;
/// Kind of the sieves of flows.
pub(super) const FLOWS: u8 = 6;

/// The kinds whose bits were set elsewhere, or that were no others' but one bucket's.
const OLD_IDS: [u8; 3] = [1, 3, 5];
const OLD_FLOWS: [u8; 2] = [2, 4];

/// Ids that one sieve takes before the next one is begun.
pub(super) const IDS_MAX: u32 = 1 << 17;
/// Bits of one sieve: 24 for each id.
const BITS: usize = 24 * IDS_MAX as usize;
/// Bits in a line of the processor's cache, which has a byte for each.
const LINE: usize = 64;
/// Lines in which one id sets bits, and how many it sets in each.
const SET: usize = 3;
/// Mixes the halves of an id: any odd number whose bits are as good as drawn.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bits of a hash that pick one in a line.
const PICK: u32 = LINE.ilog2();
/// Ids that are put in together: so few that a look at them costs little.
const TOGETHER: usize = 32;
/// Sieves in one field.
const COLUMNS: usize = 8;

/// The sieves of all buckets of a kind.
#[derive(Debug, Default)]
pub(super) struct Sieves {
    fields: Vec<Field>,
    /// Ids that are not put in yet, with their buckets. Each touches three lines that are mostly not in the processor's cache; of
    /// those that are put in one right after the other these misses overlap.
    waiting: Vec<(u32, Identity)>,
}

/// A byte for each bit of a sieve, and a bit of it for each sieve.
#[derive(Debug)]
struct Field {
    bytes: Vec<u8>,
    columns: [Option<Column>; COLUMNS],
}

#[derive(Debug, Clone, Copy)]
struct Column {
    bucket: u32,
    ids: u32,
    is_stored: bool,
}

impl Sieves {
    pub(super) fn put(&mut self, bucket: u32, identity: Identity) {
        self.waiting.push((bucket, identity));
        if self.waiting.len() >= TOGETHER {
            self.put_waiting();
        }
    }

    fn put_waiting(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for (bucket, identity) in waiting.drain(..) {
            self.put_now(bucket, identity);
        }
        self.waiting = waiting;
    }

    fn put_now(&mut self, bucket: u32, identity: Identity) {
        let takes_more = |column: &Column| column.bucket == bucket && column.ids < IDS_MAX;
        let (field, at) = match self.position(takes_more) {
            Some(found) => found,
            None => self.begin(Column { bucket, ids: 0, is_stored: false }),
        };
        let Some(field) = self.fields.get_mut(field) else { return };
        if let Some(Some(column)) = field.columns.get_mut(at) {
            column.ids += 1;
            column.is_stored = false;
        }
        for place in places(identity).as_flattened() {
            if let Some(byte) = field.bytes.get_mut(*place) {
                *byte |= 1 << at;
            }
        }
    }

    /// The buckets that may hold an id, the newest first.
    pub(super) fn candidates(&self, identity: Identity) -> impl Iterator<Item = u32> {
        let places = places(identity);
        let waiting = self.waiting.iter().filter(|(_, other)| *other == identity);
        let mut found: Vec<u32> = waiting.map(|(bucket, _)| *bucket).collect();
        for field in &self.fields {
            let byte = |place: &usize| field.bytes.get(*place).copied().unwrap_or(u8::MAX);
            let mut held = u8::MAX;
            for line in &places {
                held &= line.iter().fold(u8::MAX, |held, place| held & byte(place));
                if held == 0 {
                    break;
                }
            }
            if held > 0 {
                let columns = field.columns.iter().enumerate();
                found.extend(
                    columns
                        .filter(|(at, _)| held >> at & 1 == 1)
                        .filter_map(|(_, column)| Some(column.as_ref()?.bucket)),
                );
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found.into_iter()
    }

    /// `false` when the bucket holds no such id for sure.
    pub(super) fn may_hold(&self, bucket: u32, identity: Identity) -> bool {
        self.candidates(identity).any(|candidate| candidate == bucket)
    }

    /// How many sieves a bucket has, once those that wait are put in.
    pub(super) fn count(&mut self, bucket: u32) -> usize {
        self.put_waiting();
        self.columns().filter(|column| column.bucket == bucket).count()
    }

    /// Forgets a bucket; answers the row that goes with it.
    pub(super) fn drop_bucket(&mut self, kind: u8, bucket: u32) -> Option<Key> {
        self.put_waiting();
        let mut was_there = false;
        while let Some((field, at)) = self.position(|column| column.bucket == bucket) {
            was_there = true;
            if let Some(field) = self.fields.get_mut(field) {
                field.bytes.iter_mut().for_each(|byte| *byte &= !(1 << at));
                field.columns.iter_mut().skip(at).take(1).for_each(|column| *column = None);
            }
        }
        self.fields.retain(|field| field.columns.iter().any(Option::is_some));
        was_there.then(|| keys::sieve(kind, bucket))
    }

    /// Rows for the buckets that take no more and are not stored; from now on they are.
    pub(super) fn unwritten(&mut self, kind: u8, takes_no_more: impl Fn(u32) -> bool) -> Vec<(Key, Bytes)> {
        self.put_waiting();
        let mut due: Vec<u32> =
            self.columns().filter(|column| !column.is_stored).map(|column| column.bucket).collect();
        due.retain(|bucket| takes_no_more(*bucket));
        due.sort_unstable();
        due.dedup();
        due.into_iter().map(|bucket| (keys::sieve(kind, bucket), self.store(bucket))).collect()
    }

    /// The sieves of a bucket one after the other, each a bit set.
    fn store(&mut self, bucket: u32) -> Bytes {
        let mut stored = Vec::new();
        for field in &mut self.fields {
            for (at, column) in field.columns.iter_mut().enumerate() {
                let Some(column) = column.as_mut().filter(|column| column.bucket == bucket) else { continue };
                column.is_stored = true;
                let (eights, _) = field.bytes.as_chunks::<8>();
                stored.extend(eights.iter().map(|bytes| {
                    bytes
                        .iter()
                        .enumerate()
                        .fold(0_u8, |packed, (bit, byte)| packed | (byte >> at & 1) << bit)
                }));
            }
        }
        stored.into()
    }

    fn restore(&mut self, bucket: u32, stored: &[u8]) {
        for sieve in stored.chunks(BITS / 8) {
            let (field, at) = self.begin(Column { bucket, ids: IDS_MAX, is_stored: true });
            let Some(field) = self.fields.get_mut(field) else { continue };
            let (eights, _) = field.bytes.as_chunks_mut::<8>();
            for (bytes, packed) in eights.iter_mut().zip(sieve) {
                for (bit, byte) in bytes.iter_mut().enumerate() {
                    *byte |= (packed >> bit & 1) << at;
                }
            }
        }
    }

    /// Begins a sieve where there is room.
    fn begin(&mut self, column: Column) -> (usize, usize) {
        let room = |field: &Field| field.columns.iter().position(Option::is_none);
        let free = self.fields.iter().enumerate().find_map(|(at, field)| Some((at, room(field)?)));
        let (field, at) = free.unwrap_or((self.fields.len(), 0));
        if free.is_none() {
            self.fields.push(Field { bytes: vec![0; BITS], columns: [None; COLUMNS] });
        }
        if let Some(slot) = self.fields.get_mut(field).and_then(|field| field.columns.get_mut(at)) {
            *slot = Some(column);
        }
        (field, at)
    }

    fn columns(&self) -> impl Iterator<Item = &Column> {
        self.fields.iter().flat_map(|field| field.columns.iter().flatten())
    }

    /// Where the newest sieve of a kind stands.
    fn position(&self, of_it: impl Fn(&Column) -> bool) -> Option<(usize, usize)> {
        let of_field =
            |field: &Field| field.columns.iter().rposition(|column| column.as_ref().is_some_and(&of_it));
        self.fields.iter().enumerate().rev().find_map(|(at, field)| Some((at, of_field(field)?)))
    }
}

impl View {
    /// Reads a stored sieve; `false` when there is none.
    pub(super) fn load_sieve(&mut self, kind: u8, bucket: u32) -> Result<bool, StoreError> {
        if kind == FLOWS {
            self.delete_sieves(&OLD_FLOWS, bucket)?;
        }
        let Some(stored) = self.rows.get(&keys::sieve(kind, bucket).bytes())? else { return Ok(false) };
        let sieves = if kind == FLOWS { self.flow_sieves_mut() } else { &mut self.sieves };
        sieves.restore(bucket, &stored);
        Ok(true)
    }

    /// Deletes what an earlier build has stored for a bucket of ids.
    pub(super) fn delete_old_ids(&mut self, bucket: u32) -> Result<(), StoreError> {
        self.delete_sieves(&OLD_IDS, bucket)
    }

    fn delete_sieves(&mut self, kinds: &[u8], bucket: u32) -> Result<(), StoreError> {
        for kind in kinds {
            let old = keys::sieve(*kind, bucket).bytes();
            if self.rows.get(&old)?.is_some() {
                self.rows.delete(old);
            }
        }
        Ok(())
    }
}

/// The bits of an id, line by line. An identity is a digest: a part of it picks each line, all of it the bits in there.
fn places(identity: Identity) -> [[usize; SET]; SET] {
    let (words, _) = identity.0.as_chunks::<4>();
    let word = |index: usize| words.get(index).map_or(0, |word| u64::from(u32::from_le_bytes(*word)));
    let mut picks = (word(0) | word(1) << 32).wrapping_mul(SPREAD) ^ (word(2) | word(3) << 32);
    std::array::from_fn(|index| {
        let line = (word(index) * (BITS / LINE) as u64) >> 32;
        std::array::from_fn(|_| {
            picks = picks.rotate_right(PICK);
            usize::try_from(line).unwrap_or_default() * LINE
                + usize::try_from(picks % LINE as u64).unwrap_or_default()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Identity {
        Identity::of("/test", &n.to_string())
    }

    #[test]
    fn what_was_put_in_is_held_and_little_else() {
        let mut sieves = Sieves::default();
        let full = IDS_MAX + 10;
        (0..full).for_each(|n| sieves.put(3, id(n)));

        assert!((0..full).all(|n| sieves.may_hold(3, id(n))));
        let strangers = (full..full + 200_000).filter(|n| sieves.may_hold(3, id(*n))).count();
        assert!(strangers < 30, "{strangers} of 200,000 pass, ten may");
        assert!(!sieves.may_hold(4, id(1)));

        let rows = sieves.unwritten(IDS, |bucket| bucket == 3);
        assert_eq!(rows.len(), 1);
        assert!(sieves.unwritten(IDS, |bucket| bucket == 3).is_empty(), "it is stored once");
        let mut again = Sieves::default();
        again.restore(3, &rows[0].1);
        assert!((0..full).all(|n| again.may_hold(3, id(n))));
        let passing = (full..full + 200_000).filter(|n| again.may_hold(3, id(*n))).count();
        assert_eq!(passing, strangers);

        assert!(sieves.drop_bucket(IDS, 3).is_some());
        assert!(!sieves.may_hold(3, id(1)));
    }

    #[test]
    fn buckets_that_share_a_field_know_nothing_of_each_other() {
        let mut sieves = Sieves::default();
        let buckets = 3 * u32::try_from(COLUMNS).unwrap();
        (0..buckets).for_each(|bucket| (0..100).for_each(|n| sieves.put(bucket, id(1_000 * bucket + n))));
        let found = |sieves: &Sieves, n| sieves.candidates(id(n)).collect::<Vec<_>>();
        let stored = sieves.unwritten(IDS, |bucket| bucket == 5);

        assert!((0..buckets).all(|bucket| found(&sieves, 1_000 * bucket) == [bucket]));
        sieves.drop_bucket(IDS, 5);
        assert!((0..buckets).all(|bucket| (found(&sieves, 1_000 * bucket) == [bucket]) == (bucket != 5)));

        // Its column is another one's now, and it comes back where there is room.
        sieves.put(99, id(99_000));
        assert_eq!(sieves.count(99), 1);
        sieves.restore(5, &stored[0].1);
        assert_eq!((found(&sieves, 5_000), found(&sieves, 99_000)), (vec![5], vec![99]));
        sieves.put(6, id(99_000));
        for _ in 0..2 {
            assert_eq!(found(&sieves, 99_000), [99, 6], "the newest first");
            assert_eq!(sieves.count(6), 1);
        }
    }

    #[test]
    fn an_id_is_known_while_it_waits_to_be_put_in_and_goes_with_its_bucket() {
        let mut sieves = Sieves::default();
        sieves.put(3, id(1));
        sieves.put(4, id(2));
        assert_eq!((sieves.waiting.len(), sieves.fields.len()), (2, 0), "they wait");
        assert!(sieves.may_hold(3, id(1)) && sieves.may_hold(4, id(2)) && !sieves.may_hold(4, id(1)));

        let stored = sieves.unwritten(IDS, |bucket| bucket == 3);
        let mut again = Sieves::default();
        again.restore(3, &stored[0].1);
        assert!(again.may_hold(3, id(1)), "what is stored has it");

        sieves.put(3, id(5));
        sieves.put(4, id(5));
        sieves.drop_bucket(IDS, 3);
        assert_eq!(sieves.candidates(id(5)).collect::<Vec<_>>(), [4]);
        assert!(!sieves.may_hold(3, id(1)));
    }

    #[test]
    fn a_sieve_of_an_older_build_is_made_anew() {
        let mut rows = crate::store::rows::Rows::default();
        let old = OLD_FLOWS.map(|kind| keys::sieve(kind, 7).bytes());
        for old in &old {
            rows.put(old.clone(), Bytes::from_static(&[0; 8]));
        }
        let mut view = super::super::flow_index::tests::load(rows);

        assert!(!view.load_sieve(FLOWS, 7).unwrap());

        assert!(old.iter().all(|old| view.rows.get(old).unwrap().is_none()));
    }
}
