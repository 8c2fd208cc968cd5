//! The journal: every record and entry, and whether the rows know where each event is.

use std::path::Path;

use super::{Notebook, affected, journal_of};
use crate::store::journal::{
    Audit, AuditAsk, BeginFault, JournalFault, Location, Record, audit, check_begin,
};
use crate::store::reader::Shared;
use crate::store::sled::making::lost_journal;
use crate::store::sled::payloads::{JournalPayloads, chunk_of, first_of};
use crate::store::verify::{Finding, Progress};
use crate::store::view::{Entry, GroupHead, VERSION};
use crate::store::{Commit, Reader as _, Seq, StoreError};

const REMEDY: &str =
    "restore a backup (`tidegate restore`), or copy what can be read with `tidegate store export`";

/// Reads the journal up to `until`, or to its end; `mark` is the commit that sled is sure to hold.
pub(super) fn check(
    dir: &Path,
    shared: Option<&Shared<JournalPayloads>>,
    (mark, until): (Commit, Option<Commit>),
    progress: &Progress,
    notes: &mut Notebook,
) -> Result<(), StoreError> {
    let folder = journal_of(dir);
    progress.begin("journal", bytes_of(&folder));
    let mut reading = Reading { shared, folder: &folder, notes, visited: Vec::new(), chunk: (0, Vec::new()) };
    let ask = AuditAsk { until, ..AuditAsk::default() };
    let visit = &mut |record: Record<'_>| {
        progress.check()?;
        reading.take(&record)
    };
    let found = match audit(&folder, ask, visit, &mut |bytes| progress.add(bytes)) {
        // A folder that has been made and never written to.
        Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => Audit::default(),
        other => other?,
    };
    let visited = std::mem::take(&mut reading.visited);
    notes.report.segments = found.segments.len() as u64;
    notes.report.records = found.records;
    notes.report.journal_bytes = found.bytes;
    notes.report.commit = found.last.0;
    notes.report.folded = mark.0;
    if let Some(torn) = &found.torn {
        let (file, bytes) = (torn.path.display(), torn.bytes);
        notes.note(format!("{file} ends at byte {} in {bytes} bytes of a write that was never synced and never acknowledged; the next start cuts it off", torn.offset));
    }
    if found.last < mark && found.faults.is_empty() {
        let lost = Some((Commit(found.last.0 + 1), mark));
        let problem = format!("it ends with commit {}, the checkpoint says {}", found.last.0, mark.0);
        let error =
            StoreError::Damaged { path: folder.clone(), offset: 0, problem, remedy: REMEDY.to_owned() };
        tell(&JournalFault { error, lost }, mark, shared, &visited, notes);
    }
    for fault in &found.faults {
        tell(fault, mark, shared, &visited, notes);
    }
    if let Some(lost) = lost_journal(dir)? {
        let meaning = "events, outcomes and states since the last checkpoint are lost, and the data of all events. The server refuses to start";
        notes.add(Finding::of("journal", &lost, meaning));
    }
    match check_begin(&folder, until.is_some()) {
        Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) | Ok(None) => {}
        Ok(Some(fault)) => tell_begin(&fault, &folder, mark, shared, &visited, notes),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Tells what is wrong with the note of where the journal begins.
fn tell_begin(
    fault: &BeginFault,
    folder: &Path,
    mark: Commit,
    shared: Option<&Shared<JournalPayloads>>,
    visited: &[(u64, u64)],
    notes: &mut Notebook,
) {
    let damaged = |problem: String, remedy: &str| StoreError::Damaged {
        path: folder.join("journal.begin"),
        offset: 0,
        problem,
        remedy: remedy.to_owned(),
    };
    let anew = "start the server: it is made anew from the journal files that are there. If somebody has deleted some of them, restore a \
                backup instead (`tidegate restore`)";
    let (error, meaning) = match fault {
        BeginFault::Missing(Commit(1)) => {
            notes.note("journal.begin is missing; the journal begins with commit 1, so nothing in front of it can be. The next start makes it anew");
            return;
        }
        BeginFault::Missing(oldest) => (
            damaged(
                format!(
                    "it is missing; it says that what is before commit {} was removed on purpose",
                    oldest.0
                ),
                anew,
            ),
            "whether old journal files were lost cannot be told any more: the data of their events would be, and they could not be delivered or \
             replayed",
        ),
        BeginFault::Damaged => (
            damaged("it is not what was written".to_owned(), anew),
            "no event is lost by this; until it is made anew, the loss of the oldest journal files, with the data of their events, would not be told",
        ),
        BeginFault::Elsewhere(noted) => (
            damaged(
                format!("it says that the journal begins with commit {}, and no journal file does", noted.0),
                REMEDY,
            ),
            "this note and the journal files do not belong together, as after a copy of some of them: events may be missing or may have come back",
        ),
        BeginFault::Lost(from, to) => {
            let problem = if to.0 == u64::MAX {
                format!("it says that the journal begins with commit {}, and no journal file is here", from.0)
            } else {
                format!(
                    "it says that the journal begins with commit {}: commits {} to {} are in no file",
                    from.0, from.0, to.0
                )
            };
            let fault = JournalFault { error: damaged(problem, REMEDY), lost: Some((*from, *to)) };
            return tell(&fault, mark, shared, visited, notes);
        }
    };
    notes.add(Finding::of("journal", &error, meaning));
}

