//! Opening a journal: which segments belong to it, replaying them, cutting a torn tail.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use super::ahead::Ahead;
use super::pack::Packed;
use super::reader::Handles;
use super::recover::{self, Extent, Visit, Walked};
use super::segment::{self, Header, SPARE_NAME};
use super::witness::{Deed, saw};
use super::writer::{Active, Journal, Place};
use super::{Commit, CutTail, JournalSettings, SegmentInfo, StoreError, begin, disk, roll};
use crate::store::faults::{Point, reach};

static ZEROES: [u8; 64 * 1024] = [0; 64 * 1024];

impl Journal {
    /// Opens the journal in a folder, or starts an empty one, and replays the records over `after`.
    ///
    /// `after` is a commit the caller knows to have been durable (0: none): everything from it on must be
    /// there. Of segments that end at or before it only the headers are read; the one that contains it is
    /// checked from its start. `replay` may see records that the last process wrote and never
    /// acknowledged; they are durable when this returns.
    ///
    /// # Guarantees
    /// What was synced is replayed or reported. A torn tail is cut, with the file synced, before anything
    /// new is appended, and told by [`Journal::cut_tail`]. A crash during open changes nothing of this.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the place, [`StoreError::Newer`], [`StoreError::Io`], or what `replay`
    /// returned. Nothing on disk was changed when it is one of the first two.
    pub fn open(
        settings: JournalSettings,
        replay: &mut Visit<'_>,
        after: Commit,
    ) -> Result<Self, StoreError> {
        disk::make_dir(&settings.dir)?;
        let noted = begin::read(&settings.dir)?;
        let headers = survey(&settings.dir, noted, after)?;
        let mut segments = VecDeque::with_capacity(headers.len());
        let mut followers = headers.iter().skip(1);
        let mut active = None;
        for header in &headers {
            let follower = followers.next();
            let (mut window, _) = recover::open(&settings.dir, header.first)?;
            let walked = match follower {
                Some(next) if next.first - 1 <= after.0 => None,
                Some(_) => Some(recover::walk(&mut window, header, Extent::Closed, after, replay)?),
                None => Some(recover::walk(&mut window, header, Extent::Last, after, replay)?),
            };
            let path = window.path().to_owned();
            let last = match (walked, follower) {
                (Some(walked), None) => {
                    active = Some((*header, walked, window.len()));
                    walked.last
                }
                (Some(walked), Some(next)) => complete(&path, walked, next)?,
                (None, next) => Commit(next.map_or(0, |next| next.first - 1)),
            };
            let first_commit = Commit(header.first);
            segments.push_back(SegmentInfo { first_commit, last_commit: last, bytes: window.len(), path });
        }
        let journal = match active {
            Some((header, walked, len)) => resume(settings, segments, (header, walked, len), after)?,
            None => start_empty(settings, after)?,
        };
        if noted.is_none() {
            begin::write(&journal.settings.dir, journal.first_commit())?;
        }
        Ok(journal)
    }

    /// Syncs and seals what is there; for a clean stop. Dropping a journal without it loses nothing.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn close(mut self) -> Result<(), StoreError> {
        reach(Point::Closing);
        self.seal()
    }
}

/// Reads the headers of all segments and checks that none is missing between them, nor at the front: from `noted`
/// on, and after `after`, everything is there.
fn survey(dir: &Path, noted: Option<Commit>, after: Commit) -> Result<Vec<Header>, StoreError> {
    let mut headers: Vec<Header> = Vec::new();
    for first in segment::list(dir)? {
        let (window, header) = recover::open(dir, first)?;
        if let Some(before) = headers.last().filter(|before| before.first != header.previous) {
            let problem = format!(
                "the segment {:020}.journal that belongs before it is missing (found is {:020}.journal)",
                header.previous, before.first
            );
            return Err(segment::damaged(window.path(), 0, problem));
        }
        headers.push(header);
    }
    let wanted = noted.map_or(after.0 + 1, |noted| noted.0.min(after.0 + 1));
    match headers.first() {
        Some(oldest) if oldest.first > wanted => {
            let problem = format!("commits {wanted} to {} are not on disk", oldest.first - 1);
            Err(segment::damaged(dir, 0, problem))
        }
        None if noted.is_some() => {
            let problem = format!("no segment is here, but it should begin with commit {wanted}");
            Err(segment::damaged(dir, 0, problem))
        }
        _ => Ok(headers),
    }
}

