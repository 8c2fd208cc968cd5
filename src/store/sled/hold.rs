//! Hold: while a backup is copied, no segment and no fold file is removed.
//!
//! The store works on, checkpoints included: only what the backup may need stays a while longer.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Commit, StoreError};

/// Who holds, and what waits for its end.
#[derive(Debug, Default)]
pub(super) struct Hold(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    holders: u32,
    /// Fold files were left that are done with.
    is_unswept: bool,
}

/// Holds until it is dropped.
#[derive(Debug)]
pub(super) struct Held(Arc<Hold>);

impl Hold {
    /// Nothing is removed from now on until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Held {
        self.lock().holders += 1;
        Held(Arc::clone(self))
    }

    pub(super) fn is_on(&self) -> bool {
        self.lock().holders > 0
    }

    /// Removes a fold file that is done with, or leaves it for [`Hold::sweep`].
    pub(super) fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.holders > 0 {
            state.is_unswept = true;
            return Ok(());
        }
        std::fs::remove_file(path).map_err(|error| StoreError::io("remove", path, &error))
    }

    /// Removes the fold files that were left, up to the one of `folded`, the oldest first: at every moment the newer
    /// ones are there.
    pub(super) fn sweep(&self, dir: &Path, folded: Commit) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.holders > 0 || !state.is_unswept {
            return Ok(());
        }
        for (commit, path) in fold_files(dir)? {
            if commit <= folded {
                std::fs::remove_file(&path).map_err(|error| StoreError::io("remove", &path, &error))?;
            }
        }
        state.is_unswept = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.holders = state.holders.saturating_sub(1);
    }
}

/// The finished fold files of a data folder, the oldest first.
pub(super) fn fold_files(dir: &Path) -> Result<Vec<(Commit, std::path::PathBuf)>, StoreError> {
    let failed = |error: std::io::Error| StoreError::io("list", dir, &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(Ok(commit)) = name.strip_prefix("fold-").map(str::parse) {
            found.push((Commit(commit), path));
        }
    }
    found.sort_unstable();
    Ok(found)
}
