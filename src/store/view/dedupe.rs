//! Dedupe: which ids were seen, in buckets, bounded in time and bytes (`forget.rs`).
//!
//! A bucket is closed after a quarter of the window, when it holds its share of the bytes, and by a checkpoint: ids stand in
//! no order of time, and each checkpoint that meets a bucket writes its pages again. Some buckets share a filter. What
//! outlives its bucket stands in the kept one, from where its flow's expiry takes it.

use serde::{Deserialize, Serialize};

use super::entry::EventEntry;
use super::sieve::{IDS, IDS_MAX};
use super::{View, keys};
use crate::event::{Fingerprint, Identity, Timestamp};
use crate::store::{Seq, StoreError};

/// Bytes that one record counts for, with its share of index and page.
pub(super) const RECORD_BYTES: u64 = 64;
/// A bucket is closed at this part of the bytes allowed.
const BYTE_SHARES: u64 = 6;
/// A bucket is closed at so many records, so that the rows of a bucket are written together and then rest.
const RECORDS_MAX: u64 = IDS_MAX as u64 / SHARING as u64;
/// A bucket that a checkpoint has taken some of is closed at so many records: with smaller ones filters would be less than half full.
const RECORDS_MIN: u64 = RECORDS_MAX / 2;
/// Buckets that share a filter, which are as many ids at most as one takes. Never changed: filters are stored.
const SHARING: u32 = 4;
/// A bucket is closed after this part of the window.
pub(super) const TIME_SHARES: u64 = 4;
/// Ids read at a time to fill the sieves.
const AT_ONCE: usize = 4_096;
/// Bucket for records that outlive theirs.
pub(super) const KEPT: u32 = 0;
/// The filter of the kept bucket is made anew when one more is kept and it has so many times the ids that are there: it forgets
/// none of those that have gone.
const KEPT_STALE: u64 = 4;

/// One dedupe record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) seq: Seq,
    pub(super) fingerprint: Fingerprint,
}

/// The live buckets, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Buckets {
    pub(super) live: Vec<Bucket>,
    last: u32,
    pub(super) forgotten_until: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Bucket {
    pub(super) number: u32,
    pub(super) opened: Timestamp,
    /// Those that count towards the bytes allowed: none once it was looked through under pressure, which has left the
    /// needed ones.
    pub(super) records: u64,
}

impl Buckets {
    /// The live buckets, the oldest first.
    pub(super) fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.live.iter().map(|bucket| bucket.number)
    }

    /// Those that share a filter, the newest first.
    fn sharing(&self, sieve: u32) -> impl Iterator<Item = u32> {
        let kept = (sieve == KEPT).then_some(KEPT);
        self.numbers().rev().filter(move |number| sieve_of(*number) == sieve).chain(kept)
    }

    /// Whether a filter has a bucket.
    pub(super) fn has_sieve(&self, sieve: u32) -> bool {
        self.sharing(sieve).next().is_some()
    }
}

/// The filter of a bucket; the kept one has one of its own.
pub(super) const fn sieve_of(bucket: u32) -> u32 {
    bucket.div_ceil(SHARING)
}

impl View {
    /// The record of `identity`, if it is remembered.
    pub(super) fn seen(&self, identity: Identity) -> Result<Option<Seen>, StoreError> {
        let sieves = self.sieves.candidates(identity);
        for bucket in sieves.flat_map(|sieve| self.head.dedupe.sharing(sieve)) {
            if let Some(seen) = self.id_in(bucket, identity)? {
                return Ok(Some(seen));
            }
        }
        Ok(None)
    }

    /// Reads all ids that are remembered.
    pub(super) fn fill_sieves(&mut self) -> Result<(), StoreError> {
        self.kept = self.fill_sieve(KEPT)?;
        let mut loaded = None;
        for number in self.head.dedupe.numbers().collect::<Vec<_>>() {
            self.delete_old_ids(number)?;
            let sieve = sieve_of(number);
            if loaded == Some(sieve) {
                continue;
            }
            if self.load_sieve(IDS, sieve)? {
                loaded = Some(sieve);
            } else {
                self.fill_sieve(number)?;
            }
        }
        Ok(())
    }

