//! Watch: a change of the config files asks for a reload by itself, when the config says so.
//!
//! A folder is rarely changed in one step: an editor writes a file in pieces, a deployment copies several. So
//! what happens in the folder is let come to rest first, and a content that was looked at already is passed
//! over. What is read too early all the same has errors as a rule, and is refused; a file that was cut short
//! may have none, but names fewer subscriptions, and none is taken away in this way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::clock::timeout;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use super::ConfigSource;
use crate::bus::{Bus, Operator, ReloadAsk};

/// How long nothing may happen in the folder before it is read.
const REST: Duration = Duration::from_millis(500);

/// How often a folder that never rests is read all the same, in rests.
const RESTLESS: usize = 20;

/// Watches until the bus ends. What makes it impossible is logged; the bus runs without it.
pub(super) async fn watch(source: ConfigSource, bus: Bus) {
    let changed = Arc::new(Notify::new());
    let heard = Arc::clone(&changed);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| is_change(event.kind)) {
            heard.notify_one();
        }
    });
    let watched = watcher.and_then(|mut watcher| {
        watcher.watch(&source.folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    let _watcher = match watched {
        Ok(watcher) => watcher,
        Err(error) => {
            let folder = source.folder.display().to_string();
            return warn!(%error, folder, "the config folder cannot be watched; use `tidegate reload`");
        }
    };
    info!(folder = %source.folder.display(), "watching the config files");
    // The files may have changed between their loading and now.
    changed.notify_one();
    let mut seen = None;
    loop {
        changed.notified().await;
        for _ in 0..RESTLESS {
            if timeout(REST, changed.notified()).await.is_err() {
                break;
            }
        }
        let now = digest(&source.folder).await;
        if now == seen {
            debug!("something happened in the config folder, the files are the same");
            continue;
        }
        seen = now;
        let operator =
            Operator { by: "file watcher".to_owned(), reason: "the config files changed".to_owned() };
        // What comes of it is logged where it is done.
        let _told = bus.reload(ReloadAsk { dry_run: false, keeps_all: true, operator }).await.is_ok();
    }
}

/// Whether files may read differently; that they were read is none.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

/// A digest of all that the folder's TOML files hold; `None` when it cannot be read.
async fn digest(folder: &Path) -> Option<blake3::Hash> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || digest_of(&folder)).await.ok().flatten()
}

fn digest_of(folder: &Path) -> Option<blake3::Hash> {
    let mut names: Vec<_> =
        std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    let mut hasher = blake3::Hasher::new();
    for path in names {
        let content = std::fs::read(&path).unwrap_or_default();
        hasher.update(path.as_os_str().as_encoded_bytes());
        hasher.update(&content.len().to_be_bytes());
        hasher.update(&content);
    }
    Some(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_changes_with_a_file_and_not_with_what_is_no_config() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("topology.toml", "a = 1");
        let before = digest_of(folder.path());

        write("topology.toml~", "a = 2");
        write("topology.toml", "a = 1");
        assert_eq!(digest_of(folder.path()), before);
        write("topology.toml", "a = 2");
        assert_ne!(digest_of(folder.path()), before);
    }

    #[test]
    fn to_read_the_files_is_no_change() {
        assert!(!is_change(EventKind::Access(AccessKind::Read)));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
    }
}
