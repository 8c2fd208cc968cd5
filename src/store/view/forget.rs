//! Forgetting: ids that have outlived the window go with their bucket; under pressure those go whose flows are at rest.
//!
//! A bucket has its ids in the order of their digests, events stand in that of their coming, and each look at one of
//! them unpacks a page. So a bucket is read whole, and looked through in the order of its events.
//!
//! ```text
//! bucket ──some at a time──> by event ──slice: free, needed, missed──> Act::ForgetIds, journaled as it was decided
//! ```
//! What is still needed (its status can be read; under pressure: its flow is not at rest) is kept: moved where the
//! bucket goes, left where it is under pressure. The rows of all others are swept with their bucket; under pressure, where
//! it stays, each is deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dedupe::{RECORD_BYTES, Seen, sieve_of};
use super::sieve::IDS;
use super::{Effects, View, keys};
use crate::event::{Identity, Timestamp};
use crate::store::{Seq, StoreError};

/// Ids that one slice of upkeep looks at.
const SLICE: usize = 512;
/// Ids of a bucket that one slice reads.
const READ: usize = 1_024;
/// Ids of a bucket that are looked at first under pressure: the first digests are as good as drawn by chance.
const SAMPLE: usize = 128;
/// A full bucket of which less than this part can go is left as it is: it would be looked through in vain.
const WORTH: usize = 16;

/// What is forgotten of a bucket.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::store) struct ForgetAct {
    bucket: u32,
    is_pressed: bool,
    gone: Vec<Identity>,
    /// Those that outlive the bucket.
    kept: Vec<(Identity, Seen)>,
    end: Option<End>,
}

/// What becomes of a bucket that was looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum End {
    /// It goes, with the rows that are left in it: of ids that are forgotten.
    Dropped,
    /// It stays with what is needed, until the window has passed.
    LookedThrough,
}

/// A bucket that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DueBucket {
    bucket: u32,
    is_pressed: bool,
    /// When the next one was opened, or this one would have been full by time.
    closed: Timestamp,
}

/// The ids of a bucket that were not looked at yet, by their events.
#[derive(Debug)]
pub(super) struct Bucketful {
    due: DueBucket,
    left: BTreeMap<Seq, (Identity, Seen)>,
    /// From which row on they were not read.
    unread: Option<Vec<u8>>,
    has_kept: bool,
}

/// The next ids of a bucket, with what is to become of each.
#[derive(Debug)]
pub(in crate::store) struct Forgetting {
    due: DueBucket,
    ids: Vec<(Identity, Seen, Need)>,
    is_last: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Free,
    Needed,
    /// There is no bookkeeping of its event though a flow that it may belong to has not expired.
    Missed,
}

impl Forgetting {
    /// Makes sure of the missed events, by `check`, that they have expired: of up to `most` of them, and what is behind
    /// those is for the next slice.
    pub(in crate::store) fn check(
        mut self,
        most: usize,
        check: impl FnOnce(&[Seq]) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let is_missed = |(_, (_, _, need)): &(usize, &(Identity, Seen, Need))| *need == Need::Missed;
        if let Some((at, _)) = self.ids.iter().enumerate().filter(is_missed).nth(most) {
            self.is_last = false;
            self.ids.truncate(at);
        }
        let missed = self.ids.iter_mut().filter(|(_, _, need)| *need == Need::Missed);
        let seqs: Vec<Seq> = missed
            .map(|(_, seen, need)| {
                *need = Need::Free;
                seen.seq
            })
            .collect();
        if seqs.is_empty() { Ok(self) } else { check(&seqs).map(|()| self) }
    }
}

impl View {
    /// The bucket that has outlived the window or the bytes allowed.
    pub(super) fn forget_due(&self, now: Timestamp) -> Option<DueBucket> {
        let live = &self.head.dedupe.live;
        let oldest = live.first()?;
        let begun = self.forgetting.as_ref().map(|begun| begun.due);
        if let Some(due) = begun.filter(|due| !due.is_pressed && due.bucket == oldest.number) {
            // Else it would be due anew, a whole window later, where an event that has come meanwhile has closed it.
            return Some(due);
        }
        let full = oldest.opened.plus_millis(self.limits.bucket_ms());
        let closed = live.get(1).map_or(full, |next| next.opened.max(oldest.opened));
        if now.millis_since(closed) >= self.limits.dedupe_window_ms && now > closed {
            return Some(DueBucket { bucket: oldest.number, is_pressed: false, closed });
        }
        let (_open, filled) = live.split_last()?;
        let full = filled.iter().find(|bucket| bucket.records > 0)?;
        // When it was closed counts for the window alone.
        self.is_pressed().then_some(DueBucket { bucket: full.number, is_pressed: true, closed: full.opened })
    }

