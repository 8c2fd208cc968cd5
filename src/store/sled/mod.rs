//! The durable engine: a commit journal in front of sled.
//!
//! Every staged group is one record of the journal; [`Store::sync`] is one write and one disk sync of it.
//! What the records mean is in memory as rows and is folded into sled by checkpoints in the background
//! ([`checkpoint`]). After a crash sled is as old as the last checkpoint, and the journal brings it up to
//! date ([`recovery`]). Payloads stay in the journal until nothing needs them ([`retention`]).
//!
//! ```text
//! <path>/lock              held while open
//! <path>/journal/          segments: the truth
//! <path>/sled/             rows as of the mark
//! <path>/checkpoint.mark   up to which commit sled and the fold file hold everything
//! <path>/fold-<commit>     rows on their way into sled
//! ```

mod audit;
mod backup;
#[cfg(test)]
mod backup_tests;
mod base;
#[cfg(test)]
mod broken_fold_tests;
mod checkpoint;
mod compact;
#[cfg(test)]
mod compact_tests;
mod export;
#[cfg(test)]
mod folder_tests;
#[cfg(test)]
mod forgetting_tests;
mod hold;
#[cfg(test)]
mod lock_tests;
mod making;
#[cfg(test)]
mod measure;
#[cfg(test)]
mod model;
mod page;
mod pages;
mod patience;
mod payloads;
#[cfg(test)]
mod read_tests;
mod recall;
mod recovery;
mod restore;
mod retention;
#[cfg(test)]
mod retention_tests;
mod retreat;
mod room;
#[cfg(test)]
mod room_tests;
mod slot;
#[cfg(test)]
mod tests;
mod tools;
mod value;
#[cfg(test)]
mod weight_tests;

use std::sync::{Arc, RwLockWriteGuard};

pub use self::audit::verify_folder;
pub use self::backup::backup_folder;
use self::base::Stamp;
use self::checkpoint::{Fold, Job};
pub use self::compact::{Compacted, compact_folder};
pub use self::export::{Moved, export_folder, import};
use self::hold::Hold;
use self::payloads::JournalPayloads;
pub use self::restore::{check_backup, restore};
use self::retention::Retention;
use self::room::Halted;
use self::slot::BaseSlot;
use self::tools::SledTools;
use super::faults::{Point, reach};
use super::journal::Journal;
use super::reader::{FileStats, Shared};
use super::view::{Act, Entry, Frozen, GroupHead, VERSION, View};
use super::{Change, Commit, Features, Reader, Receipt, Seq, Store, StoreError, StoreSettings, Tools};
use crate::event::Timestamp;

/// The store on disk.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared<JournalPayloads>>,
    journal: Journal,
    base: Arc<BaseSlot>,
    fold: Option<Fold>,
    /// A checkpoint that waits for room on the disk; never beside `fold`.
    halted: Option<Halted>,
    stamp: Option<Stamp>,
    retention: Retention,
    /// A row that is missing and must be there: nothing is removed any more.
    lost: Option<StoreError>,
    hold: Arc<Hold>,
    staged: Commit,
    frozen: Commit,
    folded: Commit,
    folded_at: Timestamp,
    settings: StoreSettings,
    /// The entries of a group, and their bytes before they are a record; kept for their room.
    group: Vec<Entry>,
    encoded: Vec<u8>,
}

/// A buffer larger than this is given back.
const ENCODED_KEPT: usize = 4 << 20;

/// The bytes of a group's entries, one after the other, and how many each of them has. What is in `bytes` goes.
fn encode(
    at: Timestamp,
    group: &[Entry],
    mut bytes: Vec<u8>,
) -> Result<(Vec<u8>, Vec<usize>), postcard::Error> {
    bytes.clear();
    bytes = GroupHead { version: VERSION, at }.encode(bytes)?;
    let (mut lens, mut before) = (vec![bytes.len()], bytes.len());
    lens.reserve_exact(group.len());
    for entry in group {
        bytes = entry.encode(bytes)?;
        lens.push(bytes.len() - before);
        before = bytes.len();
    }
    Ok((bytes, lens))
}

impl SledStore {
    /// Opens the data folder, or makes it, and recovers everything that was acknowledged.
    ///
    /// Blocks on the disk: call it where blocking is allowed. `now` is the bus clock's time. The folder
    /// stays locked until the store and all its readers are dropped.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Newer`], [`StoreError::Damaged`] with the place and the
    /// remedy, [`StoreError::Io`]. A damaged checkpoint alone is no error while the journal reaches back
    /// to its beginning: it is moved aside and rebuilt.
    pub fn open(settings: StoreSettings, now: Timestamp) -> Result<Self, StoreError> {
        let lock = recovery::lock(&settings.path)?;
        let found = recovery::recover(&settings, &lock)?;
        reach(Point::Recovered);
        let first = found.journal.first_commit().0;
        let payloads = JournalPayloads::new(found.open, found.journal.reader(), first);
        let staged = found.journal.last_commit();
        let frozen = found.marked;
        let mut store = Self {
            shared: Shared::new(found.view, payloads),
            journal: found.journal,
            base: found.base,
            fold: None,
            halted: None,
            stamp: found.stamp,
            retention: Retention::default(),
            lost: None,
            hold: Arc::default(),
            staged,
            frozen,
            folded: if found.fold.is_some() { Commit(0) } else { frozen },
            folded_at: now,
            settings,
            group: Vec::new(),
            encoded: Vec::new(),
        };
        if let Some((layer, commit)) = found.fold {
            store.start_fold(layer, commit, true)?;
        }
        store.measure();
        Ok(store)
    }

