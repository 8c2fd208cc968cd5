//! What waits for its time, and the one timer for all of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::lanes::LaneId;
use crate::event::Timestamp;
use crate::store::Ordinal;

/// Deliveries by due time. Entries are hints: whoever takes one checks that it still waits.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Reverse<(Timestamp, Ordinal, LaneId)>>,
    announced: Option<Timestamp>,
}

impl Schedule {
    pub(super) fn add(&mut self, due: Timestamp, ordinal: Ordinal, lane: LaneId) {
        self.heap.push(Reverse((due, ordinal, lane)));
    }

    /// Takes one entry that is due at `now`, the earliest first.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(Timestamp, Ordinal, LaneId)> {
        let Reverse((due, ..)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// The time to ask for, when the timer that runs would come too late: the earlier of the next entry and
    /// `other`.
    pub(super) fn announce(&mut self, now: Timestamp, other: Option<Timestamp>) -> Option<Timestamp> {
        self.announced = self.announced.filter(|&at| at > now);
        let next = self.heap.peek().map(|Reverse((due, ..))| *due);
        let next = next.into_iter().chain(other).min()?;
        if self.announced.is_some_and(|at| at <= next) {
            return None;
        }
        self.announced = Some(next);
        Some(next)
    }

    /// The timer that was asked for has run out.
    pub(super) fn woken(&mut self) {
        self.announced = None;
    }

    /// The lane of one entry; looks through all of them.
    pub(super) fn lane_of(&self, ordinal: Ordinal) -> Option<LaneId> {
        self.heap.iter().find(|Reverse((_, other, _))| *other == ordinal).map(|Reverse((.., lane))| *lane)
    }

    /// When the next entry is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }
}
