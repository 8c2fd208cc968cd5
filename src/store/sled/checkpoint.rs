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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::base::{Counts, SledBase, Stamp, damaged};
use super::hold::Hold;
use crate::store::faults::{Point, reach};
use crate::store::journal::{FoldBlock, FoldReader, FoldWriter, Mark, read_fold};
use crate::store::layer::Layer;
#[cfg(test)]
use crate::store::rows::Changed;
use crate::store::view::Frozen;
use crate::store::{Commit, StoreError};

/// Blocks of the fold file that go into sled together: a page that two of them belong to is written twice.
const BLOCKS: usize = 16;

/// A fold under way.
#[derive(Debug)]
pub(super) struct Fold {
    thread: Option<JoinHandle<Result<Stamp, Box<Broken>>>>,
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
    pub(super) layer: Arc<Frozen>,
    /// The commit they stand for.
    pub(super) commit: Commit,
    /// What sled held after the fold before; `None` when one was broken off, then it is counted anew.
    pub(super) before: Option<Stamp>,
    /// The rows are in a fold file that the mark names already.
    pub(super) is_resumed: bool,
    /// Whether the fold file may go afterwards.
    pub(super) hold: Arc<Hold>,
}

/// How far a fold came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing names its file yet: as if it had not begun.
    File,
    /// Rows were on their way into sled.
    Rows,
    /// All rows are in sled and synced; the mark still names the file.
    Mark,
}

/// A fold that has failed, with what it takes to begin it again.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: StoreError,
    pub(super) stage: Stage,
    pub(super) layer: Arc<Frozen>,
    pub(super) commit: Commit,
    pub(super) before: Option<Stamp>,
}

impl Fold {
    /// Starts folding.
    pub(super) fn start(job: Job) -> Result<Self, StoreError> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let dir = job.dir.clone();
        let thread = std::thread::Builder::new()
            .name("tidegate-fold".to_owned())
            .spawn(move || {
                job.run(&stop).map_err(|(stage, error)| {
                    let Job { layer, commit, before, .. } = job;
                    Box::new(Broken { error, stage, layer, commit, before })
                })
            })
            .map_err(|error| StoreError::io("start the checkpoint thread for", dir, &error))?;
        Ok(Self { thread: Some(thread), is_stopped })
    }

    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    pub(super) fn join(mut self) -> Result<Stamp, Box<Broken>> {
        let panicked = || {
            let error = StoreError::Poisoned { cause: "the checkpoint thread panicked".to_owned() };
            let (layer, commit) = (Arc::default(), Commit(0));
            Box::new(Broken { error, stage: Stage::Rows, layer, commit, before: None })
        };
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
    fn run(&self, stop: &AtomicBool) -> Result<Stamp, (Stage, StoreError)> {
        let name = format!("fold-{:020}", self.commit.0);
        let path = self.dir.join(&name);
        let mut kept = None;
        if !self.is_resumed {
            kept = self.name_file(&path, name, stop).map_err(|error| (Stage::File, error))?;
        }
        let stamp = self.fill_base(&path, kept, stop).map_err(|error| (Stage::Rows, error))?;
        self.forget_file(&path, &stamp).map_err(|error| (Stage::Mark, error))?;
        Ok(stamp)
    }

    /// Returns what stands in the file, where that may be held in memory.
    fn name_file(&self, path: &Path, name: String, stop: &AtomicBool) -> Result<Kept, StoreError> {
        let (after, kept) = self.write_file(path, stop)?;
        let before = self.before.clone().unwrap_or_default();
        Mark { after, ..mark(self.commit, Some(name), &before) }.write(&self.dir)?;
        Ok(kept)
    }

    fn fill_base(&self, path: &Path, kept: Kept, stop: &AtomicBool) -> Result<Stamp, StoreError> {
        let counts = self.fill(path, kept, stop)?;
        let stamp = Stamp { commit: self.commit, counts };
        self.base.set_stamp(&stamp)?;
        reach(Point::FoldStamped);
        self.base.sync()?;
        reach(Point::FoldSynced);
        Ok(stamp)
    }

    fn forget_file(&self, path: &Path, stamp: &Stamp) -> Result<(), StoreError> {
        mark(self.commit, None, stamp).write(&self.dir)?;
        reach(Point::FoldFileRemoving);
        self.hold.remove(path)?;
        reach(Point::FoldFileRemoved);
        Ok(())
    }

    /// Returns how many rows sled will have when all of the file is in it, where it is known how many it has: whoever goes on
    /// with a part of it cannot tell any more which rows were there before.
    fn write_file(
        &self,
        path: &Path,
        stop: &AtomicBool,
    ) -> Result<(Option<BTreeMap<String, u64>>, Kept), StoreError> {
        let mut file = FoldWriter::create(path)?;
        let mut after = self.before.as_ref().map(|stamp| self.base.foresee(stamp.counts.clone()));
        self.layer.each(&self.dir, Some(&*self.base), &mut |key, value, is_new| {
            check_stop(stop)?;
            if let Some(after) = &mut after {
                after.row((key, value), is_new)?;
            }
            file.push(key, value)
        })?;
        Ok((after.map(|after| named(&after.counts)), file.finish()?.blocks))
    }

    /// Puts the rows into sled as they stand in the file: to encode and sort them again would cost more than to keep them, or
    /// to read them where they are too many for memory.
    fn fill(&self, path: &Path, kept: Kept, stop: &AtomicBool) -> Result<Counts, StoreError> {
        let mut counts = self.before.as_ref().map(|stamp| stamp.counts.clone()).unwrap_or_default();
        if self.is_resumed {
            self.base.cut_doubles()?;
        }
        let mut rows = match kept {
            Some(blocks) => Blocks::Kept(blocks.into_iter()),
            None => Blocks::Stored(FoldReader::open(path)?),
        };
        loop {
            let blocks = rows.some()?;
            if blocks.is_empty() {
                break;
            }
            let pairs = blocks.iter().flat_map(FoldBlock::pairs);
            self.base.fold(pairs, &mut counts, &|| check_stop(stop))?;
        }
        if self.before.is_none() {
            counts = self.base.count()?;
        }
        counts.retain(|_, count| *count > 0);
        // Where nothing was broken off it is what was foreseen, or that has a fault: tests look each time.
        if (self.is_resumed || cfg!(debug_assertions))
            && let Some(after) =
                Mark::read(&self.dir)?.and_then(|mark| mark.after).map(|after| numbered(&after))
            && after != counts
        {
            return Err(damaged(&self.dir.join("sled"), lost_in_fold(&counts, &after)));
        }
        Ok(counts)
    }
}

