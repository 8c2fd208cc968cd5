//! How far the queue was read.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::lanes::LaneId;
use crate::store::Ordinal;

/// The cursor of one process: it starts at the beginning of what is open and never goes back.
///
/// Everything up to `read` was seen. After a start, more than that may be recorded: deliveries that wait,
/// are dead or were put aside before. They are known from the first moment, but what comes before them in
/// the queue is not; `ahead` and `closed` keep the two apart until the first answer that has nothing more.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// Everything up to here was seen.
    pub(super) read: Ordinal,
    /// The highest place that is known to exist.
    pub(super) known: Ordinal,
    /// Whether the end of the queue was met since the start.
    pub(super) swept: bool,
    /// The question that is open.
    pub(super) asked: Option<Question>,
    /// Recorded deliveries over `read`, and those brought back from there: not to be taken a second time when the
    /// queue shows them.
    ahead: BTreeSet<Ordinal>,
    /// Lanes whose first put-aside delivery lies over `read`.
    closed: BinaryHeap<Reverse<(Ordinal, LaneId)>>,
}

/// A question to the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) after: Ordinal,
    pub(super) limit: usize,
    /// What was known to exist when it was asked.
    known: Ordinal,
}

impl Reading {
    /// Whether the store has, or may have, more.
    pub(super) fn has_more(&self) -> bool {
        !self.swept || self.unread() > 0
    }

    /// How many more the store is known to have.
    pub(super) fn unread(&self) -> u64 {
        self.known.0.saturating_sub(self.read.0)
    }

    pub(super) fn notice(&mut self, ordinal: Ordinal) {
        self.known = self.known.max(ordinal);
    }

    /// Notes a delivery that is recorded apart from the queue, or that was brought back from apart.
    pub(super) fn note_recorded(&mut self, ordinal: Ordinal) {
        self.notice(ordinal);
        if ordinal > self.read {
            self.ahead.insert(ordinal);
        }
    }

    /// Whether `ordinal` is the next one, so that nothing can be between.
    pub(super) fn is_next(&self, ordinal: Ordinal) -> bool {
        ordinal.0 == self.read.0.saturating_add(1)
    }

    /// Moves on to `ordinal`; `false` when it was seen or is recorded apart from the queue.
    pub(super) fn pass(&mut self, ordinal: Ordinal) -> bool {
        if ordinal <= self.read {
            return false;
        }
        self.notice(ordinal);
        let is_new = self.ahead.is_empty() || !self.ahead.contains(&ordinal);
        self.reach(ordinal);
        is_new
    }

    /// Everything up to `ordinal` was seen.
    fn reach(&mut self, ordinal: Ordinal) {
        self.read = self.read.max(ordinal);
        while self.ahead.first().is_some_and(|&first| first <= self.read) {
            self.ahead.pop_first();
        }
    }

    pub(super) fn ask(&mut self, limit: usize) -> Ordinal {
        self.asked = Some(Question { after: self.read, limit, known: self.known });
        self.read
    }

    /// The answer to `question` had nothing: all that was known then is through.
    pub(super) fn end(&mut self, question: Question) {
        self.reach(question.known);
        self.swept = true;
    }

    /// Whether everything of a lane up to `ordinal` was seen.
    pub(super) fn has_reached(&self, ordinal: Ordinal) -> bool {
        self.swept || ordinal <= self.read
    }

    pub(super) fn close(&mut self, until: Ordinal, lane: LaneId) {
        self.closed.push(Reverse((until, lane)));
    }

    /// Takes a lane whose put-aside deliveries have come into reach.
    pub(super) fn open(&mut self) -> Option<LaneId> {
        let Reverse((until, _)) = *self.closed.peek()?;
        if !self.has_reached(until) {
            return None;
        }
        self.closed.pop().map(|Reverse((_, lane))| lane)
    }
}
