//! Walking a segment, and telling a write that never was synced from damage.
//!
//! At the first place that holds no valid record of the right number:
//!
//! 1. Nothing but zeroes up to the end of the file: the end of the segment.
//! 2. In a segment that is not the last one: damage, for it was synced before the next one was made.
//! 3. A valid head anywhere behind says that the missing commit had been synced (`synced`): damage. A
//!    later record alone is no proof, the disk may keep the second half of one unsynced write.
//! 4. The bytes look like a write that did not arrive completely: the file ends inside the record, it
//!    goes over into zeroes before its end (a record never ends in zero), or one of its 512-byte sectors
//!    is still as preallocated. That is a torn tail, and it is cut.
//! 5. All of it arrived and the checksum is wrong: damage.
//!
//! A seal (written at a clean stop and after a recovery) is a record, so rule 3 covers all it follows.

use std::path::Path;

use super::record::{ALIGN, HEAD_BYTES, Head, Key, Kind};
use super::segment::{self, HEADER_BYTES, Header};
use super::window::Window;
use super::{Commit, Record, StoreError};

/// What disks write all or nothing, at the least.
const SECTOR: u64 = 512;

/// How far a segment's records have to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// A segment that is not the last: zeroes after its records, nothing torn.
    Closed,
    /// Records up to this offset are known to be synced; what follows is not looked at.
    Until(u64),
    /// The last segment at open: may end in a torn tail.
    Last,
}

/// What a walk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Walked {
    /// The last commit; one less than the segment's first when it is empty.
    pub(super) last: Commit,
    /// Where the records end.
    pub(super) end: u64,
    /// Where the records begin that no later head says to be synced: those of the last write.
    pub(super) doubtful: u64,
    /// The last record is a seal.
    pub(super) sealed: bool,
    /// Up to where a torn write reaches; `None` when there is none.
    pub(super) torn: Option<u64>,
}

/// Gets each record; its error ends the walk.
pub type Visit<'a> = dyn FnMut(Record<'_>) -> Result<(), StoreError> + 'a;

/// Opens a segment and reads its header.
pub(super) fn open(dir: &Path, first: u64) -> Result<(Window, Header), StoreError> {
    let path = segment::path_of(dir, first);
    let window = Window::open(&path)?;
    let header = segment::read_header(window.file(), &path, first)?;
    Ok((window, header))
}

/// Reads a segment from its start, checks everything, and hands the commits over `after` to `visit`.
pub(super) fn walk(
    window: &mut Window,
    header: &Header,
    extent: Extent,
    after: Commit,
    visit: &mut Visit<'_>,
) -> Result<Walked, StoreError> {
    let key = Key::from(header);
    let mut walked = Walked {
        last: Commit(header.first.saturating_sub(1)),
        end: HEADER_BYTES,
        doubtful: HEADER_BYTES,
        sealed: false,
        torn: None,
    };
    let mut synced = None;
    while Extent::Until(walked.end) != extent {
        let Some((head, record)) = next(window, key, walked.end)? else {
            walked.torn = ending(window, key, &walked, extent)?;
            break;
        };
        let expected = if head.kind == Kind::Seal { walked.last } else { Commit(walked.last.0 + 1) };
        if head.commit != expected {
            let problem = format!("commit {} stands where {} belongs", head.commit.0, expected.0);
            return Err(segment::damaged(window.path(), walked.end, problem));
        }
        if head.kind == Kind::Commit && head.commit > after {
            visit(record)?;
        }
        // All records of one write name the same commit as the newest synced one.
        if synced.replace(head.synced) != Some(head.synced) {
            walked.doubtful = walked.end;
        }
        walked.last = head.commit;
        walked.sealed = head.kind == Kind::Seal;
        walked.end += head.total();
    }
    Ok(walked)
}

/// The valid record at `offset`, if there is one.
pub(super) fn next(
    window: &mut Window,
    key: Key,
    offset: u64,
) -> Result<Option<(Head, Record<'_>)>, StoreError> {
    let Some(head) = head_at(window, key, offset)? else {
        return Ok(None);
    };
    let len = usize::try_from(head.total()).unwrap_or(usize::MAX);
    let found = window.get_with_room(offset, len)?;
    let entries = found.and_then(|(bytes, room)| head.entries(bytes, key, offset, room));
    Ok(entries.map(|entries| (head, Record { commit: head.commit, entries })))
}

fn head_at(window: &mut Window, key: Key, offset: u64) -> Result<Option<Head>, StoreError> {
    Ok(window.get(offset, HEAD_BYTES)?.and_then(|bytes| Head::parse(bytes, key, offset)))
}

/// Judges the place where no valid record stands: `None` is a clean end, `Some` a torn tail.
pub(super) fn ending(
    window: &mut Window,
    key: Key,
    walked: &Walked,
    extent: Extent,
) -> Result<Option<u64>, StoreError> {
    let written = window.written_end(walked.end)?;
    if written == walked.end && !matches!(extent, Extent::Until(_)) {
        return Ok(None);
    }
    let missing = Commit(walked.last.0 + 1);
    let problem = if extent != Extent::Last {
        format!("the record of commit {} does not match its checksums, and it had been synced", missing.0)
    } else if let Some(at) = proof(window, key, walked.end, written, missing)? {
        format!(
            "the record of commit {} does not match its checksums, and byte {at} proves that it had been synced",
            missing.0
        )
    } else if is_torn(window, key, walked.end, written)? {
        return Ok(Some(written));
    } else {
        format!("the record of commit {} is complete and does not match its checksums", missing.0)
    };
    Err(segment::damaged(window.path(), walked.end, problem))
}

/// Where a later head stands that says `missing` had been synced.
fn proof(
    window: &mut Window,
    key: Key,
    bad: u64,
    written: u64,
    missing: Commit,
) -> Result<Option<u64>, StoreError> {
    let mut offset = bad + ALIGN;
    while offset < written {
        if head_at(window, key, offset)?.is_some_and(|head| head.synced >= missing) {
            return Ok(Some(offset));
        }
        offset += ALIGN;
    }
    Ok(None)
}

/// Whether the bad record at `start` looks like a write that did not arrive completely.
fn is_torn(window: &mut Window, key: Key, start: u64, written: u64) -> Result<bool, StoreError> {
    let sector_end = |at: u64| (at + 1).next_multiple_of(SECTOR);
    let Some(head) = head_at(window, key, start)? else {
        // No head: the write broke off inside it, or its sector never arrived.
        return Ok(written <= start + HEAD_BYTES as u64 || window.is_zero(start, sector_end(start))?);
    };
    let end = start + head.total();
    // Written shorter than the record covers a file that ends inside it as well.
    if written < end {
        return Ok(true);
    }
    let mut sector = start;
    while sector < end {
        let next = sector_end(sector).min(end);
        if window.is_zero(sector, next)? {
            return Ok(true);
        }
        sector = next;
    }
    Ok(false)
}
