//! The writing side: placing records and writing groups.
//!
//! Each step that touches the disk is a function of its own (`write_batch` and `sync_active` here,
//! `allocate`, `write_header` and `publish` where segments are made), so that a crash can be put between
//! any two of them.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::ahead::Ahead;
use super::pack::Packed;
use super::reader::Handles;
use super::record::{self, Body, Key, Kind};
use super::recover::{self, Extent, Visit};
use super::roll::Spare;
use super::segment::{self, HEADER_BYTES, Header};
use super::witness::{Deed, saw};
use super::{Commit, CutTail, JournalReader, JournalSettings, Location, SegmentInfo, StoreError, disk};
use crate::store::faults::{self, Point, reach};

/// A buffer larger than this is given back after its group was written.
const BUFFER_KEPT: usize = 4 * 1024 * 1024;

/// A segment ends here at the latest, so that a [`Location`] has room for its offsets.
const SEGMENT_MAX: u64 = (1 << super::OFFSET_BITS) - record::RECORD_MAX;

/// The body of a seal.
const NOTHING: Body<'_, &[u8]> = Body::Plain(&[]);

/// The commit journal of one store. One thread owns it; [`JournalReader`]s read beside it.
#[derive(Debug)]
pub struct Journal {
    pub(super) settings: JournalSettings,
    pub(super) handles: Arc<Handles>,
    /// All segments, oldest first; the last one is the active one.
    pub(super) segments: VecDeque<SegmentInfo>,
    pub(super) active: Active,
    pub(super) place: Place,
    pub(super) pending: VecDeque<Batch>,
    pub(super) buffer: Vec<u8>,
    /// The group that was packed last; kept for its room.
    pub(super) packed: Packed,
    pub(super) spare: Option<Spare>,
    pub(super) ahead: Ahead,
    /// The newest commit that was appended.
    pub(super) appended: Commit,
    /// The newest commit that is on disk.
    pub(super) durable: Commit,
    pub(super) sealed: bool,
    pub(super) poison: Option<String>,
    pub(super) cut: Option<CutTail>,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) header: Header,
    /// Where the synced records end.
    pub(super) end: u64,
    /// Bytes reserved on the disk; `u64::MAX` where the file system cannot reserve.
    pub(super) allocated: u64,
}

/// Where the next record goes: the active segment, or one that the next sync will make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) header: Header,
    pub(super) offset: u64,
}

/// Records that go into one segment with one write.
#[derive(Debug)]
pub(super) struct Batch {
    header: Header,
    offset: u64,
    bytes: Vec<u8>,
    last: Commit,
}

impl Active {
    /// Up to where the room is reserved: nothing ahead of it is written.
    pub(super) const fn reserved(&self) -> u64 {
        if self.allocated == u64::MAX { 0 } else { self.allocated }
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> Result<u64, StoreError> {
        let found = self.file.metadata().map(|found| found.len());
        found.map_err(|error| StoreError::io("look at", &self.path, &error))
    }
}

impl Journal {
    /// The first commit that is still on disk; 1 when nothing was removed.
    pub fn first_commit(&self) -> Commit {
        self.segments.front().map_or(Commit(1), |segment| segment.first_commit)
    }

    /// The newest commit that is durable; 0 when there is none.
    pub fn last_commit(&self) -> Commit {
        self.durable
    }

    /// What was cut at open, if anything was: tell it to the operator.
    pub fn cut_tail(&self) -> Option<&CutTail> {
        self.cut.as_ref()
    }

    /// Buffers one record and tells its number and where its entries will be.
    ///
    /// # Guarantees
    /// Nothing is on disk before [`Journal::sync`] has returned; until then readers do not find it. A
    /// record never survives without all records before it.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] after an earlier failure, [`StoreError::Io`] of kind `InvalidInput` when
    /// the entries take more than 1 GiB together; nothing was buffered then.
    pub fn append<T: AsRef<[u8]>>(&mut self, entries: &[T]) -> Result<(Commit, Vec<Location>), StoreError> {
        self.check_poison()?;
        let mut packed = std::mem::take(&mut self.packed);
        let is_packed = self.place.header.takes_packed() && packed.pack(entries);
        let appended = self.place(&if is_packed { Body::Packed(&packed) } else { Body::Plain(entries) });
        self.packed = packed.kept();
        appended
    }

    /// Buffers one record.
    fn place<T: AsRef<[u8]>>(&mut self, body: &Body<'_, T>) -> Result<(Commit, Vec<Location>), StoreError> {
        let size = body.record_bytes().ok_or_else(|| {
            let limit = std::io::Error::new(std::io::ErrorKind::InvalidInput, "a record is 1 GiB at most");
            StoreError::io("append to", &self.settings.dir, &limit)
        })?;
        let commit = Commit(self.appended.0 + 1);
        let is_empty = self.place.offset == HEADER_BYTES;
        if !is_empty && self.place.offset + size > self.settings.segment_bytes.min(SEGMENT_MAX) {
            self.place =
                Place { header: Header::new(commit.0, self.place.header.first), offset: HEADER_BYTES };
        }
        let Place { header, offset } = self.place;
        if self.pending.back().is_none_or(|batch| batch.header != header) {
            let bytes = std::mem::take(&mut self.buffer);
            self.pending.push_back(Batch { header, offset, bytes, last: commit });
        }
        let mut places = Vec::new();
        if let Some(batch) = self.pending.back_mut() {
            let label = (Kind::Commit, commit, self.durable);
            places = record::encode(&mut batch.bytes, label, (Key::from(&header), offset), body);
            batch.last = commit;
        }
        self.place.offset += size;
        self.appended = commit;
        Ok((commit, places))
    }

