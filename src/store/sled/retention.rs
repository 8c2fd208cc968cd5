//! Retention: a journal segment goes when nothing needs its events any more.

use super::payloads::JournalPayloads;
use crate::event::Timestamp;
use crate::store::journal::Journal;
use crate::store::view::Payloads as _;
use crate::store::view::View;
use crate::store::{Commit, Seq, StoreError};

/// Events looked at in one slice.
const SLICE: u64 = 512;

/// How far the oldest segment has been looked through.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Retention {
    next: Seq,
}

/// What one slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something still needs the oldest segment.
    Keep,
    /// Not yet known.
    More,
    /// Nothing needs what is before this commit.
    RemoveBefore(Commit),
}

impl Retention {
    /// Looks at the next events of the oldest segment. It may go when it is folded (`folded`) and each of
    /// its events has expired or belongs to a flow that has been at rest since `until`.
    pub(super) fn look(
        &mut self,
        view: &View,
        payloads: &JournalPayloads,
        journal: &Journal,
        folded: Commit,
        until: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let segments = journal.segments();
        let (Some(oldest), Some(following)) = (segments.first(), segments.get(1)) else {
            return Ok(Verdict::Keep);
        };
        if oldest.last_commit > folded {
            return Ok(Verdict::Keep);
        }
        self.next = self.next.max(payloads.first(view)?);
        for _ in 0..SLICE {
            let segment = payloads.segment_of(view, self.next)?;
            if segment.is_none() && self.next.0 <= view.events_stored() {
                // Never by design; taken for the end, it would cost the segment.
                return Err(view.lost_place(self.next));
            }
            if segment.is_none_or(|segment| segment >= following.first_commit.0) {
                return Ok(Verdict::RemoveBefore(following.first_commit));
            }
            if !view.is_at_rest(self.next, until)? {
                return Ok(Verdict::Keep);
            }
            self.next = Seq(self.next.0 + 1);
        }
        Ok(Verdict::More)
    }
}
