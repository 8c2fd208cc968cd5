//! Sieves: which buckets cannot hold an id, told from memory.
//!
//! Nearly every id that comes is new, and each bucket would be read from disk in vain. A sieve is a Bloom
//! filter: what it does not hold was never put in; of what was not put in, it lets 0.3 % through when it is
//! full (4 bits set of 16 for each id). That of a bucket which takes no more is stored, so that a start need not
//! read all ids; those of the others are made anew.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::View;
use super::keys::{self, Key};
use crate::event::Identity;
use crate::store::StoreError;

/// Kind of the sieves of dedupe records; never changed, nor are the others.
pub(super) const IDS: u8 = 1;
/// Kind of the sieves of flows.
pub(super) const FLOWS: u8 = 2;

/// Ids that one sieve takes before the next one is begun.
const IDS_MAX: u32 = 1 << 17;
/// Bits of one sieve: 16 for each id.
const BITS: u64 = 16 * IDS_MAX as u64;
/// Bytes of one sieve.
const BYTES: usize = 2 * IDS_MAX as usize;
/// Bits that one id sets.
const SET: u64 = 4;

/// The sieves of all buckets of a kind.
#[derive(Debug, Default)]
pub(super) struct Sieves(BTreeMap<u32, Bucket>);

#[derive(Debug, Default)]
struct Bucket {
    sieves: Vec<Sieve>,
    is_stored: bool,
}

#[derive(Debug)]
struct Sieve {
    words: Vec<u64>,
    ids: u32,
}

impl Sieves {
    pub(super) fn put(&mut self, bucket: u32, identity: Identity) {
        let Bucket { sieves, is_stored } = self.0.entry(bucket).or_default();
        *is_stored = false;
        if sieves.last().is_none_or(|last| last.ids == IDS_MAX) {
            sieves.push(Sieve { words: vec![0; BYTES / 8], ids: 0 });
        }
        if let Some(open) = sieves.last_mut() {
            open.ids += 1;
            for (word, bit) in places(identity) {
                if let Some(word) = open.words.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// `false` when the bucket holds no such id for sure.
    pub(super) fn may_hold(&self, bucket: u32, identity: Identity) -> bool {
        self.0.get(&bucket).is_some_and(|held| held.sieves.iter().any(|sieve| sieve.may_hold(identity)))
    }

    /// Forgets a bucket; answers the row that goes with it.
    pub(super) fn drop_bucket(&mut self, kind: u8, bucket: u32) -> Option<Key> {
        self.0.remove(&bucket).map(|_| keys::sieve(kind, bucket))
    }

    /// Rows for the buckets that take no more and are not stored; from now on they are.
    pub(super) fn unwritten(&mut self, kind: u8, takes_no_more: impl Fn(u32) -> bool) -> Vec<(Key, Bytes)> {
        let due = self.0.iter_mut().filter(|(number, bucket)| !bucket.is_stored && takes_no_more(**number));
        due.map(|(number, bucket)| {
            bucket.is_stored = true;
            let words = bucket.sieves.iter().flat_map(|sieve| &sieve.words);
            (keys::sieve(kind, *number), words.flat_map(|word| word.to_le_bytes()).collect())
        })
        .collect()
    }

    fn restore(&mut self, bucket: u32, stored: &[u8]) {
        let sieve = |bytes: &[u8]| {
            let (words, _) = bytes.as_chunks::<8>();
            Sieve { words: words.iter().map(|word| u64::from_le_bytes(*word)).collect(), ids: IDS_MAX }
        };
        let sieves = stored.chunks(BYTES).map(sieve).collect();
        self.0.insert(bucket, Bucket { sieves, is_stored: true });
    }
}

impl Sieve {
    fn may_hold(&self, identity: Identity) -> bool {
        places(identity).all(|(word, bit)| self.words.get(word).is_none_or(|word| word & bit != 0))
    }
}

impl View {
    /// Reads a stored sieve; `false` when there is none.
    pub(super) fn load_sieve(&mut self, kind: u8, bucket: u32) -> Result<bool, StoreError> {
        let Some(stored) = self.rows.get(&keys::sieve(kind, bucket).bytes())? else { return Ok(false) };
        let sieves = if kind == FLOWS { self.flow_sieves_mut() } else { &mut self.sieves };
        sieves.restore(bucket, &stored);
        Ok(true)
    }
}

/// The word and the bit of each place of an id. An identity is a digest, so its halves are two hashes.
fn places(identity: Identity) -> impl Iterator<Item = (usize, u64)> {
    let (halves, _) = identity.0.as_chunks::<8>();
    let hash = |index: usize| halves.get(index).map_or(0, |half| u64::from_le_bytes(*half));
    let (start, step) = (hash(0), hash(1) | 1);
    (0..SET).map(move |n| {
        let place = start.wrapping_add(n.wrapping_mul(step)) % BITS;
        (usize::try_from(place / 64).unwrap_or_default(), 1 << (place % 64))
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
        let strangers = (full..full + 10_000).filter(|n| sieves.may_hold(3, id(*n))).count();
        assert!(strangers < 100, "{strangers} of 10,000 pass, some 25 should");
        assert!(!sieves.may_hold(4, id(1)));

        let rows = sieves.unwritten(IDS, |bucket| bucket == 3);
        assert_eq!(rows.len(), 1);
        assert!(sieves.unwritten(IDS, |bucket| bucket == 3).is_empty(), "it is stored once");
        let mut again = Sieves::default();
        again.restore(3, &rows[0].1);
        assert!((0..full).all(|n| again.may_hold(3, id(n))));
        let passing = (full..full + 10_000).filter(|n| again.may_hold(3, id(*n))).count();
        assert_eq!(passing, strangers);

        assert!(sieves.drop_bucket(IDS, 3).is_some());
        assert!(!sieves.may_hold(3, id(1)));
    }
}
