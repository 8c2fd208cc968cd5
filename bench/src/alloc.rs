//! Counts allocations, each thread by itself, for row P11 and for `costs`; elsewhere it costs one load of a flag
//! that nobody writes.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};

use mimalloc::MiMalloc;

/// Threads that are counted by themselves; those that come later share the last place.
const THREADS: usize = 256;
/// A thread that has not asked for anything yet.
const NO_PLACE: usize = usize::MAX;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static PLACES: AtomicUsize = AtomicUsize::new(0);
static TALLIES: [Tally; THREADS] = [const { Tally::new() }; THREADS];

thread_local! {
    static PLACE: Cell<usize> = const { Cell::new(NO_PLACE) };
}

/// mimalloc, with a counter that can be switched on.
#[derive(Debug)]
pub(crate) struct Counting;

/// What was asked of the allocator since the process began counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allocated {
    /// Allocations, a growth in place included.
    pub(crate) count: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// What one thread has asked for.
struct Tally {
    thread: AtomicI32,
    count: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    const fn new() -> Self {
        Self { thread: AtomicI32::new(0), count: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

/// Begins to count, for the rest of the process's life.
pub(crate) fn count_from_now_on() {
    IS_COUNTING.store(true, Ordering::Relaxed);
}

/// What has been counted in all threads.
pub(crate) fn allocated() -> Allocated {
    allocated_in(|_| true)
}

/// What has been counted at the places for which `is_meant`.
pub(crate) fn allocated_in(is_meant: impl Fn(usize) -> bool) -> Allocated {
    let mut sum = Allocated::default();
    for (_, tally) in TALLIES.iter().enumerate().filter(|(place, _)| is_meant(*place)) {
        sum.count += tally.count.load(Ordering::Relaxed);
        sum.bytes += tally.bytes.load(Ordering::Relaxed);
    }
    sum
}

/// The places of living threads whose name begins so; the kernel keeps 15 bytes of it.
pub(crate) fn places_of(name: &str) -> Vec<usize> {
    let is_so = |thread: i32| {
        let comm = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
        thread != 0 && comm.starts_with(name)
    };
    let threads = TALLIES.iter().map(|tally| tally.thread.load(Ordering::Relaxed));
    threads.enumerate().filter(|(_, thread)| is_so(*thread)).map(|(place, _)| place).collect()
}

fn note(size: usize) {
    if IS_COUNTING.load(Ordering::Relaxed) {
        // A thread that is ending has no place any more.
        let place = PLACE.try_with(Cell::get).unwrap_or(THREADS - 1);
        let place = if place == NO_PLACE { take_place() } else { place };
        if let Some(tally) = TALLIES.get(place) {
            tally.count.fetch_add(1, Ordering::Relaxed);
            tally.bytes.fetch_add(size as u64, Ordering::Relaxed);
        }
    }
}

fn take_place() -> usize {
    let place = PLACES.fetch_add(1, Ordering::Relaxed).min(THREADS - 1);
    if let Some(tally) = TALLIES.get(place) {
        tally.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    }
    let _had_one = PLACE.try_with(|own| own.set(place)).is_ok();
    place
}

#[allow(
    unsafe_code,
    reason = "GlobalAlloc is an unsafe trait; each method hands on to mimalloc what it was handed"
)]
// SAFETY: every pointer and layout goes to and comes from `MiMalloc` unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise is the one that `MiMalloc` asks for.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }
}
