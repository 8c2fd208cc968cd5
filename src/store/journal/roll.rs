//! Making segments, reserving their room, and removing old ones.
//!
//! A segment is prepared under a name that open ignores and removes: its room is reserved, its header
//! written, the file synced; then it is renamed and the folder synced. Only then does a record go in. A
//! crash at any point leaves either no segment or an empty one.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::segment::{self, HEADER_BYTES, Header, SPARE_NAME};
use super::witness::{Deed, saw};
use super::writer::{Active, Journal};
use super::{Commit, JournalSettings, SegmentInfo, StoreError, begin, disk};
use crate::store::faults::{Point, reach};

/// A segment that has its room on the disk and no number yet.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: File,
    pub(super) allocated: u64,
}

impl Journal {
    /// Has the room up to `end` reserved before anything is written there.
    pub(super) fn reserve(&mut self, end: u64) -> Result<(), StoreError> {
        if end <= self.active.allocated {
            return Ok(());
        }
        let bytes = end.max(self.settings.segment_bytes);
        let reserved = disk::preallocate(&self.active.file, &self.active.path, bytes);
        let can = self.unless_full(reserved)?;
        self.active.allocated = if can { bytes } else { u64::MAX };
        if let Some(segment) = self.segments.back_mut().filter(|_| can) {
            segment.bytes = bytes;
        }
        Ok(())
    }

    /// Makes the segment of `header` the active one; the one before is fully synced already.
    pub(super) fn roll(&mut self, header: Header, end: u64) -> Result<(), StoreError> {
        let stopped = self.ahead.stop();
        self.or_poison(stopped)?;
        let made = self.take_spare(end).and_then(|spare| {
            write_header(&self.settings, &spare, &header)?;
            Ok(spare)
        });
        // Up to here the file has no number: on a full disk it is dropped and made again later.
        let spare = self.unless_full(made)?;
        let path = segment::path_of(&self.settings.dir, header.first);
        let published = disk::publish(&spare.file, &self.settings.dir.join(SPARE_NAME), &path);
        self.or_poison(published)?;
        self.segments.push_back(SegmentInfo {
            first_commit: Commit(header.first),
            last_commit: Commit(header.first - 1),
            bytes: if spare.allocated == u64::MAX { HEADER_BYTES } else { spare.allocated },
            path: path.clone(),
        });
        self.active =
            Active { file: spare.file, path, header, end: HEADER_BYTES, allocated: spare.allocated };
        self.ahead.begin();
        Ok(())
    }

    /// The prepared spare when it is large enough, or a new one.
    fn take_spare(&mut self, end: u64) -> Result<Spare, StoreError> {
        match self.spare.take() {
            Some(spare) if spare.allocated >= end => Ok(spare),
            _ => allocate(&self.settings, end),
        }
    }

    /// Reserves the room of the next segment ahead of need, so that a full disk shows here, while there is
    /// still room in the active one. Call it when [`Journal::room`] gets low; `false`: it was there already.
    ///
    /// # Errors
    /// [`StoreError::Io`]; with [`StoreError::is_disk_full`] nothing has happened and it may be tried
    /// again. Nothing here poisons.
    pub fn prepare(&mut self) -> Result<bool, StoreError> {
        self.check_poison()?;
        if self.spare.is_some() {
            return Ok(false);
        }
        self.spare = Some(allocate(&self.settings, 0)?);
        Ok(true)
    }

    /// Lets the next segment meet a full disk, once.
    #[cfg(test)]
    pub(in crate::store) fn find_no_room(&mut self) {
        let file = File::options().write(true).open("/dev/full").unwrap();
        self.spare = Some(Spare { file, allocated: u64::MAX });
    }

    /// Whether [`Journal::prepare`] has been done for the next segment.
    pub fn is_prepared(&self) -> bool {
        self.spare.is_some()
    }

    /// Bytes left in the segment that the next record goes to.
    pub fn room(&self) -> u64 {
        self.settings.segment_bytes.saturating_sub(self.place.offset)
    }

    /// Removes the segments whose last commit is before `commit`, oldest first, and returns how many.
    ///
    /// The active segment always stays. That the journal begins later is on disk before the first one goes. The
    /// folder is synced after each, so that a crash never leaves a hole in the middle.
    ///
    /// # Errors
    /// [`StoreError::Io`]: what was removed before stays removed. A failed sync poisons.
    pub fn remove_before(&mut self, commit: Commit) -> Result<u64, StoreError> {
        self.check_poison()?;
        let going = |segment: &&SegmentInfo| segment.last_commit < commit;
        // The active one stays, whatever its commits.
        let closed = self.segments.len().saturating_sub(1);
        let gone = self.segments.iter().take(closed).take_while(going).count();
        let Some(first) = self.segments.get(gone).filter(|_| gone > 0) else { return Ok(0) };
        match begin::write(&self.settings.dir, first.first_commit) {
            // Nothing was touched; it is tried again.
            Err(error) if error.is_disk_full() => return Ok(0),
            written => self.or_poison(written)?,
        }
        let mut removed = 0;
        for _ in 0..gone {
            let Some(oldest) = self.segments.front() else { break };
            reach(Point::SegmentRemoving);
            let gone = std::fs::remove_file(&oldest.path);
            reach(Point::SegmentRemoved);
            gone.map_err(|error| StoreError::io("remove", &oldest.path, &error))?;
            saw(Deed::Removed, &oldest.path);
            self.handles.forget(oldest.first_commit.0);
            self.segments.pop_front();
            let synced = disk::sync_dir(&self.settings.dir);
            self.or_poison(synced)?;
            reach(Point::SegmentGone);
            removed += 1;
        }
        Ok(removed)
    }
}

/// Creates the next segment's file and reserves its room; it has no number yet and open removes it.
pub(super) fn allocate(settings: &JournalSettings, at_least: u64) -> Result<Spare, StoreError> {
    let path = settings.dir.join(SPARE_NAME);
    let bytes = settings.segment_bytes.max(at_least).max(HEADER_BYTES);
    let file = disk::create_private(&path)?;
    let reserved = disk::preallocate(&file, &path, bytes);
    reach(Point::SegmentAllocated);
    match reserved {
        Ok(can) => Ok(Spare { file, allocated: if can { bytes } else { u64::MAX } }),
        Err(error) => {
            // Part of the room may have been taken: give it back, the reason to report is the first one.
            let _best_effort = std::fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Writes the header into a spare that has no number yet.
fn write_header(settings: &JournalSettings, spare: &Spare, header: &Header) -> Result<(), StoreError> {
    let written = spare.file.write_all_at(&header.encode(), 0);
    reach(Point::SegmentHeaded);
    written.map_err(|error| StoreError::io("write", settings.dir.join(SPARE_NAME), &error))
}

/// Makes a segment, durable with its name, before any record goes in.
pub(super) fn create(settings: &JournalSettings, header: Header) -> Result<Active, StoreError> {
    let spare = allocate(settings, 0)?;
    write_header(settings, &spare, &header)?;
    let path = segment::path_of(&settings.dir, header.first);
    disk::publish(&spare.file, &settings.dir.join(SPARE_NAME), &path)?;
    Ok(Active { file: spare.file, path, header, end: HEADER_BYTES, allocated: spare.allocated })
}
