//! Dedupe: which ids were seen, in buckets that are dropped whole, bounded in time and bytes.
//!
//! A bucket is closed after a quarter of the window, or when it holds its share of the bytes. Dropping
//! one goes in slices. A record that is still needed (its status can be read; under pressure: its flow is
//! not at rest) moves on to the kept bucket, from where its flow's expiry takes it.

use serde::{Deserialize, Serialize};

use super::entry::EventEntry;
use super::sieve::IDS;
use super::{View, keys};
use crate::event::{Fingerprint, Identity, Timestamp};
use crate::store::{Seq, StoreError};

/// Bytes that one record counts for, with its share of index and page.
const RECORD_BYTES: u64 = 64;
/// A bucket is closed at this part of the bytes allowed.
const BYTE_SHARES: u64 = 6;
/// A bucket is closed at so many records, so that the rows of a bucket are written together and then rest.
const RECORDS_MAX: u64 = 1 << 17;
/// A bucket is closed after this part of the window.
pub(super) const TIME_SHARES: u64 = 4;
/// Ids read at a time to fill the sieves.
const AT_ONCE: usize = 4_096;
/// Records that one slice of upkeep forgets.
pub(in crate::store) const FORGET_SLICE: u32 = 2_048;
/// Bucket for records that outlive theirs.
const KEPT: u32 = 0;

/// One dedupe record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) seq: Seq,
    pub(super) fingerprint: Fingerprint,
}

/// The live buckets, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Buckets {
    live: Vec<Bucket>,
    last: u32,
    forgotten_until: Timestamp,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Bucket {
    number: u32,
    opened: Timestamp,
    records: u64,
}

impl Buckets {
    /// The live buckets, the oldest first.
    pub(super) fn numbers(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.live.iter().map(|bucket| bucket.number)
    }
}

/// A slice of forgetting that is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forget {
    pub(super) bucket: u32,
    pub(super) is_pressed: bool,
}

impl View {
    /// The record of `identity`, if it is remembered.
    pub(super) fn seen(&self, identity: Identity) -> Result<Option<Seen>, StoreError> {
        let may_hold = |bucket: &&Bucket| self.sieves.may_hold(bucket.number, identity);
        for bucket in self.head.dedupe.live.iter().rev().filter(may_hold) {
            if let Some(seen) = self.id_in(bucket.number, identity)? {
                return Ok(Some(seen));
            }
        }
        if self.has_kept { self.id_in(KEPT, identity) } else { Ok(None) }
    }

    /// Reads all ids that are remembered, but for those of the kept bucket, which come and go.
    pub(super) fn fill_sieves(&mut self) -> Result<(), StoreError> {
        let kept = keys::bucket(KEPT);
        self.has_kept = !self.rows.scan(&kept.clone().bytes(), &kept.end(), 1)?.is_empty();
        for number in self.head.dedupe.live.iter().map(|bucket| bucket.number).collect::<Vec<_>>() {
            if self.load_sieve(IDS, number)? {
                continue;
            }
            let bucket = keys::bucket(number);
            let (mut from, end) = (bucket.clone().bytes(), bucket.end());
            loop {
                let rows = self.rows.scan(&from, &end, AT_ONCE)?;
                let Some((last, _)) = rows.last() else { break };
                from = [last.as_slice(), &[0]].concat();
                for identity in rows.iter().filter_map(|(key, _)| keys::identity_of(key)) {
                    self.sieves.put(number, identity);
                }
            }
        }
        Ok(())
    }

    /// Writes the sieves of the buckets that take no more.
    pub(super) fn write_sieves(&mut self) {
        let open = self.head.dedupe.last;
        for (key, value) in self.sieves.unwritten(IDS, |bucket| bucket < open) {
            self.rows.put(key.bytes(), value);
        }
    }

