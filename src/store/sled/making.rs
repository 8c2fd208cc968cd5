//! Making: a note that stands in the data folder while a first start makes its files.
//!
//! Without a journal there is nothing that could be recovered. That is how a first start begins, and also what a folder looks
//! like whose journal was deleted. The note tells the two apart: it is made before all the others and goes
//! when they are there.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::store::StoreError;
use crate::store::journal::sync_parent;

const NAME: &str = "making";
/// What is made before the journal, or after it.
const OTHERS: [&str; 2] = ["checkpoint.mark", "sled"];

/// Notes that a first start begins; where there is a journal already it does nothing.
///
/// # Errors
/// [`StoreError::Damaged`] when other files say that there was a journal.
pub(super) fn begin(dir: &Path) -> Result<(), StoreError> {
    if let Some(problem) = lost_journal(dir)? {
        return Err(problem);
    }
    let note = dir.join(NAME);
    if !has_no_journal(dir)? || note.exists() {
        return Ok(());
    }
    let made = File::options().create_new(true).write(true).mode(0o600).open(&note);
    let made = made.and_then(|file| file.sync_all());
    made.map_err(|error| StoreError::io("make", &note, &error))?;
    sync_parent(&note)
}

/// Takes the note away: everything is there.
pub(super) fn end(dir: &Path) -> Result<(), StoreError> {
    let note = dir.join(NAME);
    match std::fs::remove_file(&note) {
        Ok(()) => sync_parent(&note),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("remove", note, &error)),
    }
}

/// The loss of a whole journal, which other files tell of.
pub(super) fn lost_journal(dir: &Path) -> Result<Option<StoreError>, StoreError> {
    if dir.join(NAME).exists() || !has_no_journal(dir)? {
        return Ok(None);
    }
    let other = OTHERS.into_iter().find(|name| dir.join(name).exists());
    Ok(other.map(|other| StoreError::Damaged {
        path: dir.join("journal"),
        offset: 0,
        problem: format!("no journal is here, but `{other}` is: what was acknowledged stood in the journal"),
        remedy: "restore a backup; only when nothing was ever acknowledged here, as when the very first start of an earlier version was \
                 broken off, move `sled` (and `checkpoint.mark`, where there is one) out of the folder and start anew"
            .to_owned(),
    }))
}

/// Whether no journal file was ever made: the first one is made after sled.
pub(super) fn has_no_journal(path: &Path) -> Result<bool, StoreError> {
    let dir = path.join("journal");
    match std::fs::read_dir(&dir) {
        Ok(entries) => {
            Ok(entries.flatten().all(|entry| entry.path().extension().is_some_and(|e| e == "tmp")))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(StoreError::io("list", dir, &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::event::Timestamp;
    use crate::store::conformance::routed;
    use crate::store::{Change, Progress, SledStore, Store, StoreSettings, verify_folder};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn open(dir: &Path) -> Result<SledStore, StoreError> {
        let (path, checkpoint_interval) = (dir.to_owned(), Duration::from_hours(1_000));
        SledStore::open(
            StoreSettings { path, cache_bytes: 8 << 20, checkpoint_interval, ..StoreSettings::default() },
            NOW,
        )
    }

    /// A folder with an acknowledged event; `is_closed`: in a checkpoint as well.
    fn used(dir: &Path, is_closed: bool) {
        let mut store = open(dir).unwrap();
        store.stage(NOW, &mut vec![Change::Publish(vec![routed("e1", &[])])]).unwrap();
        store.sync().unwrap();
        if is_closed {
            Box::new(store).close().unwrap();
        }
    }

    fn spoil(sled: &Path) {
        let db: PathBuf = sled.join("conf");
        std::fs::write(db, b"not what sled wrote").unwrap();
    }

    #[test]
    fn a_journal_that_was_deleted_is_never_taken_for_a_first_start() {
        for (is_closed, keeps_mark, is_spoilt) in [
            (true, false, true),
            (true, false, false),
            (true, true, true),
            (false, false, false),
            (false, false, true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path();
            used(dir, is_closed);
            std::fs::remove_dir_all(dir.join("journal")).unwrap();
            if !keeps_mark && is_closed {
                std::fs::remove_file(dir.join("checkpoint.mark")).unwrap();
            }
            if is_spoilt {
                spoil(&dir.join("sled"));
            }

            for _ in 0..2 {
                let error = open(dir).unwrap_err().to_string();
                assert!(
                    error.contains("no journal is here") && error.contains("restore a backup"),
                    "{error}"
                );
            }
            let report = verify_folder(dir, &std::env::temp_dir(), &Progress::default()).unwrap();
            assert!(!report.clean);
            let told = report.findings.iter().any(|finding| finding.problem.contains("no journal is here"));
            assert!(told, "{report:#?}");
        }
    }

    #[test]
    fn a_first_start_that_broke_off_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        // As far as half a sled.
        begin(folder.path()).unwrap();
        drop(open(folder.path()).unwrap());
        std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
        spoil(&folder.path().join("sled"));
        begin(folder.path()).unwrap_err();
        std::fs::write(folder.path().join(NAME), b"").unwrap();

        used(folder.path(), true);

        assert!(folder.path().join("sled.damaged-1").exists());
        assert!(!folder.path().join(NAME).exists(), "it is made now");
        assert_eq!(open(folder.path()).unwrap().reader().stats().events, 1);
    }

    #[test]
    fn the_way_out_that_is_named_after_a_first_start_of_an_earlier_version_broke_off_leads_out() {
        let folder = tempfile::tempdir().unwrap();
        // As an earlier version leaves it, which made no note.
        drop(open(folder.path()).unwrap());
        std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
        let told = open(folder.path()).unwrap_err().to_string();
        assert!(told.contains("first start of an earlier version") && told.contains("move `sled`"), "{told}");

        std::fs::rename(folder.path().join("sled"), folder.path().join("sled.old")).unwrap();

        used(folder.path(), true);
        assert_eq!(open(folder.path()).unwrap().reader().stats().events, 1);
    }
}