/// The blocks of a fold file, where memory holds them.
type Kept = Option<Vec<FoldBlock>>;

/// The blocks of a fold file, from memory or read.
enum Blocks {
    Kept(std::vec::IntoIter<FoldBlock>),
    Stored(FoldReader),
}

impl Blocks {
    /// The next ones; none at the end.
    fn some(&mut self) -> Result<Vec<FoldBlock>, StoreError> {
        match self {
            Self::Kept(blocks) => Ok(blocks.take(BLOCKS).collect()),
            Self::Stored(file) => std::iter::from_fn(|| file.next_block().transpose()).take(BLOCKS).collect(),
        }
    }
}

/// Reads the rows of a fold file.
pub(super) fn read_layer(path: &Path) -> Result<Layer, StoreError> {
    let mut layer = Layer::default();
    read_fold(path, &mut |key, value| {
        layer.insert(key.to_vec(), value.map(bytes::Bytes::copy_from_slice));
        Ok(())
    })?;
    Ok(layer)
}

/// The mark of a checkpoint.
pub(super) fn mark(commit: Commit, fold: Option<String>, stamp: &Stamp) -> Mark {
    Mark { fold, stamp: stamp.commit.0, counts: named(&stamp.counts), ..Mark::at(commit) }
}

/// Counts as a mark has them.
fn named(counts: &Counts) -> BTreeMap<String, u64> {
    counts.iter().map(|(table, count)| (format!("{table:02x}"), *count)).collect()
}

fn numbered(named: &BTreeMap<String, u64>) -> Counts {
    let number = |(table, count): (&String, &u64)| Some((u8::from_str_radix(table, 16).ok()?, *count));
    named.iter().filter_map(number).filter(|(_, count)| *count > 0).collect()
}

/// Finds rows that sled has lost while a fold was broken off, with some of the `fold` in it: those that it does not touch
/// are as many as they were. Not where there are more than `limit` rows to count.
///
/// # Errors
/// [`StoreError::Damaged`].
pub(super) fn check_half(
    dir: &Path,
    base: &SledBase,
    fold: &Layer,
    mark: &Mark,
    limit: u64,
) -> Result<(), StoreError> {
    let Some(mut left) = mark.after.as_ref().map(numbered) else { return Ok(()) };
    if left.values().sum::<u64>() > limit {
        return Ok(());
    }
    for key in fold.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key) {
        let count = left.entry(key.first().copied().unwrap_or_default()).or_default();
        *count = count.saturating_sub(1);
    }
    left.retain(|_, count| *count > 0);
    let found = base.count_those(|key| !fold.has(key))?;
    if found == left { Ok(()) } else { Err(damaged(dir, lost_in_fold(&found, &left))) }
}

fn lost_in_fold(found: &Counts, wanted: &Counts) -> String {
    format!("a checkpoint was broken off in it, and it holds {found:?} rows by table where {wanted:?} belong")
}

fn check_stop(stop: &AtomicBool) -> Result<(), StoreError> {
    if stop.load(Ordering::Relaxed) {
        return Err(StoreError::Poisoned { cause: "stopped in the middle of a checkpoint".to_owned() });
    }
    Ok(())
}

/// A checkpoint that has come as far as its mark.
#[cfg(test)]
pub(super) fn break_off(dir: &Path, layer: &[Changed], commit: Commit) {
    let name = format!("fold-{:020}", commit.0);
    let mut file = FoldWriter::create(&dir.join(&name)).unwrap();
    for (key, value) in layer {
        file.push(key, value.as_deref()).unwrap();
    }
    file.finish().unwrap();
    mark(commit, Some(name), &Stamp::default()).write(dir).unwrap();
}
