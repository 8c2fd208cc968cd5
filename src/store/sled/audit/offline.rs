//! Offline: the folder of a server that is stopped, read as it is.
//!
//! sled writes to its files when it is opened, so a copy of them is opened, in a folder of its own that is
//! removed afterwards. Nothing in the data folder is made, changed or removed.

use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Notebook, Scene, journal, journal_of};
use crate::store::journal::{Audit, AuditAsk, JournalReader, Mark, Record, audit, sync_parent};
use crate::store::reader::Shared;
use crate::store::rows::{Base, Rows};
use crate::store::sled::base::SledBase;
use crate::store::sled::checkpoint::{check_half, read_layer};
use crate::store::sled::payloads::{JournalPayloads, OpenChunk};
use crate::store::sled::slot::BaseSlot;
use crate::store::verify::{Finding, Progress, VerifyReport};
use crate::store::view::{Entry, GroupHead, VERSION, View};
use crate::store::{Commit, StoreError, StoreSettings};

const CACHE_BYTES: u64 = 64 << 20;

/// Verifies the data folder of a stopped server. `scratch` is a folder on a disk with room for a copy of `sled`.
///
/// # Guarantees
/// Nothing in the folder is changed.
///
/// # Errors
/// [`StoreError::Locked`] while a server runs on it, [`StoreError::Newer`], [`StoreError::Io`], also when there is
/// no data folder. Damage is no error: the report tells it.
pub fn verify_folder(dir: &Path, scratch: &Path, progress: &Progress) -> Result<VerifyReport, StoreError> {
    let mut notes = Notebook::default();
    let stopped = match open_stopped(dir, scratch, progress) {
        Ok(stopped) => stopped,
        Err(problem @ StoreError::Damaged { .. }) => {
            let reaches_back = journal_of(dir).join(format!("{:020}.journal", 1)).exists();
            let remedy = if reaches_back {
                "start the server: it moves this aside and rebuilds it from the journal, which reaches back to commit 1"
            } else {
                "restore a backup (`tidegate restore`): the journal does not reach back to commit 1"
            };
            let meaning = "no event is lost by this alone; the server cannot use its checkpoint";
            notes.add(Finding { remedy: remedy.to_owned(), ..Finding::of("checkpoint", &problem, meaning) });
            notes
                .note("rows, deliveries and flows were not looked at, because the checkpoint cannot be read");
            journal::check(dir, None, (Commit(0), None), progress, &mut notes)?;
            return Ok(notes.report.ended());
        }
        Err(error) => return Err(error),
    };
    let mut report = stopped.scene.verify(progress)?;
    if let Some(cut) = stopped.cut_off {
        report.notes.push(format!("rows and deliveries were looked at as they were at commit {}", cut.0));
    }
    Ok(report)
}

/// A stopped store as it would be after a start, without one.
#[derive(Debug)]
pub(in crate::store::sled) struct Stopped {
    pub(in crate::store::sled) scene: Scene,
    /// The last commit that could be applied, when damage in the journal is behind it.
    pub(in crate::store::sled) cut_off: Option<Commit>,
    /// Held, so that no server starts meanwhile. Dropped last: the copy belongs to the scene.
    _lock: Option<File>,
    _copy: Scratch,
}

/// Opens what a stopped server left, on a copy of sled.
///
/// # Errors
/// As [`verify_folder`]; [`StoreError::Damaged`] when mark, sled or fold file are.
pub(in crate::store::sled) fn open_stopped(
    dir: &Path,
    scratch: &Path,
    progress: &Progress,
) -> Result<Stopped, StoreError> {
    let lock = take_lock(dir)?;
    let mark = Mark::read(dir)?;
    let copy = Scratch::make(scratch)?;
    copy.take(&dir.join("sled"), progress)?;
    let held =
        File::create(copy.0.join("lock")).map_err(|error| StoreError::io("create", &copy.0, &error))?;
    let slot = Arc::new(BaseSlot::new(SledBase::open(&copy.0.join("sled"), CACHE_BYTES, Arc::new(held))?));
    let base = slot.now()?;
    let mut rows = Rows::over(Arc::clone(&slot) as Arc<dyn Base>);
    fits(&base, mark.as_ref(), dir)?;
    if let Some(fold) = mark.as_ref().and_then(|mark| mark.fold.as_ref()) {
        let fold = read_layer(&dir.join(fold)).map_err(|error| lost(error, dir))?;
        mark.as_ref().map_or(Ok(()), |mark| check_half(&dir.join("sled"), &base, &fold, mark, u64::MAX))?;
        rows.restore_frozen(fold);
    }
    let settings = StoreSettings { path: dir.to_owned(), ..StoreSettings::default() };
    let mut view = View::load(rows, &settings, dir.join("sled"))?;
    let mut open = OpenChunk::load(&view)?;
    let folder = journal_of(dir);
    let after = mark.map_or(Commit(0), |mark| mark.commit);
    let visit = &mut |record: Record<'_>| replay(&record, &mut view, &mut open, &folder);
    let found = audit(&folder, AuditAsk { after, stops: true, until: None }, visit, &mut |_| {});
    let found = match found {
        Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => Audit::default(),
        other => other?,
    };
    let cut_off = (!found.faults.is_empty()).then(|| view.commit());
    let payloads = JournalPayloads::new(open, JournalReader::of(folder.clone()), first_of(&folder));
    let shared = Shared::new(view, payloads);
    let scene = Scene { dir: dir.to_owned(), base: slot, shared, is_live: false };
    Ok(Stopped { scene, cut_off, _lock: lock, _copy: copy })
}

