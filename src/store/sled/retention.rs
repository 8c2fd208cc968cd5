//! Retention: a journal segment goes when nothing needs its events any more.
//!
//! Of an event that has expired nothing is left but its payload, so that it looks like one whose bookkeeping was lost. Before
//! its segment goes, or its id is forgotten, the payload is asked for its flow, and the flow whether it has expired.

use std::sync::Arc;

use super::SledStore;
use super::payloads::JournalPayloads;
use crate::event::Timestamp;
use crate::store::journal::Journal;
use crate::store::view::{Forgetting, Payloads as _, View};
use crate::store::{Commit, Seq, StoreError};

/// Events looked at in one slice.
const SLICE: u64 = 512;
/// Payloads read in one slice of them.
const READS: u64 = 64;
/// Payloads read for the ids of one slice, which are due in the order of their events.
const READS_FOR_IDS: usize = 256;

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

/// What may be removed.
#[derive(Debug)]
pub(super) struct Removable {
    /// The ids that are due, beside all that has expired.
    pub(super) ids: Option<Forgetting>,
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
        let (mut reads, mut segment_of) = (0, payloads.segments(view));
        for _ in 0..SLICE {
            let segment = segment_of(self.next)?;
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

impl SledStore {
    /// Removes the oldest segment when nothing needs it.
    pub(super) fn retain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        if self.hold.is_on() || self.lost.is_some() {
            return Ok(false);
        }
        let kept = u64::try_from(self.settings.retention.as_millis()).unwrap_or(u64::MAX);
        let Some(until) = now.0.checked_sub(kept).map(Timestamp) else { return Ok(false) };
        let shared = Arc::clone(&self.shared);
        let found = {
            let view = shared.view()?;
            self.retention.look(&view, &shared.payloads, &self.journal, self.folded, until)
        };
        match self.unless_lost(found)? {
            None | Some(Verdict::Keep) => Ok(false),
            Some(Verdict::More) => Ok(true),
            Some(Verdict::RemoveBefore(commit)) => {
                // Readers first: none may be sent to a file that is about to go.
                let mut view = shared.view_mut()?;
                shared.payloads.set_first_segment(commit.0);
                shared.payloads.forget_places(&mut view)?;
                drop(view);
                Ok(self.journal.remove_before(commit)? > 0)
            }
        }
    }

    /// What may be removed; `None` when nothing may go.
    pub(super) fn removable(&mut self, now: Timestamp) -> Result<Option<Removable>, StoreError> {
        if self.lost.is_some() {
            return Ok(None);
        }
        let shared = Arc::clone(&self.shared);
        let found = {
            let mut view = shared.view_mut()?;
            view.check_next_at_rest(now).and_then(|()| view.next_forgotten(now))
        };
        let sound = found.and_then(|due| {
            let view = shared.view()?;
            let ids = due.map(|due| sound_ids(&view, &shared.payloads, due)).transpose()?;
            Ok(Removable { ids })
        });
        self.unless_lost(sound)
    }

    /// Passes on what was found, and `None` where a row is missing that must be there. From then on nothing is removed,
    /// for the journal is what the rows can be made anew from. The bus works on: one flow is harmed, and a store that
    /// closes would harm all of them.
    fn unless_lost<T>(&mut self, found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match found {
            Err(problem @ StoreError::Damaged { .. }) => {
                tracing::error!(%problem, "rows are lost; no journal file, status or remembered id is removed any more");
                self.lost = Some(problem);
                Ok(None)
            }
            other => other.map(Some),
        }
    }
}

/// The ids that are due, up to the first whose payload is not looked at any more.
///
/// Where the payload has gone too, an event that has expired and one whose bookkeeping is lost cannot be told apart. The
/// bookkeeping was there, or had gone with its flow, when the segment went.
fn sound_ids(view: &View, payloads: &JournalPayloads, due: Forgetting) -> Result<Forgetting, StoreError> {
    due.check(READS_FOR_IDS, |seqs| have_expired(view, payloads, seqs))
}

/// As [`has_expired`], of neighbours, whose payloads are read together.
fn have_expired(view: &View, payloads: &JournalPayloads, seqs: &[Seq]) -> Result<(), StoreError> {
    let places = payloads.places(view, seqs)?;
    let found: Vec<_> = seqs.iter().zip(places).filter_map(|(seq, place)| Some((*seq, place?))).collect();
    let there: Vec<Seq> = found.iter().map(|(seq, _)| *seq).collect();
    let stored = match payloads.fetch(found) {
        // One by one, to pass over those that cannot be read.
        Err(StoreError::Damaged { .. }) => {
            return seqs.iter().try_for_each(|seq| has_expired(view, payloads, *seq));
        }
        other => other?,
    };
    for (seq, stored) in there.into_iter().zip(stored) {
        if view.must_be_there(seq, &stored.event.flow)? {
            return Err(view.lost_event(seq, &stored.event.flow));
        }
    }
    Ok(())
}

/// Makes sure that an event without bookkeeping has none because its flow has expired.
fn has_expired(view: &View, payloads: &JournalPayloads, seq: Seq) -> Result<(), StoreError> {
    let place = payloads.place(view, seq)?;
    let stored = match payloads.fetch(place.into_iter().map(|place| (seq, place)).collect()) {
        Err(problem @ StoreError::Damaged { .. }) => {
            // Nothing would be kept by keeping it.
            tracing::warn!(%problem, event = seq.0, "an event that has expired cannot be read; nothing is kept for it");
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
