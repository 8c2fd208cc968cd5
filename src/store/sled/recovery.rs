//! Recovery: from what is on disk to a view, or to a clear word on what is damaged.
//!
//! Order: lock, mark, sled (stamp and counts as the mark says), fold file, then the journal after the
//! mark. When mark, sled or fold file are damaged or missing, they are moved aside and everything is
//! replayed from the journal, if it still begins with commit 1.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::base::{self, SledBase, Stamp};
use super::checkpoint::{check_half, mark, read_layer};
use super::making::{self, has_no_journal};
use super::patience::{TRIES, when_free};
use super::payloads::OpenChunk;
use super::slot::BaseSlot;
use crate::store::journal::{Journal, JournalSettings, Location, Mark, Record, sync_parent};
use crate::store::layer::Layer;
use crate::store::rows::{Base, Changed, Rows};
use crate::store::view::{Entry, Frozen, GroupHead, VERSION, View};
use crate::store::{Commit, StoreError, StoreSettings};

/// Rows up to which opening counts them all. A million of them take about 30 ms, and the reading of about 65 MB.
const COUNTED_MAX: u64 = 25_000_000;
/// Rows that go into sled together while the journal is replayed.
const AT_ONCE: usize = 8_192;

/// What recovery found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) view: View,
    pub(super) base: Arc<BaseSlot>,
    pub(super) journal: Journal,
    /// Where the newest events are.
    pub(super) open: OpenChunk,
    /// What sled holds; `None` while a fold is half done.
    pub(super) stamp: Option<Stamp>,
    /// A fold that was broken off: its rows and their commit.
    pub(super) fold: Option<(Arc<Frozen>, Commit)>,
    /// What the mark says.
    pub(super) marked: Commit,
}

/// The checkpoint as it is on disk.
struct Checkpoint {
    base: SledBase,
    stamp: Option<Stamp>,
    fold: Option<Layer>,
    commit: Commit,
}

/// Makes the data folder and takes its lock.
pub(super) fn lock(dir: &Path) -> Result<Arc<File>, StoreError> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|level| !level.as_os_str().is_empty() && !level.exists()).collect();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| StoreError::io("create", dir, &error))?;
    missing.into_iter().try_for_each(sync_parent)?;
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| StoreError::io("open", &path, &error))?;
    // A store of this process that was closed a moment ago may still be read from, and a process that was told to
    // end may still be ending.
    let locked = when_free(TRIES, || try_lock(&file, &path))?;
    locked.map(|()| Arc::new(file)).ok_or_else(|| StoreError::Locked { path: dir.to_owned() })
}

/// Takes a lock, if it is free.
pub(super) fn try_lock(file: &File, path: &Path) -> Result<Option<()>, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path, &error)),
    }
}

/// Opens everything, rebuilding the checkpoint where it is damaged.
pub(super) fn recover(settings: &StoreSettings, lock: &Arc<File>) -> Result<Recovered, StoreError> {
    let opened = open_checkpoint(settings, lock).and_then(|checkpoint| replay(settings, checkpoint));
    let recovered = match opened {
        Err(problem) if is_rebuildable(settings, &problem) => rebuild(settings, lock, problem),
        other => other,
    }?;
    making::end(&settings.path)?;
    Ok(recovered)
}

/// Damage to anything but the journal.
fn is_rebuildable(settings: &StoreSettings, problem: &StoreError) -> bool {
    let journal = settings.path.join("journal");
    match problem {
        StoreError::Damaged { path, .. } => !path.starts_with(journal),
        // The fold file that the mark names.
        StoreError::Io { path, kind: std::io::ErrorKind::NotFound, .. } => {
            path.starts_with(&settings.path) && !path.starts_with(journal)
        }
        StoreError::Newer { .. }
        | StoreError::Locked { .. }
        | StoreError::Io { .. }
        | StoreError::Poisoned { .. } => false,
    }
}

fn open_checkpoint(settings: &StoreSettings, lock: &Arc<File>) -> Result<Checkpoint, StoreError> {
    let dir = settings.path.join("sled");
    making::begin(&settings.path)?;
    let mark = Mark::read(&settings.path)?;
    remove_leftovers(&settings.path, mark.as_ref().and_then(|mark| mark.fold.as_deref()))?;
    let base = open_base(settings, mark.is_some(), lock)?;
    let Some(mark) = mark else {
        if base.is_empty()? {
            return Ok(Checkpoint { base, stamp: Some(Stamp::default()), fold: None, commit: Commit(0) });
        }
        return Err(base::damaged(
            &dir,
            "it holds rows, but the mark that belongs to it is missing".to_owned(),
        ));
    };
    let (stamp, fold) = check_base(&settings.path, &base, &mark)?;
    let stamp = fold.is_none().then_some(stamp);
    Ok(Checkpoint { base, stamp, fold, commit: mark.commit })
}