    /// Whether there are more ids than may be.
    fn is_pressed(&self) -> bool {
        let records: u64 = self.head.dedupe.live.iter().map(|bucket| bucket.records).sum();
        records.saturating_mul(RECORD_BYTES) > self.limits.dedupe_max_bytes
    }

    /// The next ids that are due to be forgotten, in the order of their events, none while their bucket is being read; `None`
    /// when nothing is due.
    pub(in crate::store) fn next_forgotten(
        &mut self,
        now: Timestamp,
    ) -> Result<Option<Forgetting>, StoreError> {
        let Some(due) = self.forget_due(now) else { return Ok(None) };
        let mut bucketful = match self.forgetting.take().filter(|begun| begun.due == due) {
            Some(begun) => begun,
            None if due.is_pressed && !self.is_worth_it(due)? => {
                return Ok(Some(Forgetting { due, ids: Vec::new(), is_last: true }));
            }
            None => self.begin_bucket(due),
        };
        self.read_on(&mut bucketful)?;
        let bucketful = self.forgetting.insert(bucketful);
        if bucketful.unread.is_some() {
            return Ok(Some(Forgetting { due, ids: Vec::new(), is_last: false }));
        }
        let next: Vec<_> = bucketful.left.values().take(SLICE).copied().collect();
        let (is_last, newest) =
            (next.len() == bucketful.left.len(), bucketful.left.keys().next_back().copied());
        if newest.is_some_and(|newest| self.waits_for_flows(due, newest, now)) {
            return Ok(None);
        }
        let is_clear = newest.is_none_or(|newest| self.is_clear_until(newest));
        let with_need = |(identity, seen): (Identity, Seen)| {
            let need = if is_clear { Need::Free } else { self.need_of(seen.seq, due.is_pressed)? };
            Ok((identity, seen, need))
        };
        let ids = next.into_iter().map(with_need).collect::<Result<_, StoreError>>()?;
        Ok(Some(Forgetting { due, ids, is_last }))
    }

    /// Whether the ids of a bucket, up to that of an event, wait for flows that are about to expire as well. Nothing waits under
    /// pressure: other buckets would wait behind this one.
    fn waits_for_flows(&self, due: DueBucket, newest: Seq, now: Timestamp) -> bool {
        let patience = self.limits.dedupe_window_ms.saturating_add(self.patience_ms());
        !self.is_pressed() && now.millis_since(due.closed) < patience && self.has_flow_beside(newest)
    }

    /// The ids of a bucket that are held decoded.
    fn begin_bucket(&self, due: DueBucket) -> Bucketful {
        let held =
            self.held_ids(due.bucket).into_iter().filter_map(|(identity, seen)| Some((identity, seen?)));
        let left = held.map(|(identity, seen)| (seen.seq, (identity, seen))).collect();
        Bucketful { due, left, unread: Some(keys::bucket(due.bucket).bytes()), has_kept: false }
    }

    /// Adds the next ones that are not. Nothing comes into a bucket that is due, or goes out of it in another way.
    fn read_on(&self, bucketful: &mut Bucketful) -> Result<(), StoreError> {
        let Some(from) = bucketful.unread.take() else { return Ok(()) };
        let bucket = bucketful.due.bucket;
        let rows = self.rows.scan(&from, &keys::bucket(bucket).end(), READ)?;
        if let Some((last, _)) = rows.last().filter(|_| rows.len() == READ) {
            bucketful.unread = Some([last.as_slice(), &[0]].concat());
        }
        for (key, value) in rows {
            let Some(identity) = keys::identity_of(&key) else { continue };
            if self.held_id(bucket, identity).is_none() {
                let seen: Seen = self.decode_row(&key, &value)?;
                bucketful.left.insert(seen.seq, (identity, seen));
            }
        }
        Ok(())
    }

