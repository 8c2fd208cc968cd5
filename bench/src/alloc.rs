//! Counts allocations for row P11; in all other rows it costs one load of a flag that nobody writes.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mimalloc::MiMalloc;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

/// mimalloc, with a counter that can be switched on.
#[derive(Debug)]
pub(crate) struct Counting;

/// What was asked of the allocator since the process began counting.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allocated {
    /// Allocations, a growth in place included.
    pub(crate) count: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

/// Begins to count, for the rest of the process's life.
pub(crate) fn count_from_now_on() {
    IS_COUNTING.store(true, Ordering::Relaxed);
}

/// What has been counted.
pub(crate) fn allocated() -> Allocated {
    Allocated { count: COUNT.load(Ordering::Relaxed), bytes: BYTES.load(Ordering::Relaxed) }
}

fn note(size: usize) {
    if IS_COUNTING.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size as u64, Ordering::Relaxed);
    }
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