/// Checks that sled holds what the mark says; returns the rows of the fold file that belongs over it.
pub(super) fn check_base(
    path: &Path,
    base: &SledBase,
    mark: &Mark,
) -> Result<(Stamp, Option<Layer>), StoreError> {
    let (dir, stamp) = (path.join("sled"), base.stamp()?);
    if stamp.commit.0 < mark.stamp {
        let problem = format!("it ends with commit {}, the mark says {}", stamp.commit.0, mark.stamp);
        return Err(base::damaged(&dir, problem));
    }
    let fold = mark.fold.as_ref().map(|name| read_layer(&path.join(name))).transpose()?;
    match &fold {
        Some(fold) => check_half(&dir, base, fold, mark, COUNTED_MAX)?,
        None => check_counts(&dir, base, &stamp)?,
    }
    Ok((stamp, fold))
}

/// Opens sled. One that was half made when the first start of all broke off, before there was anything to
/// acknowledge with, is moved aside and made again.
fn open_base(settings: &StoreSettings, has_mark: bool, lock: &Arc<File>) -> Result<SledBase, StoreError> {
    let dir = settings.path.join("sled");
    let open = || SledBase::open(&dir, settings.cache_bytes, Arc::clone(lock));
    match open() {
        Err(problem @ StoreError::Damaged { .. }) if !has_mark && has_no_journal(&settings.path)? => {
            tracing::warn!(%problem, "an earlier start has broken off before anything was stored; beginning anew");
            move_aside(&settings.path, "sled")?;
            open()
        }
        opened => opened,
    }
}

/// Removes fold files that a crash left behind: unfinished ones, and ones that are folded.
fn remove_leftovers(dir: &Path, named: Option<&str>) -> Result<(), StoreError> {
    let entries = std::fs::read_dir(dir).map_err(|error| StoreError::io("list", dir, &error))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_fold = name.to_str().is_some_and(|name| name.starts_with("fold-") && Some(name) != named);
        if is_fold {
            let gone = std::fs::remove_file(entry.path());
            gone.map_err(|error| StoreError::io("remove", entry.path(), &error))?;
        }
    }
    Ok(())
}

/// Finds rows that are lost silently, as far as counting is cheap.
fn check_counts(dir: &Path, base: &SledBase, stamp: &Stamp) -> Result<(), StoreError> {
    if stamp.counts.values().sum::<u64>() > COUNTED_MAX {
        return Ok(());
    }
    let found = base.count()?;
    if found == stamp.counts {
        return Ok(());
    }
    Err(base::damaged(dir, format!("it holds {found:?} rows by table, {:?} were written", stamp.counts)))
}

fn replay(settings: &StoreSettings, checkpoint: Checkpoint) -> Result<Recovered, StoreError> {
    let slot = Arc::new(BaseSlot::new(checkpoint.base));
    let base = slot.now()?;
    let mut rows = Rows::over(Arc::clone(&slot) as Arc<dyn Base>);
    let fold = checkpoint.fold.map(|layer| {
        let layer = Frozen::of_rows(rows.restore_frozen(layer));
        (Arc::new(layer), checkpoint.commit)
    });
    let view = View::load(rows, settings, settings.path.join("sled"))?;
    let open = OpenChunk::load(&view)?;
    let mut replay =
        Replay { settings, base: &base, view, open, is_whole: checkpoint.commit == Commit(0), folds: 0 };
    let visit = &mut |record: Record<'_>| replay.take(&record);
    let journal = Journal::open(journal_settings(settings), visit, checkpoint.commit)?;
    let (mut stamp, mut marked) = (checkpoint.stamp, checkpoint.commit);
    if replay.folds > 0 {
        marked = journal.last_commit();
        stamp = Some(replay.end_folds(marked)?);
    }
    let (view, open) = (replay.view, replay.open);
    Ok(Recovered { view, base: slot, journal, open, stamp, fold, marked })
}

