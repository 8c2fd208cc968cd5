//! Checkpoint: folding rows from memory into sled, on a thread of its own.
//!
//! ```text
//! 1  freeze the rows at commit M (the owner, between groups, after a sync)
//! 2  write them as fold-<M>, synced          from here on recovery reads sled + fold-<M> + journal
//! 3  mark: M, fold-<M>
//! 4  rows into sled, in order, the stamp M, flush and sync
//! 5  mark: M                                 from here on recovery reads sled + journal
//! 6  remove fold-<M>; the owner forgets the frozen rows
//! ```
//! Rows are absolute, so that a crash in step 4 does no harm: under the fold file, a row that is in sled
//! already reads the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::base::{Counts, SledBase, Stamp};
use super::hold::Hold;
use crate::store::journal::{FoldWriter, Mark, read_fold};
use crate::store::rows::Layer;
use crate::store::{Commit, StoreError};

/// A fold under way.
#[derive(Debug)]
pub(super) struct Fold {
    thread: Option<JoinHandle<Result<Stamp, StoreError>>>,
    is_stopped: Arc<AtomicBool>,
}

/// What a fold works on.
#[derive(Debug)]
pub(super) struct Job {
    /// The data folder.
    pub(super) dir: PathBuf,
    /// Where the rows go.
    pub(super) base: Arc<SledBase>,
    /// The rows.
    pub(super) layer: Arc<Layer>,
    /// The commit they stand for.
    pub(super) commit: Commit,
    /// What sled held after the fold before; `None` when one was broken off, then it is counted anew.
    pub(super) before: Option<Stamp>,
    /// The rows are in a fold file that the mark names already.
    pub(super) is_resumed: bool,
    /// Whether the fold file may go afterwards.
    pub(super) hold: Arc<Hold>,
}

impl Fold {
    /// Starts folding.
    pub(super) fn start(job: Job) -> Result<Self, StoreError> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let dir = job.dir.clone();
        let thread = std::thread::Builder::new()
            .name("tidegate-fold".to_owned())
            .spawn(move || job.run(&stop))
            .map_err(|error| StoreError::io("start the checkpoint thread for", dir, &error))?;
        Ok(Self { thread: Some(thread), is_stopped })
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    pub(super) fn join(mut self) -> Result<Stamp, StoreError> {
        let panicked = || StoreError::Poisoned { cause: "the checkpoint thread panicked".to_owned() };
        self.thread.take().ok_or_else(panicked)?.join().map_err(|_| panicked())?
    }
}

impl Drop for Fold {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever came of it is found again at the next start.
            drop(thread.join());
        }
    }
}

impl Job {
    fn run(self, stop: &AtomicBool) -> Result<Stamp, StoreError> {
        let name = format!("fold-{:020}", self.commit.0);
        let path = self.dir.join(&name);
        if !self.is_resumed {
            self.write_file(&path, stop)?;
            let before = self.before.clone().unwrap_or_default();
            mark(self.commit, Some(name), &before).write(&self.dir)?;
        }
        let counts = self.fill(stop)?;
        let stamp = Stamp { commit: self.commit, counts };
        self.base.set_stamp(&stamp)?;
        self.base.sync()?;
        mark(self.commit, None, &stamp).write(&self.dir)?;
        self.hold.remove(&path)?;
        Ok(stamp)
    }

    fn write_file(&self, path: &Path, stop: &AtomicBool) -> Result<(), StoreError> {
        let mut file = FoldWriter::create(path)?;
        for (key, value) in &*self.layer {
            check_stop(stop)?;
            file.push(key, value.as_deref())?;
        }
        file.finish().map(drop)
    }

    fn fill(&self, stop: &AtomicBool) -> Result<Counts, StoreError> {
        let mut counts = self.before.as_ref().map(|stamp| stamp.counts.clone());
        for (key, value) in &*self.layer {
            check_stop(stop)?;
            let was_there = self.base.write(key, value.as_deref())?;
            if let Some(counts) = &mut counts {
                let count = counts.entry(key.first().copied().unwrap_or_default()).or_default();
                *count = (*count + u64::from(value.is_some())).saturating_sub(u64::from(was_there));
            }
        }
        let mut counts = counts.map_or_else(|| self.base.count(), Ok)?;
        counts.retain(|_, count| *count > 0);
        Ok(counts)
    }
}

/// Reads the rows of a fold file.
pub(super) fn read_layer(path: &Path) -> Result<Layer, StoreError> {
    let mut layer = Layer::new();
    read_fold(path, &mut |key, value| {
        layer.insert(key.to_vec(), value.map(bytes::Bytes::copy_from_slice));
        Ok(())
    })?;
    Ok(layer)
}

/// The mark of a checkpoint.
pub(super) fn mark(commit: Commit, fold: Option<String>, stamp: &Stamp) -> Mark {
    let counts = stamp.counts.iter().map(|(table, count)| (format!("{table:02x}"), *count)).collect();
    Mark { fold, stamp: stamp.commit.0, counts, ..Mark::at(commit) }
}

fn check_stop(stop: &AtomicBool) -> Result<(), StoreError> {
    if stop.load(Ordering::Relaxed) {
        return Err(StoreError::Poisoned { cause: "stopped in the middle of a checkpoint".to_owned() });
    }
    Ok(())
}

/// A checkpoint that has come as far as its mark.
#[cfg(test)]
pub(super) fn break_off(dir: &Path, layer: &Layer, commit: Commit) {
    let name = format!("fold-{:020}", commit.0);
    let mut file = FoldWriter::create(&dir.join(&name)).unwrap();
    for (key, value) in layer {
        file.push(key, value.as_deref()).unwrap();
    }
    file.finish().unwrap();
    mark(commit, Some(name), &Stamp::default()).write(dir).unwrap();
}