/// Tells damage in the words of events.
fn tell(
    fault: &JournalFault,
    mark: Commit,
    shared: Option<&Shared<JournalPayloads>>,
    visited: &[(u64, u64)],
    notes: &mut Notebook,
) {
    let mut finding = Finding::of("journal", &fault.error, "");
    if let (Some((from, to)), Some(shared)) = (fault.lost, shared) {
        // What is before the first that has bookkeeping has gone with its segment.
        let kept =
            shared.events_from(Seq(1), 1).ok().and_then(|events| events.first().map(|event| event.seq.0));
        for seq in missing(visited, kept.unwrap_or(1), shared.stats().events) {
            if let Ok(Some(record)) = shared.event(Seq(seq))
                && (from..=to).contains(&record.commit)
            {
                finding.touch(affected(shared, &record));
                notes.lost.insert(record.seq);
            }
        }
    }
    REMEDY.clone_into(&mut finding.remedy);
    finding.meaning = match fault.lost {
        None => {
            "no commit is lost; what stood there only said that the commits before it are on disk".to_owned()
        }
        Some((from, to)) if to <= mark && finding.events_total == 0 => format!(
            "commits {} to {} are in the checkpoint, and no event was in them that is still kept: nothing is lost, but \
             this journal cannot rebuild a checkpoint any more",
            from.0, to.0
        ),
        Some((from, to)) if to <= mark => format!(
            "commits {} to {} are in the checkpoint, so outcomes and states are not lost; the data of {} events is: \
             they cannot be delivered or replayed",
            from.0, to.0, finding.events_total
        ),
        Some((from, Commit(u64::MAX))) => format!(
            "what was acknowledged in commit {} and behind it is lost: events, outcomes and states. The server refuses to start",
            from.0
        ),
        Some((from, to)) => format!(
            "what was acknowledged in commits {} to {} is lost: events, outcomes and states. The server refuses to start",
            from.0, to.0
        ),
    };
    notes.add(finding);
}

/// The numbers from `first` to `last` that are in no stretch.
fn missing(visited: &[(u64, u64)], first: u64, last: u64) -> impl Iterator<Item = u64> {
    let mut gaps = Vec::with_capacity(visited.len() + 1);
    let mut next = first;
    for (from, to) in visited {
        if next < *from {
            gaps.push(next..*from);
        }
        next = next.max(to + 1);
    }
    gaps.push(next..last + 1);
    gaps.into_iter().flatten()
}

/// One pass over the records.
struct Reading<'a> {
    shared: Option<&'a Shared<JournalPayloads>>,
    folder: &'a Path,
    notes: &'a mut Notebook,
    /// Stretches of event numbers that were met, in order.
    visited: Vec<(u64, u64)>,
    /// The row of places that was read last.
    chunk: (u64, Vec<Location>),
}

impl Reading<'_> {
    fn take(&mut self, record: &Record<'_>) -> Result<(), StoreError> {
        let Some(((at, head), entries)) = record.entries.split_first() else { return Ok(()) };
        match GroupHead::decode(head) {
            Ok(head) if head.version > VERSION => {
                return Err(StoreError::Newer {
                    path: self.folder.to_owned(),
                    found: head.version,
                    supported: VERSION,
                });
            }
            Ok(_) => {}
            Err(error) => self.undecodable(record, at, &error),
        }
        for (at, bytes) in entries {
            match Entry::decode(bytes) {
                Ok(Entry::Event(event)) => self.met(event.rest.seq, *at)?,
                Ok(Entry::Act(_)) => {}
                Err(error) => self.undecodable(record, at, &error),
            }
        }
        Ok(())
    }

    fn undecodable(&mut self, record: &Record<'_>, at: &Location, error: &postcard::Error) {
        let damaged = StoreError::Damaged {
            path: self.folder.join(format!("{:020}.journal", at.segment)),
            offset: at.offset,
            problem: format!(
                "an entry of commit {} matches its checksum and cannot be decoded ({error})",
                record.commit.0
            ),
            remedy: "start the version that wrote it, and report this".to_owned(),
        };
        self.notes.add(Finding::of(
            "journal",
            &damaged,
            "what it says cannot be applied: the server refuses to start when it has to",
        ));
    }

    fn met(&mut self, seq: Seq, at: Location) -> Result<(), StoreError> {
        self.notes.report.payloads += 1;
        match self.visited.last_mut() {
            Some((_, to)) if *to + 1 == seq.0 => *to = seq.0,
            _ => self.visited.push((seq.0, seq.0)),
        }
        let Some(shared) = self.shared else { return Ok(()) };
        let first = first_of(seq.0);
        if self.chunk.0 != first {
            let chunk = chunk_of(&*shared.view()?, first);
            let unread = "where these events are is not known: they cannot be delivered";
            self.chunk = (first, self.notes.take("rows", unread, chunk)?.unwrap_or_default());
        }
        let place = usize::try_from(seq.0 - first).ok().and_then(|index| self.chunk.1.get(index));
        // What is not there is in memory still, or has been forgotten on purpose.
        if place.is_some_and(|place| *place != at) {
            let mut finding = Finding {
                part: "rows".to_owned(),
                file: self.folder.with_file_name("sled").display().to_string(),
                problem: format!("event {} is said to be in another place of the journal than it is", seq.0),
                meaning: "it cannot be delivered or replayed".to_owned(),
                remedy: "move the folder `sled` and the file `checkpoint.mark` aside while the server is stopped; they are rebuilt \
                         when the journal reaches back to commit 1, else restore a backup".to_owned(),
                ..Finding::default()
            };
            if let Some(record) = shared.event(seq)? {
                finding.touch(affected(shared, &record));
            }
            self.notes.add(finding);
        }
        Ok(())
    }
}

/// Bytes of all files in a folder.
pub(in crate::store::sled) fn bytes_of(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}
