//! Drawn ids: for what comes without one. UUIDs of version 7, in the order in which they are drawn.
//!
//! The random bits come from a keyed BLAKE3 stream, each thread's with a key from the operating system: asking that
//! for every id is a system call for every event.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

use super::Timestamp;

/// Bytes of a key's seed that the operating system has drawn, at least: twice what the key holds.
const SEED_MIN: usize = 64;
/// Such bytes in one of its UUIDs, at least.
const SEED_IN_UUID: usize = 4;
/// Bytes that the stream gives at a time.
const BLOCK: usize = 64;
/// Bits of the number within a millisecond.
const NUMBER_BITS: u32 = 12;

/// The newest time and number that an id of this process bears.
static LAST: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static RANDOM: RefCell<Random> = RefCell::new(Random::seeded());
}

/// An id of 62 random bits, the time, and a number within the millisecond.
///
/// # Guarantees
/// Every id is greater than those that this process has drawn before, as bytes and as text; when the clock stands
/// or more than 4,096 are drawn in one millisecond, the time in the id runs ahead of the clock.
pub fn drawn_id(now: Timestamp) -> Uuid {
    let next = |last: u64| (now.0 << NUMBER_BITS).max(last + 1);
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    // It is always given a value: the error is for those who give none.
    let stamp = next(last.unwrap_or_else(|last| last));
    let number = [(stamp >> 8) & 0x0F, stamp & 0xFF].map(|byte| u8::try_from(byte).unwrap_or_default());
    let mut rest: [u8; 10] = random();
    if let Some(first) = rest.first_chunk_mut() {
        *first = number;
    }
    Builder::from_unix_timestamp_millis(stamp >> NUMBER_BITS, &rest).into_uuid()
}

/// Lets the ids that this process draws from now on follow those that an earlier one has drawn up to `at`, whatever the
/// clock says: it may have been set back in between.
pub fn draw_after(at: Timestamp) {
    LAST.fetch_max((at.0 << NUMBER_BITS) | ((1 << NUMBER_BITS) - 1), Ordering::Relaxed);
}

/// An id of 122 random bits, for what needs no order.
pub fn drawn_token() -> Uuid {
    Builder::from_random_bytes(random()).into_uuid()
}

fn random<const N: usize>() -> [u8; N] {
    // A thread that is ending has no stream any more, and draws from one of its own.
    let taken = RANDOM.try_with(|random| random.borrow_mut().take());
    taken.unwrap_or_else(|_| Random::seeded().take())
}

struct Random {
    key: [u8; 32],
    blocks: u64,
    block: [u8; BLOCK],
    used: usize,
}

impl Random {
    fn seeded() -> Self {
        let mut seed = blake3::Hasher::new();
        for _ in 0..SEED_MIN / SEED_IN_UUID {
            seed.update(Uuid::now_v7().as_bytes());
        }
        Self { key: *seed.finalize().as_bytes(), blocks: 0, block: [0; BLOCK], used: BLOCK }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > BLOCK {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            hasher.update(&self.blocks.to_le_bytes());
            hasher.finalize_xof().fill(&mut self.block);
            (self.blocks, self.used) = (self.blocks + 1, 0);
        }
        let taken = self.block.get(self.used..).and_then(|rest| rest.first_chunk());
        self.used += N;
        taken.copied().unwrap_or([0; N])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_in_the_order_in_which_they_are_drawn_whatever_the_clock_says() {
        let mut last = drawn_id(Timestamp(1_774_944_000_000)).to_string();
        for n in 0..20_000 {
            // It stands, it goes on, it goes back.
            let id = drawn_id(Timestamp(1_774_944_000_000 + n % 3));

            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            assert!(last < id.to_string(), "{last} before {id}");
            last = id.to_string();
        }
    }

    #[test]
    fn ids_of_a_process_follow_those_of_the_one_before_though_the_clock_was_set_back() {
        // Later than any other test of this process draws: only what is told here can be followed.
        let newest = Timestamp(5_000_000_000_000);

        draw_after(newest);

        let next = drawn_id(Timestamp(newest.0 - 86_400_000)).to_string().replace('-', "");
        let floor = format!("{:012x}", newest.0 + 1);
        assert!(next.as_str() >= floor.as_str(), "{next} is before {floor}");
    }

    #[test]
    fn no_two_are_the_same_on_any_threads() {
        let draw = || (0..5_000).flat_map(|_| [drawn_id(Timestamp(1)), drawn_token()]).collect::<Vec<_>>();
        let drawn: Vec<Vec<Uuid>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });

        let distinct: HashSet<&[u8]> = drawn.iter().flatten().map(|id| &id.as_bytes()[8..]).collect();

        assert_eq!(distinct.len(), 40_000, "their random bits alone tell them apart");
    }

    #[test]
    fn an_id_bears_the_time() {
        let far = Timestamp(4_102_444_800_000);
        let (seconds, nanos) = drawn_id(far).get_timestamp().unwrap().to_unix();

        // Another test may have drawn in the same process at that time: then it runs ahead.
        assert!(seconds * 1_000 + u64::from(nanos) / 1_000_000 >= far.0);
    }
}