/// Moves the damaged checkpoint aside and replays the whole journal.
fn rebuild(settings: &StoreSettings, lock: &Arc<File>, problem: StoreError) -> Result<Recovered, StoreError> {
    // The name of the segment of commit 1 (docs/storage-journal.md).
    if !settings.path.join("journal").join(format!("{:020}.journal", 1)).exists() {
        return Err(unrepairable(problem));
    }
    let dir = settings.path.join("sled");
    for name in ["checkpoint.mark", "sled"] {
        move_aside(&settings.path, name)?;
    }
    tracing::warn!(%problem, "the checkpoint is damaged and was moved aside; rebuilding it from the journal");
    let base = SledBase::open(&dir, settings.cache_bytes, Arc::clone(lock))?;
    replay(settings, Checkpoint { base, stamp: Some(Stamp::default()), fold: None, commit: Commit(0) })
}

fn unrepairable(mut problem: StoreError) -> StoreError {
    if let StoreError::Damaged { remedy, .. } = &mut problem {
        "it cannot be rebuilt, because the journal does not reach back to commit 1; restore a backup"
            .clone_into(remedy);
    }
    problem
}

/// Renames what is there to `<name>.damaged-<n>`, with the first free number.
fn move_aside(dir: &Path, name: &str) -> Result<(), StoreError> {
    let from = dir.join(name);
    if !from.exists() {
        return Ok(());
    }
    let aside = |n: u32| -> PathBuf { dir.join(format!("{name}.damaged-{n}")) };
    let to = (1..u32::MAX).map(aside).find(|to| !to.exists()).unwrap_or_else(|| aside(0));
    std::fs::rename(&from, &to).map_err(|error| StoreError::io("move aside", &from, &error))?;
    let synced = File::open(dir).and_then(|handle| handle.sync_all());
    synced.map_err(|error| StoreError::io("sync the folder", dir, &error))
}

/// Applies the journal's records.
struct Replay<'a> {
    settings: &'a StoreSettings,
    base: &'a SledBase,
    view: View,
    open: OpenChunk,
    /// Replaying from the beginning: folds on the way, so that memory stays bounded. There is no mark
    /// then, and a crash in between begins again with an empty base.
    is_whole: bool,
    folds: u64,
}

impl Replay<'_> {
    fn take(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        let Some(((at, head), entries)) = record.entries.split_first() else { return Ok(()) };
        let head = GroupHead::decode(head).map_err(|error| self.unreadable(record, at, &error))?;
        if head.version > VERSION {
            let path = self.settings.path.join("journal");
            return Err(StoreError::Newer { path, found: head.version, supported: VERSION });
        }
        for (at, bytes) in entries {
            let entry = Entry::decode(bytes).map_err(|error| self.unreadable(record, at, &error))?;
            self.view.replay(record.commit, head.at, &entry)?;
            if let Entry::Event(event) = &entry {
                self.open.locate(&mut self.view, event.rest.seq, *at)?;
            }
        }
        let is_large = self.view.active_bytes() > self.settings.checkpoint_bytes;
        if self.is_whole && is_large { self.fold() } else { Ok(()) }
    }

    fn fold(&mut self) -> Result<(), StoreError> {
        self.folds += 1;
        self.open.write(&mut self.view)?;
        let layer = self.view.freeze()?;
        let mut rows: Vec<Changed> = Vec::with_capacity(AT_ONCE);
        layer.each(&self.settings.path, Some(self.base), &mut |key, value, _is_new| {
            rows.push((key.to_vec(), value.map(Bytes::copy_from_slice)));
            if rows.len() == AT_ONCE { self.put(&mut rows) } else { Ok(()) }
        })?;
        self.put(&mut rows)?;
        drop(self.view.forget_frozen());
        Ok(())
    }

    fn put(&self, rows: &mut Vec<Changed>) -> Result<(), StoreError> {
        let of_rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        self.base.fold(of_rows, &mut base::Counts::new(), &|| Ok(()))?;
        rows.clear();
        Ok(())
    }

    /// Makes sled whole and durable, then names it in a mark.
    fn end_folds(&mut self, commit: Commit) -> Result<Stamp, StoreError> {
        self.fold()?;
        let stamp = Stamp { commit, counts: self.base.count()? };
        self.base.set_stamp(&stamp)?;
        self.base.sync()?;
        mark(commit, None, &stamp).write(&self.settings.path)?;
        Ok(stamp)
    }

    fn unreadable(&self, record: &Record<'_>, at: &Location, error: &postcard::Error) -> StoreError {
        StoreError::Damaged {
            path: self.settings.path.join("journal").join(format!("{:020}.journal", at.segment)),
            offset: at.offset,
            problem: format!("an entry of commit {} cannot be decoded ({error})", record.commit.0),
            remedy: "restore a backup".to_owned(),
        }
    }
}

fn journal_settings(settings: &StoreSettings) -> JournalSettings {
    JournalSettings { dir: settings.path.join("journal"), segment_bytes: settings.segment_bytes }
}
