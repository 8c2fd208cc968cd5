//! Ahead: the room in front of the writer is written with zeroes before records come.
//!
//! Where room is only reserved, the file system has to note with each sync that it holds something now, which is a
//! write of its own. Into room that was written before, a sync takes two thirds of the time (docs/adr/0017). A thread
//! writes it in pieces, some megabytes in front of the records and never where one is or may come meanwhile:
//!
//! ```text
//! records | written with zeroes | being written | only reserved
//!         ^ end                 ^ until         ^ the writer stops the thread before it comes here
//! ```

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::StoreError;
use super::writer::Active;

/// So much is kept ready: a tenth of a second at 40 MB/s.
pub(super) const READY: u64 = 4 << 20;
/// So much is written in one go.
pub(super) const STRETCH: u64 = 8 << 20;
/// After so much it is synced, so that the writer's own sync never waits for more.
const PIECE: u64 = 1 << 20;
/// Room begins at a page, so that no page holds a record and zeroes of two writers.
const PAGE: u64 = 4_096;
/// The file systems that write a block again where it stands: elsewhere it would take room that was reserved once.
const IN_PLACE: [u64; 2] = [0xEF53, 0x5846_5342];

/// The zeroes in front of the writer.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Where they end in the active segment.
    until: u64,
    under_way: Option<Stretch>,
    is_off: bool,
}

#[derive(Debug)]
struct Stretch {
    room: Range<u64>,
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, StoreError>>,
}

impl Ahead {
    /// One for segments of this size: in small ones it would not pay.
    pub(super) fn new(segment_bytes: u64) -> Self {
        Self { until: 0, under_way: None, is_off: segment_bytes < STRETCH }
    }

    /// Keeps the thread out of what is to be written up to `end`.
    ///
    /// # Errors
    /// What the thread has met: the disk has failed.
    pub(super) fn make_way(&mut self, end: u64) -> Result<(), StoreError> {
        if self.under_way.as_ref().is_none_or(|stretch| end <= stretch.room.start) {
            return Ok(());
        }
        self.stop()?;
        // He is faster: the next one begins where he is not yet.
        self.until = self.until.max(page_after(end) + READY);
        Ok(())
    }

    /// Waits for the thread, which ends after its piece.
    ///
    /// # Errors
    /// As [`Ahead::make_way`].
    pub(super) fn stop(&mut self) -> Result<(), StoreError> {
        if let Some(stretch) = &self.under_way {
            stretch.is_stopped.store(true, Ordering::Relaxed);
        }
        self.take()
    }

    /// Another segment is written from now on.
    pub(super) fn begin(&mut self) {
        self.until = 0;
    }

    /// Has more written when the records, which end at `end`, come close.
    ///
    /// # Errors
    /// As [`Ahead::make_way`].
    pub(super) fn look(&mut self, active: &Active, end: u64) -> Result<(), StoreError> {
        if self.is_off {
            return Ok(());
        }
        if self.under_way.as_ref().is_some_and(|stretch| stretch.thread.is_finished()) {
            self.take()?;
        }
        let from = self.until.max(page_after(end));
        let until = from.saturating_add(STRETCH).min(active.reserved());
        if self.under_way.is_none() && self.until < end + READY && from < until {
            self.under_way = Stretch::start(&active.path, from..until);
            // Else no file system, or no thread, for it.
            self.is_off = self.under_way.is_none();
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), StoreError> {
        let Some(stretch) = self.under_way.take() else { return Ok(()) };
        let panicked =
            || StoreError::Poisoned { cause: "the thread ahead of the journal panicked".to_owned() };
        match stretch.thread.join().map_err(|_| panicked())? {
            Ok(until) => self.until = until,
            // It cannot be where room is reserved; all goes on without.
            Err(error) if error.is_disk_full() => self.is_off = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // What it has met is of no use to anybody any more.
        drop(self.stop());
    }
}

impl Stretch {
    /// `None` where it does not pay or there is no thread.
    fn start(path: &Path, room: Range<u64>) -> Option<Self> {
        // A handle of its own, or the kernel would tell it of a failure that the writer has to learn.
        let file = File::options().write(true).open(path).ok()?;
        let found = rustix::fs::fstatfs(&file).ok()?;
        if !u64::try_from(found.f_type).is_ok_and(|found| IN_PLACE.contains(&found)) {
            return None;
        }
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stop, path, own) = (Arc::clone(&is_stopped), path.to_owned(), room.clone());
        let thread = std::thread::Builder::new()
            .name("tidegate-ahead".to_owned())
            .spawn(move || write(&file, &path, own, &stop))
            .ok()?;
        Some(Self { room, is_stopped, thread })
    }
}

/// Writes zeroes and syncs them; returns where they end.
fn write(file: &File, path: &PathBuf, room: Range<u64>, stop: &AtomicBool) -> Result<u64, StoreError> {
    let zeroes = vec![0; usize::try_from(PIECE).unwrap_or_default()];
    let mut at = room.start;
    while at < room.end && !stop.load(Ordering::Relaxed) {
        let len = (room.end - at).min(PIECE);
        let piece = usize::try_from(len).ok().and_then(|len| zeroes.get(..len)).unwrap_or_default();
        file.write_all_at(piece, at)
            .and_then(|()| file.sync_data())
            .map_err(|error| StoreError::io("write room ahead in", path, &error))?;
        at += len;
    }
    Ok(at)
}

/// The first page that begins at `end` or after it.
const fn page_after(end: u64) -> u64 {
    end.next_multiple_of(PAGE)
}

#[cfg(test)]
impl Ahead {
    pub(super) const fn is_on(&self) -> bool {
        !self.is_off
    }

    pub(super) const fn until(&self) -> u64 {
        self.until
    }

    /// Waits until all of the stretch is written.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        self.take()
    }

    /// As if the thread had met this.
    pub(super) fn fail_with(&mut self, failure: StoreError) {
        drop(self.take());
        let is_stopped = Arc::default();
        let thread = std::thread::spawn(move || Err(failure));
        self.under_way = Some(Stretch { room: 0..0, is_stopped, thread });
    }
}