    /// Whether enough of a bucket can go.
    fn is_worth_it(&self, due: DueBucket) -> Result<bool, StoreError> {
        let sample = self.ids_in(due.bucket, SAMPLE)?;
        if sample.len() < SAMPLE {
            return Ok(true);
        }
        let mut going = 0;
        for (_, seen) in &sample {
            going += usize::from(self.need_of(seen.seq, due.is_pressed)? != Need::Needed);
        }
        Ok(going * WORTH >= SAMPLE)
    }

    fn need_of(&self, seq: Seq, is_pressed: bool) -> Result<Need, StoreError> {
        let Some(row) = self.event_row(seq)? else {
            return Ok(if self.has_flow_until(seq) { Need::Missed } else { Need::Free });
        };
        let is_needed = !is_pressed || self.flow_of(&row)?.is_some_and(|head| head.rest_since.is_none());
        Ok(if is_needed { Need::Needed } else { Need::Free })
    }

    /// Takes what was looked at out of its bucket; `None` when nothing is to be done with it.
    pub(super) fn take_due(&mut self, slice: Forgetting) -> Option<ForgetAct> {
        let Forgetting { due, ids, is_last } = slice;
        let mut act = ForgetAct { bucket: due.bucket, is_pressed: due.is_pressed, ..ForgetAct::default() };
        let mut has_kept = self.forgetting.is_none();
        if let Some(begun) = &mut self.forgetting {
            for (_, seen, need) in &ids {
                begun.left.remove(&seen.seq);
                begun.has_kept |= *need == Need::Needed;
            }
            has_kept = begun.has_kept;
        }
        for (identity, seen, need) in ids {
            match need {
                Need::Needed if due.is_pressed => {}
                Need::Needed => act.kept.push((identity, seen)),
                Need::Free | Need::Missed => act.gone.push(identity),
            }
        }
        if is_last {
            self.forgetting = None;
            act.end = Some(if due.is_pressed && has_kept { End::LookedThrough } else { End::Dropped });
        }
        (act.end.is_some() || !act.gone.is_empty() || !act.kept.is_empty()).then_some(act)
    }

    pub(super) fn apply_forget(&mut self, act: &ForgetAct) -> Result<Effects, StoreError> {
        for identity in &act.gone {
            if act.is_pressed {
                self.delete_id(act.bucket, *identity);
            } else {
                // Its row goes with the bucket, which all that outlives the window does.
                self.note_forgotten(*identity);
            }
        }
        for (identity, seen) in &act.kept {
            self.delete_id(act.bucket, *identity);
            self.keep_id(*identity, *seen)?;
        }
        let buckets = &mut self.head.dedupe;
        let at = buckets.live.iter().position(|bucket| bucket.number == act.bucket);
        if act.is_pressed
            && !act.gone.is_empty()
            && let Some(next) = at.and_then(|at| buckets.live.get(at + 1))
        {
            buckets.forgotten_until = next.opened;
        }
        match act.end {
            Some(End::Dropped) => self.drop_bucket(act.bucket),
            Some(End::LookedThrough) => {
                if let Some(bucket) = at.and_then(|at| self.head.dedupe.live.get_mut(at)) {
                    bucket.records = 0;
                }
            }
            None => {}
        }
        Ok(Effects::default())
    }

    pub(super) fn drop_bucket(&mut self, number: u32) {
        let gone = self.head.dedupe.live.extract_if(.., |bucket| bucket.number == number);
        let records = gone.map(|bucket| bucket.records).sum();
        self.sweep_ids(number, records);
        let sieve = sieve_of(number);
        if !self.head.dedupe.has_sieve(sieve)
            && let Some(key) = self.sieves.drop_bucket(IDS, sieve)
        {
            self.rows.delete(key.bytes());
        }
    }

    /// What version 2 meant: up to `limit` records in the order of their ids, and the bucket when it is empty.
    pub(super) fn apply_forget_v2(
        &mut self,
        number: u32,
        limit: u32,
        is_pressed: bool,
    ) -> Result<Effects, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let ids = self.ids_in(number, limit)?;
        let mut act = ForgetAct { bucket: number, is_pressed, ..ForgetAct::default() };
        act.end = (ids.len() < limit).then_some(End::Dropped);
        for (identity, seen) in ids {
            match self.need_of(seen.seq, is_pressed)? {
                Need::Needed => act.kept.push((identity, seen)),
                Need::Free | Need::Missed => {
                    // The next act takes what is in front then.
                    self.delete_id(number, identity);
                    act.gone.push(identity);
                }
            }
        }
        self.apply_forget(&act)
    }
}
