//! Retention: a journal segment goes when nothing needs its events any more.
//!
//! Mostly nothing stands any more that is as old as the last event of the segment, and no event is looked at. Else, since of an
//! event that has expired nothing is left but its payload, so that it looks like one whose bookkeeping was lost, the payload is
//! asked for its flow, and the flow whether it has expired, before its segment goes, or its id is forgotten.

use std::sync::Arc;

use foldhash::HashMap;

use super::SledStore;
use super::payloads::JournalPayloads;
use crate::event::Timestamp;
use crate::store::journal::Journal;
use crate::store::view::{Outlived, Payloads as _, Rest, Trace, View};
use crate::store::{Commit, Seq, StoreError};

/// Events looked at in one slice.
const SLICE: u64 = 512;
/// Payloads that one slice reads together, of events and of ids each.
const READS: usize = 64;

/// Names of flows that are remembered as gone.
const GONE: usize = 8_192;

/// How far the oldest segment has been looked through.
#[derive(Debug, Default)]
pub(super) struct Retention {
    next: Seq,
    last: Option<Last>,
    gone: Gone,
}

/// Flows that have expired, each with the last event there was when it was asked for: events up to that have gone with it. The
/// events of a flow come soon after each other, and to ask for a name that has gone reads pages.
#[derive(Debug, Default)]
struct Gone(HashMap<String, Seq>);

impl Gone {
    fn has(&self, flow: &str, seq: Seq) -> bool {
        self.0.get(flow).is_some_and(|until| seq <= *until)
    }

    fn note(&mut self, flow: &str, until: Seq) {
        if self.0.len() >= GONE {
            self.0.clear();
        }
        self.0.insert(flow.to_owned(), until);
    }
}

/// The last event of a segment, which never changes once it is closed.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// The commit with which the following segment begins.
    before: Commit,
    seq: Seq,
    /// Since when its flow has been at rest, as far as that was asked.
    rests: Timestamp,
}

/// What one slice came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Something still needs the oldest segment.
    Keep,
    /// Not yet known.
    More,
    /// Not known as long as nobody has looked for the oldest that stands.
    Unsure,
    /// Nothing needs what is before this commit.
    RemoveBefore(Commit),
}

/// What is looked at, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) view: &'a View,
    pub(super) payloads: &'a JournalPayloads,
    pub(super) journal: &'a Journal,
    /// Everything up to it is in sled.
    pub(super) folded: Commit,
    /// Flows that have been at rest since then need no payloads any more.
    pub(super) until: Timestamp,
    /// Flows that have been at rest since then expire, or have.
    pub(super) expired: Timestamp,
}

impl Retention {
    /// Looks at the next events of the oldest segment. It may go when it is folded and each of its events has expired or
    /// belongs to a flow that has been at rest for long enough.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a row that must be there is not; the segment stays.
    pub(super) fn look(&mut self, at: Look<'_>) -> Result<Verdict, StoreError> {
        let Look { view, payloads, .. } = at;
        let segments = at.journal.segments();
        let (Some(oldest), Some(following)) = (segments.first(), segments.get(1)) else {
            return Ok(Verdict::Keep);
        };
        if oldest.last_commit > at.folded {
            return Ok(Verdict::Keep);
        }
        self.next = self.next.max(payloads.first(view)?);
        match self.glance(following.first_commit, at)? {
            Verdict::More => {}
            known @ (Verdict::Keep | Verdict::Unsure | Verdict::RemoveBefore(_)) => return Ok(known),
        }
        let (mut missed, mut verdict) = (Vec::new(), Verdict::More);
        let mut segment_of = payloads.segments(view);
        for _ in 0..SLICE {
            let segment = segment_of(self.next)?;
            if segment.is_none() && self.next.0 <= view.events_stored() {
                // Never by design; taken for the end, it would cost the segment.
                return Err(view.lost_place(self.next));
            }
            if segment.is_none_or(|segment| segment >= following.first_commit.0) {
                verdict = Verdict::RemoveBefore(following.first_commit);
                break;
            }
            match view.rest_of(self.next)? {
                Rest::Gone if view.has_flow_until(self.next) => {
                    if missed.len() == READS {
                        break;
                    }
                    missed.push(self.next);
                }
                Rest::Gone => {}
                Rest::Since(since) if since <= at.until => {}
                Rest::Since(_) | Rest::Open => {
                    verdict = Verdict::Keep;
                    break;
                }
            }
            self.next = Seq(self.next.0 + 1);
        }
        have_expired(view, payloads, &missed, &mut self.gone)?;
        Ok(verdict)
    }

    /// Whether events were read and asked for their flows.
    #[cfg(test)]
    pub(super) fn has_asked(&self) -> bool {
        !self.gone.0.is_empty()
    }

    /// Events that were passed over may be open again.
    pub(super) const fn begin_anew(&mut self) {
        self.next = Seq(0);
    }

    /// What the last event before the segment of a commit tells of all of them: where nothing stands that is as old, they have
    /// expired; and mostly all of them may go when it may.
    fn glance(&mut self, following: Commit, at: Look<'_>) -> Result<Verdict, StoreError> {
        let Some(last) = self.last_before(following, at)? else { return Ok(Verdict::More) };
        if at.view.is_clear_until(last.seq) {
            return Ok(Verdict::RemoveBefore(following));
        }
        // Asked for often; one that opens again comes to rest later still.
        if last.rests > at.until.max(at.expired) {
            return Ok(Verdict::Keep);
        }
        Ok(match at.view.rest_of(last.seq)? {
            Rest::Since(since) if since > at.until => {
                self.last = Some(Last { rests: since, ..last });
                Verdict::Keep
            }
            Rest::Open => Verdict::Keep,
            // Else events that have expired would be read, which are older than all that stands.
            Rest::Gone if !at.view.knows_oldest() => Verdict::Unsure,
            Rest::Since(_) | Rest::Gone => Verdict::More,
        })
    }