    /// Reads the ids of a bucket of which none is held decoded; tells how many there are.
    fn fill_sieve(&mut self, number: u32) -> Result<u64, StoreError> {
        let (bucket, mut count) = (keys::bucket(number), 0);
        let (mut from, end) = (bucket.clone().bytes(), bucket.end());
        loop {
            let rows = self.rows.scan(&from, &end, AT_ONCE)?;
            let Some((last, _)) = rows.last() else { return Ok(count) };
            from = [last.as_slice(), &[0]].concat();
            for identity in rows.iter().filter_map(|(key, _)| keys::identity_of(key)) {
                self.sieves.put(sieve_of(number), identity);
                count += 1;
            }
        }
    }

    /// Makes the filter of the kept bucket anew.
    fn fill_kept(&mut self) -> Result<(), StoreError> {
        let kept = self.ids_in(KEPT, usize::MAX)?;
        self.sieves.drop_bucket(IDS, KEPT);
        self.kept = kept.len() as u64;
        for (identity, _) in kept {
            self.sieves.put(KEPT, identity);
        }
        Ok(())
    }

    /// Writes the sieves of the buckets that take no more.
    pub(super) fn write_sieves(&mut self) {
        let open = sieve_of(self.head.dedupe.last);
        for (key, value) in self.sieves.unwritten(IDS, |sieve| sieve != KEPT && sieve < open) {
            self.rows.put(key.bytes(), value);
        }
    }

    /// The bucket that a new record of this time belongs to.
    pub(super) fn bucket_at(&self, at: Timestamp) -> u32 {
        let share = (self.limits.dedupe_max_bytes / BYTE_SHARES / RECORD_BYTES).clamp(1, RECORDS_MAX);
        let is_open = |bucket: &&Bucket| {
            let share = if self.closes == bucket.number { RECORDS_MIN.min(share) } else { share };
            at.millis_since(bucket.opened) < self.limits.bucket_ms() && bucket.records < share
        };
        match self.head.dedupe.live.last().filter(is_open) {
            Some(open) => open.number,
            None => self.head.dedupe.last.saturating_add(1),
        }
    }

    pub(super) fn remember(&mut self, entry: &EventEntry, at: Timestamp) {
        let number = entry.rest.bucket;
        let buckets = &mut self.head.dedupe;
        match buckets.live.iter_mut().rev().find(|bucket| bucket.number == number) {
            Some(bucket) => bucket.records += 1,
            None => buckets.live.push(Bucket { number, opened: at, records: 1 }),
        }
        buckets.last = buckets.last.max(number);
        self.sieves.put(sieve_of(number), entry.digests.identity);
        let seen = Seen { seq: entry.rest.seq, fingerprint: entry.digests.fingerprint };
        self.put_id(number, entry.digests.identity, seen);
    }

    /// Keeps a record that outlives its bucket.
    pub(super) fn keep_id(&mut self, identity: Identity, seen: Seen) -> Result<(), StoreError> {
        self.put_id(KEPT, identity, seen);
        self.sieves.put(KEPT, identity);
        self.kept += 1;
        let held = self.sieves.count(KEPT) as u64 * u64::from(IDS_MAX);
        if held > KEPT_STALE * self.kept.max(u64::from(IDS_MAX)) { self.fill_kept() } else { Ok(()) }
    }

    /// Forgets the record of an event whose flow has expired, if it was kept for it only.
    pub(super) fn release_kept(&mut self, identity: Identity) -> Result<(), StoreError> {
        if self.sieves.may_hold(KEPT, identity) && self.id_in(KEPT, identity)?.is_some() {
            self.delete_id(KEPT, identity);
            self.kept = self.kept.saturating_sub(1);
            if self.kept == 0 {
                self.sieves.drop_bucket(IDS, KEPT);
            }
        }
        Ok(())
    }

    /// Milliseconds the window reaches back at the time of the last group.
    pub(in crate::store) fn dedupe_reach_ms(&self) -> u64 {
        self.limits.dedupe_window_ms.min(self.head.at.millis_since(self.head.dedupe.forgotten_until))
    }
}