    /// The bucket that a new record of this time belongs to.
    pub(super) fn bucket_at(&self, at: Timestamp) -> u32 {
        let share = (self.limits.dedupe_max_bytes / BYTE_SHARES / RECORD_BYTES).clamp(1, RECORDS_MAX);
        match self.head.dedupe.live.last() {
            Some(open) if at.millis_since(open.opened) < self.limits.bucket_ms() && open.records < share => {
                open.number
            }
            _ => self.head.dedupe.last.saturating_add(1),
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
        self.sieves.put(number, entry.digests.identity);
        let seen = Seen { seq: entry.rest.seq, fingerprint: entry.digests.fingerprint };
        self.put_id(number, entry.digests.identity, seen);
    }

    /// The bucket that has outlived the window or the bytes allowed.
    pub(super) fn forget_due(&self, now: Timestamp) -> Option<Forget> {
        let live = &self.head.dedupe.live;
        let oldest = live.first()?;
        let full = oldest.opened.plus_millis(self.limits.bucket_ms());
        let closed = live.get(1).map_or(full, |next| next.opened.max(oldest.opened));
        if now.millis_since(closed) >= self.limits.dedupe_window_ms && now > closed {
            return Some(Forget { bucket: oldest.number, is_pressed: false });
        }
        let records: u64 = live.iter().map(|bucket| bucket.records).sum();
        let is_pressed =
            records.saturating_mul(RECORD_BYTES) > self.limits.dedupe_max_bytes && live.len() > 1;
        is_pressed.then_some(Forget { bucket: oldest.number, is_pressed: true })
    }

    /// The events whose ids the next slice of forgetting takes, in its order; none when nothing is due.
    pub(in crate::store) fn next_forgotten(&self, now: Timestamp) -> Result<Vec<Seq>, StoreError> {
        let Some(due) = self.forget_due(now) else { return Ok(Vec::new()) };
        let ids = self.ids_in(due.bucket, FORGET_SLICE as usize)?;
        Ok(ids.into_iter().map(|(_, seen)| seen.seq).collect())
    }

    /// Drops up to `limit` records of a bucket, and the bucket when it is empty.
    pub(super) fn forget(&mut self, number: u32, limit: u32, is_pressed: bool) -> Result<(), StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let ids = self.ids_in(number, limit)?;
        let is_empty = ids.len() < limit;
        for (identity, seen) in ids {
            if self.is_needed(seen.seq, is_pressed)? {
                self.has_kept = true;
                self.put_id(KEPT, identity, seen);
            }
            self.delete_id(number, identity);
            self.count_down(number);
        }
        if is_empty {
            self.drop_bucket(number, is_pressed);
        }
        Ok(())
    }

    /// Forgets the record of an event whose flow has expired, if it was kept for it only.
    pub(super) fn release_kept(&mut self, identity: Identity) -> Result<(), StoreError> {
        if self.has_kept && self.id_in(KEPT, identity)?.is_some() {
            self.delete_id(KEPT, identity);
        }
        Ok(())
    }

    /// Milliseconds the window reaches back at the time of the last group.
    pub(in crate::store) fn dedupe_reach_ms(&self) -> u64 {
        self.limits.dedupe_window_ms.min(self.head.at.millis_since(self.head.dedupe.forgotten_until))
    }

    fn is_needed(&self, seq: Seq, is_pressed: bool) -> Result<bool, StoreError> {
        // An act asks no payload, so that it does the same at every replay: whoever stages it has made sure that the row
        // is not lost.
        let Some(row) = self.event_row(seq)? else { return Ok(false) };
        if !is_pressed {
            return Ok(true);
        }
        Ok(self.flow_of(&row)?.is_some_and(|head| head.rest_since.is_none()))
    }

    fn count_down(&mut self, number: u32) {
        if let Some(bucket) = self.head.dedupe.live.iter_mut().find(|bucket| bucket.number == number) {
            bucket.records = bucket.records.saturating_sub(1);
        }
    }

    fn drop_bucket(&mut self, number: u32, is_pressed: bool) {
        if let Some(key) = self.sieves.drop_bucket(IDS, number) {
            self.rows.delete(key.bytes());
        }
        let buckets = &mut self.head.dedupe;
        buckets.live.retain(|bucket| bucket.number != number);
        if is_pressed && let Some(next) = buckets.live.first() {
            buckets.forgotten_until = next.opened;
        }
    }
}
