//! What can go wrong in a store, and what to do about it.

use std::path::PathBuf;

/// A store could not be opened, read or written.
///
/// None of these is worth a retry by the caller: an open error needs a person, an error while running
/// poisons the store, and the process ends and recovers from disk.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The data on disk is not what was written.
    #[error("{path}: damaged at byte {offset}: {problem}; {remedy}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What was found.
        problem: String,
        /// What a person can do.
        remedy: String,
    },
    /// The data was written by a newer Tidegate.
    #[error(
        "{path}: format version {found}, this Tidegate reads up to {supported}; start the version that wrote it, or restore a backup made by an older one",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version this build reads.
        supported: u32,
    },
    /// Another process has the data folder open.
    #[error("{path}: another process uses this data folder; stop it, or set another `store.path`", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: cannot {action}: {error}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Its answer.
        error: String,
        /// Its kind.
        kind: std::io::ErrorKind,
    },
    /// A write or a sync failed earlier in this process; nothing is taken any more.
    #[error("the store is closed to writes after an earlier failure ({cause}); restart to recover from disk")]
    Poisoned {
        /// The failure.
        cause: String,
    },
}

impl StoreError {
    /// An I/O error with what was tried and where.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        Self::Io { action, path: path.into(), error: error.to_string(), kind: error.kind() }
    }

    /// Whether the operating system has refused something within a folder.
    pub(super) fn is_of(&self, folder: &std::path::Path) -> bool {
        matches!(self, Self::Io { path, .. } if path.starts_with(folder))
    }

    /// Whether the disk is full, so that more room is all that is needed.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { kind: std::io::ErrorKind::StorageFull, .. })
    }
}
