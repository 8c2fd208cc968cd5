//! Retention: a journal segment goes when nothing needs its events any more.
//!
//! Of an event that has expired nothing is left but its payload, so that it looks like one whose bookkeeping was lost. Before
//! its segment goes, the payload is asked for its flow, and the flow whether it has expired.

use super::payloads::JournalPayloads;
use crate::event::Timestamp;
use crate::store::journal::Journal;
use crate::store::view::Payloads as _;
use crate::store::view::View;
use crate::store::{Commit, Seq, StoreError};

/// Events looked at in one slice.
const SLICE: u64 = 512;
/// Payloads read in one slice.
const READS: u64 = 64;

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
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a row that must be there is not; the segment stays.
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
        let mut reads = 0;
        for _ in 0..SLICE {
            let segment = payloads.segment_of(view, self.next)?;
            if segment.is_none() && self.next.0 <= view.events_stored() {
                // Never by design; taken for the end, it would cost the segment.
                return Err(view.lost_place(self.next));
            }
            if segment.is_none_or(|segment| segment >= following.first_commit.0) {
                return Ok(Verdict::RemoveBefore(following.first_commit));
            }
            match view.is_at_rest(self.next, until)? {
                Some(true) => {}
                Some(false) => return Ok(Verdict::Keep),
                None if !view.has_flow_until(self.next) => {}
                None if reads == READS => break,
                None => {
                    reads += 1;
                    has_expired(view, payloads, self.next)?;
                }
            }
            self.next = Seq(self.next.0 + 1);
        }
        Ok(Verdict::More)
    }
}

/// Makes sure that an event without bookkeeping has none because its flow has expired.
fn has_expired(view: &View, payloads: &JournalPayloads, seq: Seq) -> Result<(), StoreError> {
    let place = payloads.place(view, seq)?;
    let stored = match payloads.fetch(place.into_iter().map(|place| (seq, place)).collect()) {
        Err(problem @ StoreError::Damaged { .. }) => {
            // Nothing would be kept by keeping it.
            tracing::warn!(%problem, event = seq.0, "an event that has expired cannot be read; its segment goes");
            return Ok(());
        }
        other => other?,
    };
    match stored.first() {
        Some(stored) if view.must_be_there(seq, &stored.event.flow)? => {
            Err(view.lost_event(seq, &stored.event.flow))
        }
        _ => Ok(()),
    }
}