/// The last commit of a segment that is not the last one.
fn complete(path: &Path, walked: Walked, next: &Header) -> Result<Commit, StoreError> {
    if walked.last.0 + 1 == next.first {
        return Ok(walked.last);
    }
    let problem =
        format!("its records end with commit {}, the next segment starts with {}", walked.last.0, next.first);
    Err(segment::damaged(path, walked.end, problem))
}

fn start_empty(settings: JournalSettings, after: Commit) -> Result<Journal, StoreError> {
    if after.0 > 0 {
        let problem = format!("no segment is here, but commit {} had been made durable", after.0);
        return Err(segment::damaged(&settings.dir, 0, problem));
    }
    let active = roll::create(&settings, Header::new(1, 0))?;
    let info = SegmentInfo {
        first_commit: Commit(1),
        last_commit: Commit(0),
        bytes: active.len()?,
        path: active.path.clone(),
    };
    Ok(assemble(settings, VecDeque::from([info]), active, Commit(0)))
}

/// Makes the last segment ready to be written to.
fn resume(
    settings: JournalSettings,
    segments: VecDeque<SegmentInfo>,
    (header, walked, len): (Header, Walked, u64),
    after: Commit,
) -> Result<Journal, StoreError> {
    let path = segment::path_of(&settings.dir, header.first);
    if walked.last < after {
        let problem =
            format!("the records end with commit {}, but {} had been made durable", walked.last.0, after.0);
        return Err(segment::damaged(&path, walked.end, problem));
    }
    remove_leftover(&settings)?;
    let file = disk::open_existing(&path)?;
    let cut =
        walked.torn.map(|torn| CutTail { path: path.clone(), offset: walked.end, bytes: torn - walked.end });
    if let Some(cut) = &cut {
        tracing::warn!(
            path = %path.display(), offset = cut.offset, bytes = cut.bytes,
            "cut a write at the end of the journal that was never synced"
        );
        zero(&file, cut)?;
        reach(Point::TailCut);
    }
    // Records of a killed process may be in the page cache only; from here on they count.
    rewrite(&file, &path, walked)?;
    reach(Point::TailRewritten);
    disk::sync_file(&file, &path)?;
    disk::sync_dir(&settings.dir)?;
    let active = Active { file, path, header, end: walked.end, allocated: len };
    let mut journal = assemble(settings, segments, active, walked.last);
    journal.sealed = walked.sealed && cut.is_none();
    journal.cut = cut;
    journal.seal()?;
    Ok(journal)
}

/// Writes the records of the last write once more.
///
/// When a sync fails, the kernel may keep the pages, call them clean, and report success to the next
/// process that syncs. Only pages that are written again are sure to be sent to the disk.
fn rewrite(file: &File, path: &Path, walked: Walked) -> Result<(), StoreError> {
    let mut piece = vec![0; ZEROES.len()];
    let mut offset = walked.doubtful;
    while offset < walked.end {
        let len = usize::try_from(walked.end - offset).unwrap_or(usize::MAX).min(piece.len());
        piece.truncate(len);
        file.read_exact_at(&mut piece, offset)
            .and_then(|()| file.write_all_at(&piece, offset))
            .map_err(|error| StoreError::io("write again", path, &error))?;
        offset += len as u64;
        saw(Deed::Wrote, path);
    }
    Ok(())
}

/// Puts a cut tail back to what preallocation left there; needs no room on the disk.
fn zero(file: &File, cut: &CutTail) -> Result<(), StoreError> {
    let mut offset = cut.offset;
    let end = cut.offset + cut.bytes;
    while offset < end {
        let len = usize::try_from(end - offset).unwrap_or(usize::MAX).min(ZEROES.len());
        let piece = ZEROES.get(..len).unwrap_or_default();
        file.write_all_at(piece, offset).map_err(|error| StoreError::io("cut", &cut.path, &error))?;
        offset += len as u64;
    }
    Ok(())
}

/// Removes a segment that a crash caught before it had its number.
fn remove_leftover(settings: &JournalSettings) -> Result<(), StoreError> {
    let path = settings.dir.join(SPARE_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, &error))
        }
        _ => Ok(()),
    }
}

fn assemble(
    settings: JournalSettings,
    segments: VecDeque<SegmentInfo>,
    active: Active,
    last: Commit,
) -> Journal {
    Journal {
        handles: Arc::new(Handles::new(settings.dir.clone())),
        place: Place { header: active.header, offset: active.end },
        segments,
        active,
        pending: VecDeque::new(),
        buffer: Vec::new(),
        packed: Packed::default(),
        spare: None,
        ahead: Ahead::new(settings.segment_bytes),
        appended: last,
        durable: last,
        sealed: false,
        poison: None,
        cut: None,
        settings,
    }
}
