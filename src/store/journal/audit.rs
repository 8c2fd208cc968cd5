//! Audit: a reading of the whole journal that changes nothing and goes on behind damage.
//!
//! Opening a journal ends at the first damage, for nothing may be built on what is missing. An operator
//! wants to know all of it: so every segment is read, and behind a place that holds no valid record the
//! next one is looked for, at every multiple of 32 bytes. A record's checksum starts from its own place,
//! so that what is found there is a record and no payload that looks like one.

use std::path::{Path, PathBuf};

use super::record::{ALIGN, Head, Key, Kind};
use super::recover::{self, Extent, Visit, Walked};
use super::segment::{self, HEADER_BYTES};
use super::window::Window;
use super::{Commit, CutTail, StoreError};

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditAsk {
    /// Commits up to here are not handed out, and segments that end with it are passed over.
    pub after: Commit,
    /// Up to which commit; what is behind it may be written to at this moment. `None`: to the end, of a
    /// journal that nobody writes to.
    pub until: Option<Commit>,
    /// End at the first fault.
    pub stops: bool,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// The segments that could be read, oldest first.
    pub segments: Vec<SegmentExtent>,
    /// Records that are what was written.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The newest commit.
    pub last: Commit,
    /// A write at the end that was never synced; no damage.
    pub torn: Option<CutTail>,
    /// Damage, in the order of the commits.
    pub faults: Vec<JournalFault>,
}

/// A segment as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentExtent {
    /// Number of its first commit.
    pub first: u64,
    /// Where its last valid record ends.
    pub end: u64,
    /// The file.
    pub path: PathBuf,
}

/// One damaged stretch.
#[derive(Debug, Clone)]
pub struct JournalFault {
    /// What is wrong, and where: [`StoreError::Damaged`].
    pub error: StoreError,
    /// The commits that cannot be read; `None` when none is lost. The last one may be the largest number:
    /// then nobody knows how far it went.
    pub lost: Option<(Commit, Commit)>,
}

/// Reads a journal's folder. `visit` gets every commit that can be read, in order; `watch` is told the
/// bytes as they are passed.
///
/// # Errors
/// [`StoreError::Newer`], [`StoreError::Io`], or what `visit` returned. Damage is no error here.
pub fn audit(
    dir: &Path,
    ask: AuditAsk,
    visit: &mut Visit<'_>,
    watch: &mut dyn FnMut(u64),
) -> Result<Audit, StoreError> {
    let firsts = segment::list(dir)?;
    let mut found = Audit { last: ask.after, ..Audit::default() };
    let mut expected = None;
    for (index, first) in firsts.iter().copied().enumerate() {
        let following = firsts.get(index + 1).copied();
        if following.is_some_and(|next| next - 1 <= ask.after.0) {
            expected = following;
            continue;
        }
        if expected.is_none() && first > ask.after.0 + 1 && ask.after.0 > 0 {
            expected = Some(ask.after.0 + 1);
        }
        if let Some(missing) = expected.filter(|expected| *expected < first) {
            let problem = format!("commits {missing} to {} are in no file", first - 1);
            found.push(segment::damaged(dir, 0, problem), Some((Commit(missing), Commit(first - 1))));
        }
        if ask.stops && !found.faults.is_empty() {
            break;
        }
        let extent = match (following, ask.until) {
            (Some(_), _) => Extent::Closed,
            (None, Some(_)) => Extent::Until(u64::MAX),
            (None, None) => Extent::Last,
        };
        let reading = Reading { dir, first, following, extent, ask };
        let next = reading.read(&mut found, visit, watch)?;
        expected = following.or(Some(next));
        if ask.until.is_some_and(|until| found.last >= until) {
            break;
        }
    }
    Ok(found)
}

impl Audit {
    fn push(&mut self, error: StoreError, lost: Option<(Commit, Commit)>) {
        let lost = lost.filter(|(from, to)| from <= to);
        self.faults.push(JournalFault { error, lost });
    }
}

/// One segment to read.
struct Reading<'a> {
    dir: &'a Path,
    first: u64,
    following: Option<u64>,
    extent: Extent,
    ask: AuditAsk,
}

