//! Witness: what the disk was told, in its order. Tests read it; nothing else is any wiser.
//!
//! Whether a sync was forgotten shows only when the power fails. So each call that writes, syncs, names or removes
//! says so beside its system call, and a test asks whether the order holds what is promised.

#[cfg(not(test))]
use std::path::Path;

/// Something that was done to a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Deed {
    /// Bytes were written.
    Wrote,
    /// What was written is on disk.
    Synced,
    /// It has got its name.
    Named,
    /// It has gone.
    Removed,
    /// The names in the folder are on disk.
    FolderSynced,
}

/// Says that something was done.
#[cfg(not(test))]
#[inline]
pub(in crate::store) const fn saw(_: Deed, _: &Path) {}

#[cfg(test)]
pub(in crate::store) use kept::{saw, take};

#[cfg(test)]
mod kept {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    use super::Deed;

    thread_local! {
        static SEEN: RefCell<Vec<(Deed, PathBuf)>> = const { RefCell::new(Vec::new()) };
    }

    pub(in crate::store) fn saw(deed: Deed, path: &Path) {
        SEEN.with_borrow_mut(|seen| seen.push((deed, path.to_owned())));
    }

    /// What this thread has done since it was asked last.
    pub(in crate::store) fn take() -> Vec<(Deed, PathBuf)> {
        SEEN.take()
    }
}
