//! Sieves: which buckets cannot hold an id, told from memory.
//!
//! Nearly every id that comes is new, and each bucket would be read from disk in vain. A sieve is a Bloom
//! filter: what it does not hold was never put in; of what was not put in, it lets 0.3 % through when it is
//! full (4 bits set of 16 for each id). It is made anew at each start and is never stored.

use std::collections::BTreeMap;

use crate::event::Identity;

/// Ids that one sieve takes before the next one is begun.
const IDS: u32 = 1 << 17;
/// Bits of one sieve: 16 for each id.
const BITS: u64 = 16 * IDS as u64;
/// Bits that one id sets.
const SET: u64 = 4;

/// The sieves of all buckets.
#[derive(Debug, Default)]
pub(super) struct Sieves(BTreeMap<u32, Vec<Sieve>>);

#[derive(Debug)]
struct Sieve {
    words: Vec<u64>,
    ids: u32,
}

impl Sieves {
    pub(super) fn put(&mut self, bucket: u32, identity: Identity) {
        let sieves = self.0.entry(bucket).or_default();
        if sieves.last().is_none_or(|last| last.ids == IDS) {
            let words = usize::try_from(BITS / 64).unwrap_or_default();
            sieves.push(Sieve { words: vec![0; words], ids: 0 });
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
        self.0.get(&bucket).is_some_and(|sieves| sieves.iter().any(|sieve| sieve.may_hold(identity)))
    }

    pub(super) fn drop_bucket(&mut self, bucket: u32) {
        self.0.remove(&bucket);
    }
}

impl Sieve {
    fn may_hold(&self, identity: Identity) -> bool {
        places(identity).all(|(word, bit)| self.words.get(word).is_none_or(|word| word & bit != 0))
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
        let full = IDS + 10;
        (0..full).for_each(|n| sieves.put(3, id(n)));

        assert!((0..full).all(|n| sieves.may_hold(3, id(n))));
        let strangers = (full..full + 10_000).filter(|n| sieves.may_hold(3, id(*n))).count();
        assert!(strangers < 100, "{strangers} of 10,000 pass, some 25 should");
        assert!(!sieves.may_hold(4, id(1)));
        sieves.drop_bucket(3);
        assert!(!sieves.may_hold(3, id(1)));
    }
}
