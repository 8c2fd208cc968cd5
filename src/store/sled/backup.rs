//! Backup: the rows, what checkpoints change meanwhile, and the journal, in one stream.
//!
//! Why the rows may be read while checkpoints write them: `store/backup/mod.rs`. What must not happen meanwhile
//! is that something is removed which the backup has not copied yet: [`Hold`] sees to that.

use std::fs::File;
use std::io::Read as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::audit::{Scene, open_stopped};
use super::hold::{Hold, fold_files};
use crate::event::Timestamp;
use crate::store::backup::{About, BackedUp, BackupWriter, Manifest};
use crate::store::journal::{AuditAsk, Mark, Record, SegmentExtent, audit, read_fold};
use crate::store::rows::Base as _;
use crate::store::view::{Entry, VERSION};
use crate::store::{Commit, Progress, Reader as _, StoreError};

/// Rows read at a time.
const PAGE: usize = 256;
/// Bytes of a segment copied at a time.
const PIECE: u64 = 256 << 10;
/// How often a row is read that a checkpoint may be writing at this moment, and the pause between.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// Backs a stopped server's data folder up. `scratch` has room for a copy of `sled`.
///
/// # Guarantees
/// Nothing in the folder is changed. What is returned describes a whole backup.
///
/// # Errors
/// As [`verify_folder`](crate::store::verify_folder); [`StoreError::Damaged`] also when the store is, for a backup of
/// that would not open.
pub fn backup_folder(
    dir: &Path,
    scratch: &Path,
    now: Timestamp,
    out: &mut dyn Write,
    progress: &Progress,
) -> Result<Manifest, StoreError> {
    let stopped = open_stopped(dir, scratch, progress)?;
    let mark = Mark::read(dir)?;
    let named = mark.as_ref().and_then(|mark| mark.fold.as_ref().map(|name| (mark.commit, dir.join(name))));
    let folded = mark.map_or(Commit(0), |mark| mark.commit);
    let after = move || Ok((named.into_iter().collect(), folded));
    write(&stopped.scene, now, after, out, progress)
}

/// Backs a store up while it works.
pub(super) fn backup_live(
    scene: &Scene,
    hold: &Arc<Hold>,
    now: Timestamp,
    out: &mut dyn Write,
    progress: &Progress,
) -> Result<Manifest, StoreError> {
    let _held = hold.begin();
    let after = || {
        // The mark first: whatever it tells that the rows had not, its fold file is there.
        let marked = Mark::read(&scene.dir)?.map_or(Commit(0), |mark| mark.commit);
        let folds = fold_files(&scene.dir)?;
        let folded = folds.last().map_or(marked, |(commit, _)| marked.max(*commit));
        Ok((folds, folded))
    };
    write(scene, now, after, out, progress)
}

/// Folds that have to be laid over the rows, and the commit that all of it stands for.
type After = (Vec<(Commit, PathBuf)>, Commit);

fn write(
    scene: &Scene,
    now: Timestamp,
    after: impl FnOnce() -> Result<After, StoreError>,
    out: &mut dyn Write,
    progress: &Progress,
) -> Result<Manifest, StoreError> {
    let tidegate = env!("CARGO_PKG_VERSION").to_owned();
    let mut writer = BackupWriter::begin(out, &About { entries: VERSION, tidegate: tidegate.clone() })?;
    copy_rows(scene, &mut writer, progress)?;
    let (folds, folded) = after()?;
    for (commit, path) in folds {
        progress.check()?;
        writer.fold(commit.0)?;
        read_fold(&path, &mut |key, value| writer.row(key, value))?;
    }
    let until = scene.is_live.then(|| scene.shared.durable());
    let Sound { commit, events, segments } = sound_journal(scene, (folded, until), progress)?;
    progress.begin("copy of journal", segments.iter().map(|segment| segment.end).sum());
    for segment in segments {
        copy_segment(&segment, &mut writer, progress)?;
    }
    let subscriptions = scene.shared.subscriptions()?;
    let backed_up = |one: crate::store::SubscriptionRecord| BackedUp {
        name: one.name,
        backlog: one.backlog,
        dead: one.dead,
    };
    writer.finish(Manifest {
        tidegate,
        made: now.to_string(),
        commit: commit.0,
        folded: folded.0,
        events,
        subscriptions: subscriptions.into_iter().map(backed_up).collect(),
        ..Manifest::default()
    })
}

fn copy_rows(scene: &Scene, writer: &mut BackupWriter<'_>, progress: &Progress) -> Result<(), StoreError> {
    progress.begin("rows", scene.base.now()?.stamp()?.counts.values().sum());
    let mut from = vec![0x01];
    loop {
        progress.check()?;
        let keys = scene.base.now()?.keys(&from, PAGE)?;
        let Some(last) = keys.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        for key in &keys {
            // One that has gone meanwhile went with a checkpoint, whose fold file says so.
            if let Some(value) = steady(scene, key)? {
                writer.row(key, Some(&value))?;
            }
        }
        progress.add(keys.len() as u64);
    }
}

/// A row; one in parts may be half written at this moment, and is read again.
fn steady(scene: &Scene, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
    let mut tries = 0;
    loop {
        match scene.base.get(key) {
            Err(StoreError::Damaged { .. }) if scene.is_live && tries < TRIES => {
                tries += 1;
                std::thread::park_timeout(PAUSE);
            }
            other => return other,
        }
    }
}

/// A journal that is what was written.
struct Sound {
    commit: Commit,
    /// The number of its last event.
    events: u64,
    segments: Vec<SegmentExtent>,
}

/// Reads the journal with all its checks; a damaged one is not backed up as if it were none.
fn sound_journal(
    scene: &Scene,
    (folded, until): (Commit, Option<Commit>),
    progress: &Progress,
) -> Result<Sound, StoreError> {
    let folder = scene.dir.join("journal");
    progress.begin("check of journal", super::audit::bytes_of(&folder));
    let mut events = None;
    let visit = &mut |record: Record<'_>| {
        for (_, entry) in record.entries.iter().skip(1) {
            if let Ok(Entry::Event(event)) = Entry::decode(entry) {
                events = Some(event.rest.seq.0);
            }
        }
        progress.check()
    };
    let ask = AuditAsk { until, stops: true, ..AuditAsk::default() };
    let found = audit(&folder, ask, visit, &mut |bytes| progress.add(bytes))?;
    if let Some(fault) = found.faults.into_iter().next() {
        return Err(fault.error);
    }
    if found.last < folded {
        return Err(StoreError::Damaged {
            path: folder,
            offset: 0,
            problem: format!("it ends with commit {}, the checkpoint says {}", found.last.0, folded.0),
            remedy: "look at it with `tidegate store verify`".to_owned(),
        });
    }
    // In a journal without events nothing newer than the rows is told.
    let events = events.unwrap_or_else(|| scene.shared.stats().events);
    Ok(Sound { commit: found.last, events, segments: found.segments })
}

fn copy_segment(
    segment: &SegmentExtent,
    writer: &mut BackupWriter<'_>,
    progress: &Progress,
) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::io("read", &segment.path, &error);
    let mut file = File::open(&segment.path).map_err(failed)?.take(segment.end);
    writer.segment(segment.first)?;
    let mut left = segment.end;
    while left > 0 {
        progress.check()?;
        let mut piece = Vec::new();
        let read = file.by_ref().take(PIECE).read_to_end(&mut piece).map_err(failed)? as u64;
        if read == 0 {
            let short = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file has become shorter");
            return Err(failed(short));
        }
        writer.bytes(&piece)?;
        left = left.saturating_sub(read);
        progress.add(read);
    }
    Ok(())
}
