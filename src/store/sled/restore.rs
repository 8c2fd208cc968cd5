//! Restore: a data folder out of a backup.
//!
//! The backup is read twice: once to check all of it, once to write. What is written stands beside the target
//! under another name until everything is synced; then it gets its name, all at once.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::base::{Counts, SledBase, Stamp};
use super::checkpoint::mark;
use crate::store::backup::{About, BackupReader, Manifest, Piece};
use crate::store::journal::witness::{Deed, saw};
use crate::store::journal::{sync_dir, sync_file, sync_parent};
use crate::store::view::VERSION;
use crate::store::{Commit, Progress, StoreError};

const CACHE_BYTES: u64 = 64 << 20;

/// Reads a whole backup and compares every byte with its checksums; returns what is in it.
///
/// # Errors
/// [`StoreError::Damaged`] with the place, [`StoreError::Newer`], [`StoreError::Io`].
pub fn check_backup(path: &Path, progress: &Progress) -> Result<Manifest, StoreError> {
    progress.begin("check", path.metadata().map_or(0, |found| found.len()));
    let (mut reader, About { entries, .. }) = BackupReader::open(path)?;
    if entries > VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: entries, supported: VERSION });
    }
    loop {
        progress.check()?;
        let before = reader.offset();
        if let Piece::End(manifest) = reader.next()? {
            return Ok(*manifest);
        }
        progress.add(reader.offset() - before);
    }
}

/// Makes a data folder at `to` out of a backup.
///
/// # Guarantees
/// All or nothing, durable when it returns: `to` holds the whole store, or is as it was. All of the backup was
/// checked before anything was written.
///
/// # Errors
/// As [`check_backup`]; [`StoreError::Io`] of kind `AlreadyExists` when something is at `to`.
pub fn restore(path: &Path, to: &Path, progress: &Progress) -> Result<Manifest, StoreError> {
    is_free(to)?;
    let manifest = check_backup(path, progress)?;
    let beside = Beside::make(to)?;
    fill(path, &beside.0, &manifest, progress)?;
    is_free(to)?;
    std::fs::rename(&beside.0, to).map_err(|error| StoreError::io("give its name to", to, &error))?;
    saw(Deed::Named, to);
    sync_parent(to)?;
    Ok(manifest)
}

/// Only where there is nothing, or an empty folder.
pub(super) fn is_free(to: &Path) -> Result<(), StoreError> {
    let is_there = match std::fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(StoreError::io("list", to, &error)),
    };
    if is_there {
        let full = std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "it is not empty; name a folder that does not exist, or move this one aside",
        );
        return Err(StoreError::io("restore to", to, &full));
    }
    Ok(())
}

fn fill(path: &Path, dir: &Path, manifest: &Manifest, progress: &Progress) -> Result<(), StoreError> {
    progress.begin("restore", path.metadata().map_or(0, |found| found.len()));
    let lock = dir.join("lock");
    let lock = Arc::new(File::create(&lock).map_err(|error| StoreError::io("create", lock, &error))?);
    let base = SledBase::open(&dir.join("sled"), CACHE_BYTES, lock)?;
    let journal = dir.join("journal");
    let made = DirBuilder::new().mode(0o700).create(&journal);
    made.map_err(|error| StoreError::io("create", &journal, &error))?;
    let (mut reader, _) = BackupReader::open(path)?;
    let mut segment: Option<(File, PathBuf)> = None;
    loop {
        progress.check()?;
        let before = reader.offset();
        match reader.next()? {
            Piece::Rows(rows) => {
                let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
                base.fold(rows, &mut Counts::new(), &|| Ok(()))?;
            }
            Piece::Fold => {}
            Piece::Segment(first) => {
                synced(segment.take())?;
                let file = journal.join(format!("{first:020}.journal"));
                let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
                segment = Some((made.map_err(|error| StoreError::io("create", &file, &error))?, file));
            }
            Piece::Bytes(bytes) => {
                if let Some((file, path)) = &mut segment {
                    file.write_all(&bytes).map_err(|error| StoreError::io("write", &*path, &error))?;
                }
            }
            Piece::End(_) => break,
        }
        progress.add(reader.offset() - before);
    }
    synced(segment.take())?;
    end(dir, &base, manifest)
}

fn synced(segment: Option<(File, PathBuf)>) -> Result<(), StoreError> {
    segment.map_or(Ok(()), |(file, path)| sync_file(&file, &path))
}

/// Says how far the rows go, and has all of it on disk.
fn end(dir: &Path, base: &SledBase, manifest: &Manifest) -> Result<(), StoreError> {
    if manifest.folded > 0 {
        let commit = Commit(manifest.folded);
        let stamp = Stamp { commit, counts: base.count()? };
        base.set_stamp(&stamp)?;
        base.sync()?;
        mark(commit, None, &stamp).write(dir)?;
    } else {
        base.sync()?;
    }
    for folder in [dir.join("journal"), dir.to_owned()] {
        sync_dir(&folder)?;
    }
    Ok(())
}

/// The folder that is filled, until it has its name.
#[derive(Debug)]
struct Beside(PathBuf);

impl Beside {
    fn make(to: &Path) -> Result<Self, StoreError> {
        let name =
            to.file_name().map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned());
        let path = to.with_file_name(format!(".{name}.restoring-{}", std::process::id()));
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent {
            std::fs::create_dir_all(parent).map_err(|error| StoreError::io("create", parent, &error))?;
        }
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| StoreError::io("create", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Once it has its name there is nothing here any more.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
