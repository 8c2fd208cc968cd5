//! A disk that loses what was not synced.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Timestamp;
use crate::store::{
    Change, Commit, Features, MemoryStore, Reader, Receipt, Store, StoreError, StoreSettings,
};

/// A simulated disk under the engine in memory: what was written and not synced may be lost at a crash.
///
/// It keeps every group that was staged, and rebuilds the engine from those that a crash has left, as a start
/// from a journal does. A torn group counts as lost: a journal finds it by its checksum.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    settings: StoreSettings,
    engine: MemoryStore,
    written: Vec<Write>,
    synced: usize,
}

#[derive(Debug, Clone)]
enum Write {
    Group(Timestamp, Vec<Change>),
    Upkeep(Timestamp),
}

impl SimDisk {
    /// An empty disk.
    ///
    /// # Errors
    /// As [`MemoryStore::new`].
    pub fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        let engine = MemoryStore::new(settings)?;
        let disk = Disk { settings: settings.clone(), engine, written: Vec::new(), synced: 0 };
        Ok(Self(Arc::new(Mutex::new(disk))))
    }

    /// The store on this disk, for [`Harness::on_store`].
    ///
    /// [`Harness::on_store`]: super::Harness::on_store
    pub fn store(&self) -> Box<dyn Store> {
        Box::new(self.clone())
    }

    /// Groups that were written and not synced.
    pub fn unsynced(&self) -> usize {
        let disk = self.lock();
        disk.written.len().saturating_sub(disk.synced)
    }

    /// What the crash of a machine leaves: everything that was synced, and of the rest the first groups, as
    /// many as `draw` says. Call it when the bus has ended and before it starts again. Answers how many were
    /// lost.
    ///
    /// # Errors
    /// When what was written once cannot be written again, or leads elsewhere.
    pub fn crash(&self, draw: u64) -> Result<usize, StoreError> {
        let mut disk = self.lock();
        let unsynced = disk.written.len().saturating_sub(disk.synced);
        let kept = usize::try_from(draw % (unsynced as u64 + 1)).unwrap_or_default();
        let left = disk.synced + kept;
        let before = disk.engine.sync()?;
        let lost = disk.written.len() - left;
        disk.written.truncate(left);
        let mut engine = MemoryStore::new(&disk.settings)?;
        for write in disk.written.clone() {
            match write {
                Write::Group(now, mut changes) => drop(engine.stage(now, &mut changes)?),
                Write::Upkeep(now) => drop(engine.maintain(now)?),
            }
        }
        let after = engine.sync()?;
        if lost == 0 && before != after {
            let cause = format!("the same groups led to {before:?} and then to {after:?}");
            return Err(StoreError::Poisoned { cause });
        }
        disk.engine = engine;
        disk.synced = left;
        drop(disk);
        Ok(lost)
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for SimDisk {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        let mut disk = self.lock();
        let written = Write::Group(now, changes.clone());
        let receipts = disk.engine.stage(now, changes)?;
        disk.written.push(written);
        drop(disk);
        Ok(receipts)
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        let mut disk = self.lock();
        disk.synced = disk.written.len();
        disk.engine.sync()
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let mut disk = self.lock();
        disk.written.push(Write::Upkeep(now));
        disk.engine.maintain(now)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.lock().engine.reader()
    }

    fn features(&self) -> Features {
        self.lock().engine.features()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
