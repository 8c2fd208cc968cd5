//! Recall: the page of each table that was found last. Rows are mostly asked for in order, and finding a page in sled costs
//! more than all that is done with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pages::Found;

/// Tables, by the first byte of their keys.
const TABLES: usize = 256;

/// A page for each table, until one of the table is written.
pub(super) struct Recall(Box<[Slot]>);

#[derive(Default)]
struct Slot {
    /// Pages of the table that were written so far.
    writes: AtomicU64,
    last: Mutex<Option<Last>>,
}

/// What was found, and by what key: no other page lies between them.
struct Last {
    from: Vec<u8>,
    found: Found,
    writes: u64,
}

/// How often a table was written when a page of it began to be looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Since(u64);

impl Recall {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(Slot::default).take(TABLES).collect())
    }

    /// The page that a key of a table belongs into, where it is the one that was found last; and from when on a later
    /// [`Recall::keep`] counts.
    pub(super) fn page_of(&self, table: u8, key: &[u8]) -> (Option<Found>, Since) {
        let Some(slot) = self.slot(table) else { return (None, Since(0)) };
        // Before anything is looked for: what is written meanwhile makes it stale.
        let writes = slot.writes.load(Ordering::Acquire);
        let last = slot.lock();
        let is_it = |last: &&Last| last.writes == writes && *last.from <= *key && last.found.reaches(key);
        (last.as_ref().filter(is_it).map(|last| last.found.clone()), Since(writes))
    }

    /// Keeps the page that was found for a key.
    pub(super) fn keep(&self, table: u8, key: &[u8], found: &Found, since: Since) {
        if let Some(slot) = self.slot(table) {
            *slot.lock() = Some(Last { from: key.to_vec(), found: found.clone(), writes: since.0 });
        }
    }

    /// A page of a table was written.
    pub(super) fn wrote(&self, table: u8) {
        if let Some(slot) = self.slot(table) {
            slot.writes.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn slot(&self, table: u8) -> Option<&Slot> {
        self.0.get(usize::from(table))
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