impl Reading<'_> {
    /// Reads it and returns the commit that comes next.
    fn read(
        &self,
        found: &mut Audit,
        visit: &mut Visit<'_>,
        watch: &mut dyn FnMut(u64),
    ) -> Result<u64, StoreError> {
        let (mut window, header) = match recover::open(self.dir, self.first) {
            Ok(opened) => opened,
            // Retention has taken the oldest segment since the folder was listed.
            Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) if self.ask.until.is_some() => {
                return Ok(self.following.unwrap_or(self.first));
            }
            Err(error @ StoreError::Damaged { .. }) => {
                found.push(error, Some((Commit(self.first), self.end_of_lost())));
                return Ok(self.following.unwrap_or(self.first));
            }
            Err(error) => return Err(error),
        };
        let mut walked = Walked {
            last: Commit(self.first - 1),
            end: HEADER_BYTES,
            doubtful: HEADER_BYTES,
            sealed: false,
            torn: None,
        };
        let extent =
            |end: u64| SegmentExtent { first: self.first, end, path: segment::path_of(self.dir, self.first) };
        let key = Key::from(&header);
        while self.ask.until.is_none_or(|until| walked.last < until) {
            match recover::next(&mut window, key, walked.end)? {
                Some((head, record)) if fits(&head, &walked) => {
                    if head.kind == Kind::Commit && head.commit > self.ask.after {
                        visit(record)?;
                        found.records += 1;
                        found.bytes += head.total();
                    }
                    walked.last = head.commit;
                    walked.end += head.total();
                    watch(head.total());
                }
                Some((head, _)) => {
                    let problem = format!("commit {} stands behind commit {}", head.commit.0, walked.last.0);
                    let at = segment::damaged(window.path(), walked.end, problem);
                    found.push(at, Some((Commit(walked.last.0 + 1), before(&head))));
                    if self.ask.stops || head.commit <= walked.last {
                        break;
                    }
                    // What stands there is right by itself; the count goes on from it.
                    walked.last = before(&head);
                }
                None => {
                    if !self.behind(&mut window, key, &mut walked, found)? || self.ask.stops {
                        break;
                    }
                }
            }
        }
        found.last = found.last.max(walked.last);
        found.segments.push(extent(walked.end));
        Ok(walked.last.0 + 1)
    }

    /// No valid record stands where the next one belongs: tells why, and goes on to the next one behind it.
    fn behind(
        &self,
        window: &mut Window,
        key: Key,
        walked: &mut Walked,
        found: &mut Audit,
    ) -> Result<bool, StoreError> {
        let error = match recover::ending(window, key, walked, self.extent) {
            Ok(None) => {
                let lost = (Commit(walked.last.0 + 1), self.end_of_lost());
                if let Some(next) = self.following.filter(|next| *next != walked.last.0 + 1) {
                    let problem = format!(
                        "commits {} to {} are in no file: the records here end with {}, the next segment begins with {next}",
                        walked.last.0 + 1,
                        next - 1,
                        walked.last.0
                    );
                    found.push(segment::damaged(window.path(), walked.end, problem), Some(lost));
                }
                return Ok(false);
            }
            Ok(Some(torn)) => {
                let path = window.path().to_owned();
                found.torn = Some(CutTail { path, offset: walked.end, bytes: torn - walked.end });
                return Ok(false);
            }
            Err(error @ StoreError::Damaged { .. }) => error,
            Err(error) => return Err(error),
        };
        let missing = Commit(walked.last.0 + 1);
        let written = window.written_end(walked.end)?;
        let mut offset = walked.end + ALIGN;
        while offset < written {
            if let Some((head, _)) = recover::next(window, key, offset)?
                && head.commit >= walked.last
            {
                found.push(error, Some((missing, before(&head))));
                walked.last = before(&head).max(walked.last);
                walked.end = offset;
                return Ok(true);
            }
            offset += ALIGN;
        }
        found.push(error, Some((missing, self.end_of_lost())));
        Ok(false)
    }

    /// The last commit that may be lost when the rest of the segment is.
    fn end_of_lost(&self) -> Commit {
        Commit(self.following.map_or(u64::MAX, |next| next - 1).min(self.ask.until.map_or(u64::MAX, |c| c.0)))
    }
}

/// Whether a record has the number that belongs to its place.
fn fits(head: &Head, walked: &Walked) -> bool {
    match head.kind {
        Kind::Seal => head.commit == walked.last,
        Kind::Commit => head.commit.0 == walked.last.0 + 1,
    }
}

/// The last commit that has to be there before a record.
fn before(head: &Head) -> Commit {
    if head.kind == Kind::Seal { head.commit } else { Commit(head.commit.0.saturating_sub(1)) }
}