    /// The last event that stands before the segment of a commit, looked for once.
    fn last_before(&mut self, following: Commit, at: Look<'_>) -> Result<Option<Last>, StoreError> {
        if let Some(last) = self.last.filter(|last| last.before == following) {
            return Ok(Some(last));
        }
        let mut segment_of = at.payloads.segments(at.view);
        let (mut low, mut high) = (self.next.0, at.view.events_stored() + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if segment_of(Seq(middle))?.is_some_and(|segment| segment < following.0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low <= at.view.events_stored() && segment_of(Seq(low))?.is_none() {
            return Err(at.view.lost_place(Seq(low)));
        }
        self.last =
            (low > self.next.0).then_some(Last { before: following, seq: Seq(low - 1), rests: Timestamp(0) });
        Ok(self.last)
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
        let mut found = self.verdict(now, until);
        if matches!(found, Ok(Verdict::Unsure)) {
            shared.view_mut()?.look_for_oldest()?;
            found = self.verdict(now, until);
        }
        match self.unless_lost(found)? {
            None | Some(Verdict::Keep | Verdict::Unsure) => Ok(false),
            Some(Verdict::More) => Ok(true),
            Some(Verdict::RemoveBefore(commit)) => {
                // What has expired should stay so after a crash, when its payloads have gone. Where there is no room for
                // that, what makes room goes all the same: it is upkeep alone that is not synced now.
                if self.staged > self.journal.last_commit() {
                    self.sync_if_room()?;
                }
                // Readers first: none may be sent to a file that is about to go.
                let mut view = shared.view_mut()?;
                shared.payloads.set_first_segment(commit.0);
                shared.payloads.forget_places(&mut view)?;
                drop(view);
                Ok(self.journal.remove_before(commit)? > 0)
            }
        }
    }

    /// What becomes of the oldest segment.
    fn verdict(&mut self, now: Timestamp, until: Timestamp) -> Result<Verdict, StoreError> {
        let view = self.shared.view()?;
        let (payloads, journal, folded) = (&self.shared.payloads, &self.journal, self.folded);
        let expired = view.expired_until(now).unwrap_or_default();
        self.retention.look(Look { view: &view, payloads, journal, folded, until, expired })
    }

    /// What is to expire and to be forgotten next; `None` when nothing may go.
    pub(super) fn outlived(&mut self, now: Timestamp) -> Result<Option<Outlived>, StoreError> {
        if self.lost.is_some() {
            return Ok(None);
        }
        let shared = Arc::clone(&self.shared);
        let found = shared.view_mut()?.outlived(now);
        let sound = found.and_then(|mut due| {
            if let Some(ids) = due.ids.take() {
                let (view, gone) = (shared.view()?, &mut self.retention.gone);
                due.ids = Some(ids.check(READS, |seqs| have_expired(&view, &shared.payloads, seqs, gone))?);
            }
            Ok(due)
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

/// Makes sure that events without bookkeeping have none because their flows have expired.
///
/// Where the payload has gone too, an event that has expired and one whose bookkeeping is lost cannot be told apart. The
/// bookkeeping was there, or had gone with its flow, when the segment went.
fn have_expired(
    view: &View,
    payloads: &JournalPayloads,
    seqs: &[Seq],
    gone: &mut Gone,
) -> Result<(), StoreError> {
    if seqs.is_empty() {
        return Ok(());
    }
    let places = payloads.places(view, seqs)?;
    let found: Vec<_> = seqs.iter().zip(places).filter_map(|(seq, place)| Some((*seq, place?))).collect();
    let there: Vec<Seq> = found.iter().map(|(seq, _)| *seq).collect();
    let stored = match (payloads.fetch(found), seqs) {
        (Err(problem @ StoreError::Damaged { .. }), [seq]) => {
            // Nothing would be kept by keeping it.
            tracing::warn!(%problem, event = seq.0, "an event that has expired cannot be read; nothing is kept for it");
            return Ok(());
        }
        // One by one, to pass over those that cannot be read.
        (Err(StoreError::Damaged { .. }), seqs) => {
            return seqs.iter().try_for_each(|seq| have_expired(view, payloads, &[*seq], gone));
        }
        (fetched, _) => fetched?,
    };
    for (seq, stored) in there.into_iter().zip(stored) {
        let event = &stored.event;
        if gone.has(&event.flow, seq) {
            continue;
        }
        match view.trace(seq, event)? {
            Trace::Missed => return Err(view.lost_event(seq, &event.flow)),
            Trace::Gone => gone.note(&event.flow, Seq(view.events_stored())),
            Trace::Expired => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_that_has_gone_is_remembered_for_the_events_there_were_and_few_are_remembered() {
        let mut gone = Gone::default();
        gone.note("a", Seq(7));
        assert!(gone.has("a", Seq(7)) && !gone.has("a", Seq(8)) && !gone.has("b", Seq(1)));

        (1..=GONE).for_each(|n| gone.note(&n.to_string(), Seq(9)));

        assert!(gone.has(&GONE.to_string(), Seq(9)) && gone.0.len() <= GONE);
    }
}