    fn stage_all(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let mut view = shared.view_mut()?;
        let commit = Commit(self.staged.0 + 1);
        let (mut receipts, mut group) = (Vec::with_capacity(changes.len()), std::mem::take(&mut self.group));
        for change in changes.drain(..) {
            let so_far = group.len();
            receipts.push(view.stage(&shared.payloads, commit, now, change, &mut group)?);
            // A later change of the group may read it.
            shared.payloads.keep(group.get(so_far..).unwrap_or_default());
        }
        self.stage_group(view, &group);
        self.append(now, &group)?;
        group.clear();
        self.group = group;
        Ok(receipts)
    }

    /// Lets readers see a group that is applied. They have to know then that it is not durable yet, and need not wait until
    /// it is encoded.
    fn stage_group(&mut self, view: RwLockWriteGuard<'_, View>, group: &[Entry]) {
        if !group.is_empty() {
            self.staged = view.commit();
            self.shared.set_staged(self.staged);
        }
        self.shared.changed(view);
    }

    /// Writes a group that is applied already into the journal's buffer.
    fn append(&mut self, now: Timestamp, group: &[Entry]) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let (bytes, lens) = encode(now, group, std::mem::take(&mut self.encoded)).map_err(|error| {
            StoreError::io("encode a group for", &self.settings.path, &std::io::Error::other(error))
        })?;
        let mut left = bytes.as_slice();
        let entries: Vec<&[u8]> = lens.iter().map_while(|len| left.split_off(..*len)).collect();
        let (commit, places) = self.journal.append(&entries)?;
        debug_assert_eq!(commit, self.staged, "the journal counts as the view does");
        if bytes.capacity() <= ENCODED_KEPT {
            self.encoded = bytes;
        }
        // Earlier events are open again: what retention has passed over counts no more.
        let opens = |act: &Act| matches!(act, Act::Subscribe { .. } | Act::Replay { .. });
        if group.iter().any(|entry| matches!(entry, Entry::Act(act) if opens(act))) {
            self.retention.begin_anew();
        }
        let located = group.iter().zip(places.into_iter().skip(1)).filter_map(|(entry, at)| match entry {
            Entry::Event(event) => Some((event.rest.seq, at)),
            Entry::Act(_) => None,
        });
        let mut located = located.peekable();
        if located.peek().is_some() {
            let mut view = self.shared.view_mut()?;
            located.try_for_each(|(seq, at)| self.shared.payloads.locate(&mut view, seq, at))?;
        }
        Ok(())
    }

    fn sync_all(&mut self) -> Result<Commit, StoreError> {
        self.journal.sync()?;
        let synced = self.journal.last_commit();
        let events = self.shared.view()?.events_stored();
        self.shared.payloads.mark_synced(Seq(events));
        self.shared.set_durable(synced);
        Ok(synced)
    }

    fn maintain_all(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let has_upkeep = self.upkeep(now)?;
        self.prepare()?;
        self.end_fold(now, false)?;
        self.hold.sweep(&self.settings.path, self.folded)?;
        if self.halted.is_some() {
            self.go_on()?;
        } else if self.fold.is_none() && self.is_checkpoint_due(now) && self.has_room() {
            self.checkpoint()?;
        }
        let has_removed = self.retain(now)?;
        self.measure();
        Ok(has_upkeep || has_removed)
    }

    /// Lets a slice of what is due expire, and forgets ids; tells whether there is more.
    fn upkeep(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let Some(due) = self.outlived(now)? else { return Ok(false) };
        let shared = Arc::clone(&self.shared);
        let mut view = shared.view_mut()?;
        let (done, has_more) = view.upkeep(Commit(self.staged.0 + 1), now, due)?;
        let group: Vec<Entry> = done.into_iter().map(|(entry, _)| entry).collect();
        self.stage_group(view, &group);
        self.append(now, &group)?;
        // The next group waits for a fold before it is staged; whoever reads what has expired should not wait with it.
        if self.is_stalled()? {
            self.sync_if_room()?;
        }
        Ok(has_more)
    }

    fn is_checkpoint_due(&self, now: Timestamp) -> bool {
        let is_old = now >= self.folded_at.plus(self.settings.checkpoint_interval);
        self.has_enough_to_fold() || (is_old && self.staged > self.frozen)
    }

    fn has_enough_to_fold(&self) -> bool {
        let unfolded = self.shared.view().map_or(0, |view| view.active_bytes());
        self.staged > self.frozen && unfolded >= self.settings.checkpoint_bytes
    }

    /// Whether a checkpoint should begin now, and not when upkeep has its turn: a flood fills memory faster, and publishers
    /// would be refused where nothing is in the way.
    fn should_fold_now(&self) -> bool {
        let is_free = self.halted.is_none() && self.fold.as_ref().is_none_or(Fold::is_finished);
        is_free && self.has_enough_to_fold()
    }

    /// Freezes the rows as they are durable and starts folding them.
    fn checkpoint(&mut self) -> Result<(), StoreError> {
        let Some(commit) = self.sync_if_room()? else { return Ok(()) };
        let layer = {
            let mut view = self.shared.view_mut()?;
            self.shared.payloads.write_open(&mut view)?;
            view.freeze()?
        };
        reach(Point::CheckpointFrozen);
        self.start_fold(layer, commit, false)
    }

    fn start_fold(&mut self, layer: Arc<Frozen>, commit: Commit, is_resumed: bool) -> Result<(), StoreError> {
        self.frozen = commit;
        self.fold = Some(Fold::start(Job {
            dir: self.settings.path.clone(),
            base: self.base.now()?,
            layer,
            commit,
            before: self.stamp.take(),
            is_resumed,
            hold: Arc::clone(&self.hold),
        })?);
        Ok(())
    }

    /// Takes notice of a fold that has ended; waits for one that has not when `must_wait`.
    fn end_fold(&mut self, now: Timestamp, must_wait: bool) -> Result<(), StoreError> {
        if !self.fold.as_ref().is_some_and(|fold| must_wait || fold.is_finished()) {
            return Ok(());
        }
        if let Some(fold) = self.fold.take() {
            let stamp = match fold.join() {
                Ok(stamp) => stamp,
                Err(broken) => return self.halt(*broken),
            };
            self.folded = stamp.commit;
            self.folded_at = now;
            self.stamp = Some(stamp);
            let folded = self.shared.forget_frozen()?;
            // Some hundred thousand rows: whoever waits for the next group need not wait for this.
            drop(std::thread::Builder::new().name("tidegate-forget".to_owned()).spawn(move || drop(folded)));
        }
        Ok(())
    }

    fn measure(&self) {
        let disk_free = self.disk_free();
        self.shared.set_files(FileStats {
            journal_bytes: self.journal.bytes(),
            folded: self.folded,
            disk_free,
            has_lost_rows: self.lost.is_some(),
            is_durable: true,
        });
    }

    /// Whether memory holds too much of what comes in for the fold that is under way.
    fn is_stalled(&self) -> Result<bool, StoreError> {
        Ok(self.fold.is_some() && self.shared.view()?.active_bytes() > self.settings.stall_bytes())
    }

    /// Bounds what memory holds while a fold is slower than what comes in.
    fn stall(&mut self, now: Timestamp) -> Result<(), StoreError> {
        if self.is_stalled()? {
            self.end_fold(now, true)?;
            if self.halted.is_none() {
                self.checkpoint()?;
            }
        }
        Ok(())
    }

    fn close_all(mut self) -> Result<(), StoreError> {
        let now = self.folded_at;
        self.sync_all()?;
        self.fold_all(now)?;
        self.journal.close()
    }

    /// Folds what is not folded yet. Without room, also for want of some that sled has met before and remembers, the journal has
    /// it all, and the next start takes it from there.
    fn fold_all(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.end_fold(now, true)?;
        if self.staged > self.frozen && self.halted.is_none() && self.has_room() {
            self.checkpoint()?;
            self.end_fold(now, true)?;
        }
        Ok(())
    }

    /// Runs `call` unless the store has failed before; a failure closes it.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.shared.check()?;
        call(self).map_err(|error| self.shared.fail(error))
    }
}

impl Store for SledStore {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.guarded(|store| {
            store.stall(now)?;
            store.stage_all(now, changes)
        })
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        self.shared.check()?;
        self.sync_all().map_err(|error| self.fail_unless_full(error))
    }

    fn is_upkeep_due(&self) -> bool {
        self.needs_room_ahead() || self.should_fold_now()
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.guarded(|store| store.maintain_all(now))
    }

    fn retreat(&mut self) -> Result<Commit, StoreError> {
        self.retreat_all()
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }

    fn tools(&self) -> Option<Arc<dyn Tools>> {
        Some(Arc::new(SledTools::of(self)))
    }

    fn features(&self) -> Features {
        Features { durable: true }
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.shared.check()?;
        (*self).close_all()
    }
}