    /// Makes everything appended so far durable: one write and one `fdatasync`, and the next segment
    /// when the active one is full.
    ///
    /// # Guarantees
    /// When it returns, every appended record survives the process, the operating system and the power
    /// supply, as far as the disk honours a sync. With nothing appended it does nothing.
    ///
    /// # Errors
    /// An error for which [`StoreError::is_disk_full`] holds and after which [`Journal::is_poisoned`] does
    /// not: there was no room to reserve; nothing of the waiting records was written, they stay buffered,
    /// and the next call may succeed. After any other error the waiting records are in an unknown state
    /// and every later call answers [`StoreError::Poisoned`].
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.check_poison()?;
        while let Some(batch) = self.pending.front() {
            let (header, end) = (batch.header, batch.offset + batch.bytes.len() as u64);
            if header != self.active.header {
                self.roll(header, end)?;
            }
            self.reserve(end)?;
            let Some(batch) = self.pending.pop_front() else { break };
            self.write_and_sync(&batch, end)?;
            self.finish(batch, end);
            let looked = self.ahead.look(&self.active, end);
            self.or_poison(looked)?;
        }
        Ok(())
    }

    fn write_and_sync(&mut self, batch: &Batch, end: u64) -> Result<(), StoreError> {
        let has_way = self.ahead.make_way(end);
        let written = has_way.and_then(|()| self.write_batch(batch)).and_then(|()| self.sync_active());
        self.or_poison(written)
    }

    /// Notes that a batch is on disk.
    fn finish(&mut self, batch: Batch, end: u64) {
        self.active.end = end;
        self.durable = batch.last;
        self.sealed = false;
        if let Some(segment) = self.segments.back_mut() {
            segment.last_commit = batch.last;
            segment.bytes = segment.bytes.max(end);
        }
        if batch.bytes.capacity() <= BUFFER_KEPT {
            self.buffer = batch.bytes;
            self.buffer.clear();
        }
    }

    fn write_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        reach(Point::BeforeWrite);
        let written = faults::write_all_at(&self.active.file, &batch.bytes, batch.offset);
        written.map_err(|error| StoreError::io("write", &self.active.path, &error))?;
        saw(Deed::Wrote, &self.active.path);
        Ok(())
    }

    fn sync_active(&self) -> Result<(), StoreError> {
        reach(Point::Written);
        let synced = disk::sync_data(&self.active.file, &self.active.path);
        reach(Point::Synced);
        synced
    }

    /// Says on disk that everything so far has been synced, so that damage to the newest record can be
    /// told from a torn write. For a clean stop or an idle moment; waiting records are synced first.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn seal(&mut self) -> Result<(), StoreError> {
        self.sync()?;
        let mut bytes = Vec::new();
        let label = (Kind::Seal, self.durable, self.durable);
        record::encode(&mut bytes, label, (Key::from(&self.active.header), self.active.end), &NOTHING);
        let end = self.active.end + bytes.len() as u64;
        let is_empty = self.active.end == HEADER_BYTES;
        // Only into room that is reserved: a stop on a full disk must not fail.
        if self.sealed || is_empty || end > self.active.allocated {
            return Ok(());
        }
        let batch = Batch { header: self.active.header, offset: self.active.end, bytes, last: self.durable };
        self.write_and_sync(&batch, end)?;
        self.finish(batch, end);
        self.place.offset = end;
        self.sealed = true;
        Ok(())
    }

    /// A reader of everything synced, now and later.
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.handles))
    }

    /// All segments, oldest first; the last one is the active one.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.segments.iter().cloned().collect()
    }

    /// Bytes of all segments on disk, preallocated ones included.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Reads all durable records from `from` on, in order, with every check.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a record is not what was written or `from` is not on disk any more,
    /// [`StoreError::Io`], or what `visit` returned.
    pub fn scan(&self, from: Commit, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        if from < self.first_commit() && from.0 > 0 {
            let problem = format!("commits from {} to {} are not on disk", from.0, self.first_commit().0 - 1);
            return Err(segment::damaged(&self.settings.dir, 0, problem));
        }
        let after = Commit(from.0.saturating_sub(1));
        for segment in self.segments.iter().filter(|segment| segment.last_commit >= from) {
            let (mut window, header) = recover::open(&self.settings.dir, segment.first_commit.0)?;
            let is_active = header.first == self.active.header.first;
            let extent = if is_active { Extent::Until(self.active.end) } else { Extent::Closed };
            let walked = recover::walk(&mut window, &header, extent, after, visit)?;
            if walked.last != segment.last_commit {
                let problem = format!("commit {} is missing at the end", segment.last_commit.0);
                return Err(segment::damaged(&segment.path, walked.end, problem));
            }
        }
        Ok(())
    }

    /// Whether a failure has closed the journal for this process.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    pub(super) fn check_poison(&self) -> Result<(), StoreError> {
        self.poison.as_ref().map_or(Ok(()), |cause| Err(StoreError::Poisoned { cause: cause.clone() }))
    }

    /// Passes a result on; an error closes the journal.
    pub(super) fn or_poison<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.poison = Some(error.to_string());
        }
        result
    }

    /// As `or_poison`, but a full disk may be tried again: nothing that counts was touched.
    pub(super) fn unless_full<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match result {
            Err(error) if error.is_disk_full() => Err(error),
            other => self.or_poison(other),
        }
    }
}