/// Takes the folder's lock without making one.
pub(in crate::store::sled) fn take_lock(dir: &Path) -> Result<Option<File>, StoreError> {
    let is_store = ["journal", "checkpoint.mark", "sled"].iter().any(|name| dir.join(name).exists());
    if !is_store {
        let none = std::io::Error::new(std::io::ErrorKind::NotFound, "it holds no store");
        return Err(StoreError::io("look into", dir, &none));
    }
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path, &error)),
    }
}

/// Whether sled is the one that the mark was written for.
fn fits(base: &SledBase, mark: Option<&Mark>, dir: &Path) -> Result<(), StoreError> {
    let damaged = |problem: String| crate::store::sled::base::damaged(&dir.join("sled"), problem);
    let Some(mark) = mark else {
        return if base.is_empty()? {
            Ok(())
        } else {
            Err(damaged("it holds rows, but the mark that belongs to it is missing".to_owned()))
        };
    };
    let stamp = base.stamp()?;
    if stamp.commit.0 < mark.stamp {
        return Err(damaged(format!("it ends with commit {}, the mark says {}", stamp.commit.0, mark.stamp)));
    }
    Ok(())
}

/// A fold file that the mark names and that is not there.
fn lost(error: StoreError, dir: &Path) -> StoreError {
    let StoreError::Io { path, kind: std::io::ErrorKind::NotFound, .. } = &error else { return error };
    StoreError::Damaged {
        path: dir.join("checkpoint.mark"),
        offset: 0,
        problem: format!("it names {}, which is not there", path.display()),
        remedy: String::new(),
    }
}

/// Applies one record to a view that is built from disk.
pub(in crate::store::sled) fn replay(
    record: &Record<'_>,
    view: &mut View,
    open: &mut OpenChunk,
    folder: &Path,
) -> Result<(), StoreError> {
    let Some(((_, head), entries)) = record.entries.split_first() else { return Ok(()) };
    let unreadable = |at: u64, error: &postcard::Error| StoreError::Damaged {
        path: folder.to_owned(),
        offset: at,
        problem: format!("an entry of commit {} cannot be decoded ({error})", record.commit.0),
        remedy: String::new(),
    };
    let head = GroupHead::decode(head).map_err(|error| unreadable(0, &error))?;
    if head.version > VERSION {
        return Err(StoreError::Newer { path: folder.to_owned(), found: head.version, supported: VERSION });
    }
    for (at, bytes) in entries {
        let entry = Entry::decode(bytes).map_err(|error| unreadable(at.offset, &error))?;
        view.replay(record.commit, head.at, &entry)?;
        if let Entry::Event(event) = &entry {
            open.locate(view, event.rest.seq, *at)?;
        }
    }
    Ok(())
}

/// The number of the oldest segment that is there.
fn first_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.strip_suffix(".journal")?.parse().ok()).min().unwrap_or(1)
}

/// A folder for a while.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn make(within: &Path) -> Result<Self, StoreError> {
        let path = |n: u32| within.join(format!("tidegate-look-{}-{n}", std::process::id()));
        let mut tries = 0..1_000;
        loop {
            let path = path(tries.next().unwrap_or(1_000));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && !tries.is_empty() => {}
                Err(error) => {
                    return Err(StoreError::io(
                        "make a folder for a copy of sled, name another one with --scratch:",
                        path,
                        &error,
                    ));
                }
            }
        }
    }

    /// Copies a folder of files into it, if there is one.
    fn take(&self, from: &Path, progress: &Progress) -> Result<(), StoreError> {
        progress.begin("copy of sled", journal::bytes_of(from));
        copy_tree(from, &self.0.join("sled"), progress)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is a copy in a folder for such; it does no harm.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Copies the files of a folder and of those in it.
fn copy_tree(from: &Path, to: &Path, progress: &Progress) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("list", from, &error)),
    };
    std::fs::create_dir(to).map_err(|error| StoreError::io("create", to, &error))?;
    for entry in entries {
        progress.check()?;
        let entry = entry.map_err(|error| StoreError::io("list", from, &error))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_tree(&source, &target, progress)?;
        } else {
            let copied = std::fs::copy(&source, &target);
            progress.add(copied.map_err(|error| {
                StoreError::io("copy, to a folder with room (--scratch),", source, &error)
            })?);
        }
    }
    sync_parent(to)
}
