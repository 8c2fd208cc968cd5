//! File system primitives, each with its sync: nothing here returns before what it says is on disk.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::StoreError;
use super::witness::{Deed, saw};
use crate::store::faults::reach_naming;

/// Replaces the file at `path` by `bytes`, all or nothing.
///
/// # Guarantees
/// Written beside as `<path>.tmp`, synced, renamed, folder synced: after a crash at any point the file
/// holds either what it held before or `bytes`.
///
/// # Errors
/// [`StoreError::Io`]; after an error the old or the new content is there, and a second call is safe
/// because it starts from a fresh file.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = beside(path);
    let mut file = create_private(&beside)?;
    file.write_all(bytes).map_err(|error| StoreError::io("write", &beside, &error))?;
    publish(&file, &beside, path)
}

/// Syncs `file`, gives it its final name and syncs the folder.
pub(super) fn publish(file: &File, beside: &Path, path: &Path) -> Result<(), StoreError> {
    sync_file(file, beside)?;
    reach_naming(path, 0);
    rename(beside, path)?;
    reach_naming(path, 1);
    sync_parent(path)?;
    reach_naming(path, 2);
    Ok(())
}

/// The name under which a file is prepared before it gets its own.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".tmp");
    PathBuf::from(name)
}

/// Creates or empties a file that only the owner may read.
pub(super) fn create_private(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::io("create", path, &error))
}

/// Opens a file to read and write it in place.
pub(super) fn open_existing(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| StoreError::io("open", path, &error))
}

/// Makes the folder if it is missing, for the owner only, and syncs the entry in its parent.
pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| StoreError::io("create", dir, &error))?;
    sync_parent(dir)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::rename(from, to).map_err(|error| StoreError::io("rename into place", to, &error))?;
    saw(Deed::Named, to);
    Ok(())
}

/// Syncs a file with all that is known of it.
pub(in crate::store) fn sync_file(file: &File, path: &Path) -> Result<(), StoreError> {
    file.sync_all().map_err(|error| StoreError::io("sync", path, &error))?;
    saw(Deed::Synced, path);
    Ok(())
}

/// Syncs what was written to a file whose room is reserved.
pub(super) fn sync_data(file: &File, path: &Path) -> Result<(), StoreError> {
    file.sync_data().map_err(|error| StoreError::io("sync", path, &error))?;
    saw(Deed::Synced, path);
    Ok(())
}

/// Syncs the folder that holds `path`, so that the entry itself survives.
pub(in crate::store) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Syncs a folder's entries.
pub(in crate::store) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|handle| handle.sync_all())
        .map_err(|error| StoreError::io("sync the folder", dir, &error))?;
    saw(Deed::FolderSynced, dir);
    Ok(())
}

/// Reserves `bytes` for the file, so that a full disk is met here and not in the middle of a commit.
///
/// `false`: this file system cannot, the file will grow with what is written.
pub(super) fn preallocate(file: &File, path: &Path, bytes: u64) -> Result<bool, StoreError> {
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(StoreError::io("preallocate", path, &errno.into())),
    }
}
