//! Reading single entries by their location, from any thread.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::pack::{self, CHUNK_PREFIX, Prefix};
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
    /// The chunk that was unpacked last: who reads one entry mostly asks for its neighbour next.
    unpacked: Mutex<Option<Unpacked>>,
}

/// A chunk with its place.
#[derive(Debug)]
struct Unpacked {
    segment: u64,
    offset: u64,
    chunk: Arc<Vec<u8>>,
}

#[derive(Debug)]
struct Handle {
    key: Key,
    file: File,
    path: PathBuf,
}

impl Handles {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, open: Mutex::default(), unpacked: Mutex::default() }
    }

    /// Closes the file of a segment that was removed, so that its space is given back.
    pub(super) fn forget(&self, segment: u64) {
        self.lock().retain(|handle| handle.key.first != segment);
        self.last().take_if(|last| last.segment == segment);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Handle>>> {
        // The list is whole at every point: a thread that died holding the lock left nothing half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<Unpacked>> {
        // So is it.
        self.unpacked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunk that an entry is packed in.
    fn chunk(&self, handle: &Handle, at: &Location) -> Result<Arc<Vec<u8>>, StoreError> {
        let known = |last: &&Unpacked| (last.segment, last.offset) == (at.segment, at.offset);
        if let Some(last) = self.last().as_ref().filter(known) {
            return Ok(Arc::clone(&last.chunk));
        }
        let chunk = Arc::new(handle.chunk(at.offset)?);
        let (segment, offset) = (at.segment, at.offset);
        *self.last() = Some(Unpacked { segment, offset, chunk: Arc::clone(&chunk) });
        Ok(chunk)
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

    /// The chunk whose prefix stands at `offset`, unpacked and verified.
    fn chunk(&self, offset: u64) -> Result<Vec<u8>, StoreError> {
        let start = offset.saturating_add(CHUNK_PREFIX as u64);
        let (mut unpacked, prefix) = (Vec::new(), Prefix::of(&self.read(offset, start)?));
        let packed = prefix.map(|prefix| self.read(start, start.saturating_add(u64::from(prefix.packed))));
        let is_sound = prefix
            .zip(packed.transpose()?)
            .and_then(|(prefix, packed)| prefix.unpack(&packed, self.key, offset, &mut unpacked));
        let problem = || "the packed entries here do not match their checksum".to_owned();
        is_sound.map(|()| unpacked).ok_or_else(|| segment::damaged(&self.path, offset, problem()))
    }

    /// Cuts a packed entry out of its chunk.
    fn packed_entry<'a>(&self, chunk: &'a [u8], at: &Location) -> Result<&'a [u8], StoreError> {
        let problem = || format!("no entry of {} bytes is packed at {}", at.len, at.inner);
        pack::entry(chunk, at).ok_or_else(|| segment::damaged(&self.path, at.offset, problem()))
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
        Ok(self.read_many(&[*at])?.pop().unwrap_or_default())
    }

    /// Reads many entries, in the order asked for; neighbours come in one read of up to 256 KiB, or of the chunk that they
    /// are packed in.
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
            if first.inner > 0 {
                let chunk = self.handles.chunk(&handle, first)?;
                for (index, place) in together {
                    found.push((*index, Bytes::copy_from_slice(handle.packed_entry(&chunk, place)?)));
                }
            } else {
                let bytes = handle.read(first.offset, end)?;
                for (index, place) in together {
                    found.push((*index, Bytes::copy_from_slice(handle.entry(&bytes, first.offset, place)?)));
                }
            }
            rest = after;
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, bytes)| bytes).collect())
    }
}

/// An entry that was asked for, with its position in the question.
type Asked<'a> = (usize, &'a Location);

/// How many of the leading entries are read together, and where that read ends, unless it is of a chunk.
fn span(places: &[Asked<'_>], first: &Location) -> (usize, u64) {
    if first.inner > 0 {
        let of_chunk = |(_, place): &&Asked<'_>| {
            (place.segment, place.offset) == (first.segment, first.offset) && place.inner > 0
        };
        return (places.iter().take_while(of_chunk).count(), first.offset);
    }
    let mut end = end_of(first);
    let mut count = 0;
    for (_, place) in places {
        let reach = end.max(end_of(place));
        let near =
            place.inner == 0 && place.segment == first.segment && place.offset <= end.saturating_add(GAP_MAX);
        if count > 0 && (!near || reach - first.offset > SPAN_MAX) {
            break;
        }
        end = reach;
        count += 1;
    }
    (count, end)
}
