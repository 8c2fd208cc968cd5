//! Room: what is done ahead of need, so that a full disk finds running work unharmed.
//!
//! Publishing is refused below the reserve, long before anything fails (`bus/admission.rs`). What others write can
//! take the reserve too. Then the journal goes on in room that it had reserved, checkpoints wait, and one that
//! the full disk has stopped is taken up again when there is room, in a sled that is opened anew where it was sled
//! that found none; a group that finds no room in the journal any more
//! waits in memory, unanswered. Nothing of this costs the process.

use std::sync::Arc;

use super::SledStore;
use super::base::Stamp;
use super::checkpoint::{Broken, Stage};
use super::recovery::check_base;
use crate::store::journal::Mark;
use crate::store::view::Frozen;
use crate::store::{Commit, StoreError};

/// Free bytes that a checkpoint wants beside what its rows take.
const CHECKPOINT_ROOM: u64 = 8 << 20;
/// A row is written twice: into the fold file and into sled.
const ROW_COPIES: u64 = 2;

/// A checkpoint that a full disk has stopped; its rows are frozen until it goes on.
#[derive(Debug)]
pub(super) struct Halted {
    layer: Arc<Frozen>,
    commit: Commit,
    before: Option<Stamp>,
    is_resumed: bool,
    /// sled itself found no room.
    needs_reopening: bool,
}

impl SledStore {
    /// Whether a checkpoint of what waits finds room on the disk.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.shared.view().map_or(0, |view| view.active_bytes());
        let wanted = waiting.saturating_mul(ROW_COPIES).saturating_add(CHECKPOINT_ROOM);
        self.disk_free().is_none_or(|free| free >= wanted)
    }

    /// Free bytes for this process on the data folder's disk, when the system tells them.
    pub(super) fn disk_free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.settings.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Syncs what is staged; `None` where it waits for room, and stays staged.
    pub(super) fn sync_if_room(&mut self) -> Result<Option<Commit>, StoreError> {
        match self.sync_all() {
            Err(error) if self.waits_for_room(&error) => Ok(None),
            synced => synced.map(Some),
        }
    }

    /// Passes the error of a sync on. It closes the store, but for want of room that was met before anything was
    /// written: then whoever publishes is told, and the sync may be called again.
    pub(super) fn fail_unless_full(&self, error: StoreError) -> StoreError {
        if self.waits_for_room(&error) {
            self.measure();
            return error;
        }
        self.shared.fail(error)
    }

    fn waits_for_room(&self, error: &StoreError) -> bool {
        error.is_disk_full() && !self.journal.is_poisoned()
    }

    /// Reserves the next journal file while the active one still has room for what runs.
    pub(super) fn prepare(&mut self) -> Result<(), StoreError> {
        if !self.needs_room_ahead() {
            return Ok(());
        }
        match self.journal.prepare() {
            // It is tried again, and publishing is refused meanwhile: from now on, for what is left of the active
            // one is for the work that runs.
            Err(error) if error.is_disk_full() => {
                self.measure();
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Whether the next journal file is to be reserved. That does not wait for the next look at upkeep: a flood may
    /// fill what is left before.
    pub(super) fn needs_room_ahead(&self) -> bool {
        !self.journal.is_prepared() && self.journal.room() <= self.settings.segment_bytes / 2
    }

    /// Keeps a checkpoint that has failed for want of room; another failure ends the store.
    pub(super) fn halt(&mut self, broken: Broken) -> Result<(), StoreError> {
        let Broken { error, stage, layer, commit, before } = broken;
        if !error.is_disk_full() {
            return Err(error);
        }
        tracing::warn!(%error, "the disk is full; the checkpoint waits for room");
        let is_resumed = stage != Stage::File;
        let needs_reopening = error.is_of(&self.settings.path.join("sled"));
        // Rows that are in sled already are counted anew.
        let before = before.filter(|_| !is_resumed);
        self.halted = Some(Halted { layer, commit, before, is_resumed, needs_reopening });
        Ok(())
    }

    /// Takes a halted checkpoint up again when there is room.
    pub(super) fn go_on(&mut self) -> Result<(), StoreError> {
        if !self.has_room() {
            return Ok(());
        }
        if self.halted.as_ref().is_some_and(|halted| halted.needs_reopening) && !self.reopen()? {
            return Ok(());
        }
        let Some(Halted { layer, commit, before, is_resumed, .. }) = self.halted.take() else {
            return Ok(());
        };
        self.stamp = before;
        self.start_fold(layer, commit, is_resumed)
    }

    /// Opens sled anew, and looks at it as a start does; `false` while somebody reads in it.
    fn reopen(&self) -> Result<bool, StoreError> {
        if !self.base.reopen()? {
            return Ok(false);
        }
        let path = &self.settings.path;
        if let Some(mark) = Mark::read(path)? {
            let base = self.base.now()?;
            check_base(path, &base, &mark)?;
        }
        tracing::info!("there is room again; sled was opened anew");
        Ok(true)
    }
}
