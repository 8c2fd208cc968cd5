//! Reading single entries by their location, from any thread.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::record::{ENTRY_PREFIX, Key, verify_entry};
use super::{Location, StoreError, segment};

/// Open segment files kept at most; the least recently used one is closed first.
const HANDLES_MAX: usize = 16;
/// Bytes read at once at most, unless one entry alone is larger.
const SPAN_MAX: u64 = 256 * 1024;
/// Bytes between two entries that are rather read along than skipped.
const GAP_MAX: u64 = 4096;

/// Reads entries of a journal; cheap to clone.
///
/// It reads what has been synced: an entry is there once [`Journal::sync`](super::Journal::sync) has
/// returned after its append.
#[derive(Debug, Clone)]
pub struct JournalReader {
    handles: Arc<Handles>,
}

/// The segment files that are open for reading; shared with the journal, which forgets removed ones.
#[derive(Debug)]
pub(super) struct Handles {
    dir: PathBuf,
    open: Mutex<VecDeque<Arc<Handle>>>,
}

#[derive(Debug)]
struct Handle {
    key: Key,
    file: File,
    path: PathBuf,
}

impl Handles {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, open: Mutex::new(VecDeque::new()) }
    }

    /// Closes the file of a segment that was removed, so that its space is given back.
    pub(super) fn forget(&self, segment: u64) {
        self.lock().retain(|handle| handle.key.first != segment);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Handle>>> {
        // The list is whole at every point: a thread that died holding the lock left nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, segment: u64) -> Result<Arc<Handle>, StoreError> {
        let mut open = self.lock();
        let known = open.iter().position(|handle| handle.key.first == segment);
        let handle = match known.and_then(|index| open.remove(index)) {
            Some(handle) => handle,
            None => Arc::new(Handle::open(self.dir.as_path(), segment)?),
        };
        if open.len() >= HANDLES_MAX {
            open.pop_front();
        }
        open.push_back(Arc::clone(&handle));
        Ok(handle)
    }
}

impl Handle {
    fn open(dir: &Path, segment: u64) -> Result<Self, StoreError> {
        let path = segment::path_of(dir, segment);
        let file = File::open(&path).map_err(|error| StoreError::io("open", &path, &error))?;
        let key = Key::from(&segment::read_header(&file, &path, segment)?);
        Ok(Self { key, file, path })
    }

    /// The bytes `from..to`.
    fn read(&self, from: u64, to: u64) -> Result<Vec<u8>, StoreError> {
        let failed = |error: std::io::Error| StoreError::io("read", &self.path, &error);
        let len = to.saturating_sub(from);
        // A location that is not ours must not make us ask for gigabytes.
        let is_odd = len > SPAN_MAX || i64::try_from(to).is_err();
        if is_odd && to > self.file.metadata().map_err(failed)?.len() {
            return Err(segment::damaged(&self.path, from, "the file ends before the entry does".to_owned()));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        match self.file.read_exact_at(&mut bytes, from) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(segment::damaged(&self.path, from, "the file ends before the entry does".to_owned()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Cuts the entry at `at` out of bytes that start at `from`, verified.
    fn entry<'a>(&self, bytes: &'a [u8], from: u64, at: &Location) -> Result<&'a [u8], StoreError> {
        let start = usize::try_from(at.offset.saturating_sub(from)).unwrap_or(usize::MAX);
        let end = usize::try_from(end_of(at).saturating_sub(from)).unwrap_or(usize::MAX);
        bytes
            .get(start..end)
            .filter(|prefixed| verify_entry(prefixed, self.key, at))
            .and_then(|prefixed| prefixed.get(ENTRY_PREFIX..))
            .ok_or_else(|| {
                let problem = format!("the entry of {} bytes does not match its checksum", at.len);
                segment::damaged(&self.path, at.offset, problem)
            })
    }
}

/// Where the entry's bytes end in the file.
fn end_of(at: &Location) -> u64 {
    at.offset.saturating_add(ENTRY_PREFIX as u64 + u64::from(at.len))
}

impl JournalReader {
    pub(super) fn new(handles: Arc<Handles>) -> Self {
        Self { handles }
    }

    /// A reader of a journal's folder that nobody writes to.
    pub fn of(dir: PathBuf) -> Self {
        Self::new(Arc::new(Handles::new(dir)))
    }

    /// Reads one entry and verifies it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the bytes there are not the entry that was written,
    /// [`StoreError::Io`] of kind `NotFound` when its segment was removed.
    pub fn read(&self, at: &Location) -> Result<Bytes, StoreError> {
        let handle = self.handles.get(at.segment)?;
        let bytes = handle.read(at.offset, end_of(at))?;
        handle.entry(&bytes, at.offset, at)?;
        Ok(Bytes::from(bytes).slice(ENTRY_PREFIX..))
    }

    /// Reads many entries, in the order asked for; neighbours come in one read of up to 256 KiB.
    ///
    /// Each entry gets memory of its own: keeping one does not hold the whole span.
    ///
    /// # Errors
    /// As [`JournalReader::read`], for the first entry that cannot be read; none is returned then.
    pub fn read_many(&self, at: &[Location]) -> Result<Vec<Bytes>, StoreError> {
        let mut order: Vec<Asked<'_>> = at.iter().enumerate().collect();
        order.sort_by_key(|(_, place)| **place);
        let mut found: Vec<(usize, Bytes)> = Vec::with_capacity(at.len());
        let mut rest = order.as_slice();
        while let Some((_, first)) = rest.first() {
            let (count, end) = span(rest, first);
            let (together, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            let handle = self.handles.get(first.segment)?;
            let bytes = handle.read(first.offset, end)?;
            for (index, place) in together {
                let entry = handle.entry(&bytes, first.offset, place)?;
                found.push((*index, Bytes::copy_from_slice(entry)));
            }
            rest = after;
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, bytes)| bytes).collect())
    }
}

/// An entry that was asked for, with its position in the question.
type Asked<'a> = (usize, &'a Location);

/// How many of the leading entries are read together, and where that read ends.
fn span(places: &[Asked<'_>], first: &Location) -> (usize, u64) {
    let mut end = end_of(first);
    let mut count = 0;
    for (_, place) in places {
        let reach = end.max(end_of(place));
        let near = place.segment == first.segment && place.offset <= end.saturating_add(GAP_MAX);
        if count > 0 && (!near || reach - first.offset > SPAN_MAX) {
            break;
        }
        end = reach;
        count += 1;
    }
    (count, end)
}
