//! Compact: sled's file never shrinks, so its rows are written into a fresh one, which takes its place.
//!
//! ```text
//! sled            rows as of the mark      ──copy──>  sled.compacting      synced, counted
//! sled.compacting <──── both names exchanged, all at once ────> sled
//! sled.compacting removed
//! ```
//! A crash at any point leaves one whole folder under the name `sled`; the other one is removed by the next
//! compaction, and nothing reads it meanwhile.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::SledStore;
use super::audit::{bytes_of, take_lock};
use super::base::{self, Counts, SledBase};
use super::patience::when_free;
use super::recovery;
use crate::event::Timestamp;
use crate::store::journal::sync_parent;
use crate::store::journal::witness::{Deed, saw};
use crate::store::rows::Base as _;
use crate::store::{Progress, Store as _, StoreError, StoreSettings};

#[cfg(test)]
use super::compact_tests::reach;

/// Says how far it is: a test lets the process die there.
#[cfg(not(test))]
const fn reach(_: &str) {}

const CACHE_BYTES: u64 = 64 << 20;
const FRESH: &str = "sled.compacting";
/// How often it is asked whether sled has let go of a file.
const LOCK_TRIES: u32 = 1_000;
/// Rows copied at a time.
const PAGE: usize = 256;

/// What a compaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Compacted {
    /// Rows that were copied.
    pub rows: u64,
    /// Bytes of sled before.
    pub before: u64,
    /// Bytes of it now; as before when a fresh one would have been no smaller, and the old one stayed.
    pub after: u64,
}

/// Rebuilds sled in the data folder of a stopped server. It needs room for a second sled beside the first.
///
/// # Guarantees
/// Crash-safe: at every moment the folder opens and holds everything. The new sled has as many rows as the
/// checkpoint says, each with its checksum, before it takes its place.
///
/// # Errors
/// As opening the store; [`StoreError::Io`] too when the file system cannot exchange two names: nothing is changed then.
pub fn compact_folder(dir: &Path, now: Timestamp, progress: &Progress) -> Result<Compacted, StoreError> {
    drop(take_lock(dir)?);
    // A start and a clean stop: what was in the middle of a checkpoint is folded.
    progress.begin("start and stop", 0);
    let settings =
        StoreSettings { path: dir.to_owned(), cache_bytes: CACHE_BYTES, ..StoreSettings::default() };
    Box::new(SledStore::open(settings, now)?).close()?;
    let lock = recovery::lock(dir)?;
    let (sled, fresh) = (dir.join("sled"), dir.join(FRESH));
    reach("begun");
    remove(&fresh)?;
    let before = bytes_of(&sled);
    let rows = copy(&sled, &fresh, &lock, progress)?;
    // sled writes a page anew as it grows: of one that has not lost much, a copy is larger.
    if bytes_of(&fresh) < before {
        reach("copied");
        exchange(&sled, &fresh)?;
        reach("exchanged");
        sync_parent(&sled)?;
    }
    reach("removing");
    remove(&fresh)?;
    reach("removed");
    sync_parent(&sled)?;
    Ok(Compacted { rows, before, after: bytes_of(&sled) })
}

pub(super) fn copy(
    sled: &Path,
    fresh: &Path,
    lock: &Arc<File>,
    progress: &Progress,
) -> Result<u64, StoreError> {
    let old = SledBase::open(sled, CACHE_BYTES, Arc::clone(lock))?;
    let new = SledBase::open(fresh, CACHE_BYTES, Arc::clone(lock))?;
    let stamp = old.stamp()?;
    progress.begin("compact", stamp.counts.values().sum());
    let mut from = vec![0x01];
    loop {
        progress.check()?;
        let keys = old.keys(&from, PAGE)?;
        let Some(last) = keys.last() else { break };
        from = [last.as_slice(), &[0]].concat();
        let rows = keys.iter().map(|key| Ok((key, old.get(key)?))).collect::<Result<Vec<_>, StoreError>>()?;
        let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        new.fold(rows, &mut Counts::new(), &|| Ok(()))?;
        reach("copying");
        progress.add(keys.len() as u64);
    }
    let counts = new.count()?;
    if counts != stamp.counts {
        let problem = format!("the checkpoint left {:?} rows, {counts:?} could be copied", stamp.counts);
        return Err(base::damaged(sled, problem));
    }
    reach("counted");
    new.set_stamp(&stamp)?;
    reach("stamped");
    new.sync()?;
    drop((old, new));
    // sled's threads let go of its files some time after the last handle is gone.
    is_let_go_of(&fresh.join("db"))?;
    is_let_go_of(&sled.join("db"))?;
    Ok(counts.values().sum())
}

/// Waits until no thread has the file locked any more.
fn is_let_go_of(db: &Path) -> Result<(), StoreError> {
    let file = File::open(db).map_err(|error| StoreError::io("open", db, &error))?;
    when_free(LOCK_TRIES, || recovery::try_lock(&file, db))?
        .ok_or_else(|| StoreError::Locked { path: db.to_owned() })
}

/// Gives each of two folders the other's name, all at once.
fn exchange(one: &Path, other: &Path) -> Result<(), StoreError> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
        .map_err(|error| StoreError::io("exchange the names of the old and the new", one, &error.into()))?;
    saw(Deed::Named, one);
    Ok(())
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", folder, &error))
        }
        _ => {
            saw(Deed::Removed, folder);
            Ok(())
        }
    }
}
