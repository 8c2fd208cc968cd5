//! The reading half of every engine that keeps a [`View`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::polled::Polled;
use super::view::{Candidate, Frozen, Payloads, Place, View};
use super::{
    AtHand, Commit, DeadGroup, DeadLetter, EventQuery, EventRecord, Fate, FlowQuery, FlowRecord, Found,
    FoundEvent, FoundFlow, GroupId, Lookup, Ordinal, OverdueFlows, Pending, Queued, Reader, Seq, Shelf,
    StepStates, StoreError, StoreStats, SubscriptionId, SubscriptionRecord, Undoing,
};
use crate::event::{Envelope, Identity, Timestamp};

/// Payload bytes after which one read of a queue stops.
const QUEUE_BYTES: usize = 1 << 20;

/// What the owner of a store and its readers share.
#[derive(Debug)]
pub(super) struct Shared<P> {
    view: RwLock<View>,
    polled: Polled,
    pub(super) payloads: P,
    staged: AtomicU64,
    durable: AtomicU64,
    failure: RwLock<Option<String>>,
    files: RwLock<FileStats>,
}

/// Figures that the engine measures beside the view.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileStats {
    pub(super) journal_bytes: u64,
    pub(super) folded: Commit,
    pub(super) disk_free: Option<u64>,
    pub(super) has_lost_rows: bool,
    pub(super) is_durable: bool,
}

impl<P: Payloads> Shared<P> {
    pub(super) fn new(view: View, payloads: P) -> Arc<Self> {
        let commit = AtomicU64::new(view.commit().0);
        let durable = AtomicU64::new(view.commit().0);
        Arc::new(Self {
            view: RwLock::new(view),
            polled: Polled::default(),
            payloads,
            staged: commit,
            durable,
            failure: RwLock::default(),
            files: RwLock::default(),
        })
    }

    /// Remembers the failure that closes the store and gives it back.
    pub(super) fn fail(&self, error: StoreError) -> StoreError {
        let mut failure = self.failure.write().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| error.to_string());
        error
    }

    /// Refuses when the store has failed before.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let failure = self.failure.read().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().map_or(Ok(()), |cause| Err(StoreError::Poisoned { cause: cause.clone() }))
    }

    /// The view, for reading.
    pub(super) fn view(&self) -> Result<RwLockReadGuard<'_, View>, StoreError> {
        self.view.read().map_err(|_| half_changed())
    }

    /// The view, for the one thread that changes it.
    pub(super) fn view_mut(&self) -> Result<RwLockWriteGuard<'_, View>, StoreError> {
        self.view.write().map_err(|_| half_changed())
    }

    /// The flow of an event where no row has to be looked for.
    fn in_memory(&self, view: &View, identity: Identity) -> Option<Arc<AtHand>> {
        if let Some(held) = view.at_hand(identity) {
            return Some(Arc::new(held));
        }
        let polled = self.polled.get(identity)?;
        // Of one that has moved since, the number at least is known: its id is folded.
        if view.is_folded(&polled) { Some(polled) } else { view.at_hand_of(polled.seq).map(Arc::new) }
    }

    /// Puts another view in the place of the one there is.
    pub(super) fn replace_view(&self, view: View) -> Result<(), StoreError> {
        let mut before = self.view_mut()?;
        self.polled.forget(|_| true);
        *before = view;
        Ok(())
    }

    /// Lets go of the view that was changed. What was polled by ids that it has forgotten goes before anybody looks.
    pub(super) fn changed(&self, mut view: RwLockWriteGuard<'_, View>) {
        self.polled.forget_ids(&view.take_forgotten());
    }

    /// Forgets the frozen rows: what is under them holds them whole. Letting go of them is left to the caller.
    pub(super) fn forget_frozen(&self) -> Result<Frozen, StoreError> {
        let mut view = self.view_mut()?;
        let frozen = view.forget_frozen();
        self.polled.forget(|flow| frozen.has_changed(flow));
        Ok(frozen)
    }

    pub(super) fn set_staged(&self, commit: Commit) {
        self.staged.store(commit.0, Ordering::Release);
    }

    pub(super) fn set_durable(&self, commit: Commit) {
        self.durable.store(commit.0, Ordering::Release);
    }

    pub(super) fn set_files(&self, files: FileStats) {
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// Reads the payloads of the candidates that `select` finds; the disk is read without the lock.
    fn queued(
        &self,
        select: impl FnOnce(&View) -> Result<Vec<Candidate>, StoreError>,
    ) -> Result<Vec<Queued>, StoreError> {
        let (candidates, places) = {
            let view = self.view()?;
            let mut candidates = select(&view)?;
            let places = self.places(&view, &mut candidates)?;
            (candidates, places)
        };
        let stored = self.payloads.fetch(places)?;
        let queued = candidates.into_iter().zip(stored).map(|(candidate, stored)| Queued {
            ordinal: candidate.ordinal,
            seq: candidate.seq,
            event: stored.event,
            ready: candidate.ready.unwrap_or(stored.ready),
            failures: candidate.failures,
            attempts: candidate.attempts,
            retried: candidate.retried,
            generation: candidate.generation,
        });
        Ok(queued.collect())
    }

    /// Where the payloads are, up to about [`QUEUE_BYTES`]; cuts the candidates to the same length.
    fn places(&self, view: &View, candidates: &mut Vec<Candidate>) -> Result<Vec<(Seq, Place)>, StoreError> {
        let seqs: Vec<Seq> = candidates.iter().map(|candidate| candidate.seq).collect();
        let mut places = Vec::with_capacity(candidates.len());
        let mut bytes = 0;
        for (seq, place) in seqs.iter().zip(self.payloads.places(view, &seqs)?) {
            if bytes >= QUEUE_BYTES {
                break;
            }
            let place = place.ok_or_else(|| view.lost_payload(*seq))?;
            bytes += match &place {
                Place::Here(stored) => stored.event.data.len(),
                Place::File(at) => at.len as usize,
            };
            places.push((*seq, place));
        }
        candidates.truncate(places.len());
        Ok(places)
    }
}

fn half_changed() -> StoreError {
    StoreError::Poisoned { cause: "a panic while the view was changed".to_owned() }
}

impl<P: Payloads> Reader for Shared<P> {
    fn staged(&self) -> Commit {
        Commit(self.staged.load(Ordering::Acquire))
    }

    fn durable(&self) -> Commit {
        Commit(self.durable.load(Ordering::Acquire))
    }

    fn subscriptions(&self) -> Result<Vec<SubscriptionRecord>, StoreError> {
        self.view()?.subscription_records()
    }

    fn find(&self, identity: Identity) -> Result<Lookup, StoreError> {
        self.view()?.find(identity)
    }

    fn at_hand(&self, identity: Identity) -> Option<Arc<AtHand>> {
        let found = self.in_memory(&*self.view.try_read().ok()?, identity)?;
        (found.flow.commit <= self.durable()).then_some(found)
    }

    fn stands(&self, identity: Identity) -> Result<Option<Arc<AtHand>>, StoreError> {
        let view = self.view()?;
        // Whoever writes may have been in the way before.
        if let Some(found) = self.in_memory(&view, identity) {
            return Ok(Some(found));
        }
        let found = view.stands(identity)?.map(Arc::new);
        // As long as the view is held for reading no checkpoint ends.
        if let Some(found) = &found {
            self.polled.keep(identity, found);
        }
        Ok(found)
    }

    fn event(&self, seq: Seq) -> Result<Option<EventRecord>, StoreError> {
        self.view()?.event(seq)
    }

    fn envelope(&self, seq: Seq) -> Result<Option<Arc<Envelope>>, StoreError> {
        let place = self.payloads.place(&*self.view()?, seq)?;
        let Some(place) = place else { return Ok(None) };
        match self.payloads.fetch(vec![(seq, place)]) {
            Ok(stored) => Ok(stored.into_iter().next().map(|stored| stored.event)),
            // Its retention ended between the two steps.
            Err(StoreError::Io { kind: std::io::ErrorKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn flow(&self, flow: &str) -> Result<Option<FlowRecord>, StoreError> {
        self.view()?.flow(flow)
    }

    fn flow_of(&self, seq: Seq) -> Result<Option<FlowRecord>, StoreError> {
        self.view()?.flow_of_event(seq)
    }

    fn queue(
        &self,
        subscription: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Queued>, StoreError> {
        self.queued(|view| view.queue(subscription, after, limit))
    }

    fn deferred(
        &self,
        subscription: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Queued>, StoreError> {
        self.queued(|view| view.deferred(subscription, key, limit))
    }

    fn pending(
        &self,
        subscription: SubscriptionId,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        self.view()?.pending(subscription, after, limit)
    }

    fn holders(
        &self,
        subscription: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        self.view()?.holders(subscription, key, limit)
    }

    fn delivery(&self, subscription: SubscriptionId, ordinal: Ordinal) -> Result<Option<Queued>, StoreError> {
        let found = self.queued(|view| Ok(view.candidate(subscription, ordinal)?.into_iter().collect()))?;
        Ok(found.into_iter().next())
    }

    fn deferred_count(
        &self,
        subscription: SubscriptionId,
        key: &str,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.view()?.deferred_count(subscription, key, limit)
    }

    fn state(&self, subscription: SubscriptionId, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.view()?.state(subscription, key)
    }

    fn step_states(&self, subscription: SubscriptionId, seq: Seq) -> Result<Vec<StepStates>, StoreError> {
        self.view()?.step_states(subscription, seq)
    }

    fn effects(&self, subscription: SubscriptionId, seq: Seq) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.view()?.effects(subscription, seq)
    }

    fn dead_letters(
        &self,
        subscription: Option<SubscriptionId>,
        after: Option<(SubscriptionId, Seq)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.view()?.dead_letters(subscription, after, limit)
    }

    fn dead_groups(
        &self,
        subscription: Option<SubscriptionId>,
        after: Option<(SubscriptionId, GroupId)>,
        limit: usize,
    ) -> Result<Vec<DeadGroup>, StoreError> {
        self.view()?.dead_groups(subscription, after, limit)
    }

    fn dead_group(&self, group: GroupId) -> Result<Option<DeadGroup>, StoreError> {
        self.view()?.dead_group(group)
    }

    fn grouped(
        &self,
        subscription: SubscriptionId,
        group: GroupId,
        after: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.view()?.grouped(subscription, group, after, limit)
    }

    fn waiting(
        &self,
        subscription: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<(Ordinal, Seq)>, StoreError> {
        self.view()?.waiting(subscription, key, after, limit)
    }

    fn count_waiting(
        &self,
        subscription: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.view()?.count_waiting(subscription, key, after, limit)
    }

    fn dead_letter(&self, subscription: SubscriptionId, seq: Seq) -> Result<Option<DeadLetter>, StoreError> {
        self.view()?.dead_letter(subscription, seq)
    }

    fn due(&self, until: Timestamp, limit: usize) -> Result<(Vec<Seq>, Option<Timestamp>), StoreError> {
        self.view()?.due(until, limit)
    }

    fn events_from(&self, from: Seq, limit: usize) -> Result<Vec<EventRecord>, StoreError> {
        self.view()?.events_from(from, limit)
    }

    fn unrouted(&self, before: Option<Seq>, limit: usize) -> Result<Vec<EventRecord>, StoreError> {
        self.view()?.unheard(None, before, limit)
    }

    fn filtered(
        &self,
        subscription: SubscriptionId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        self.view()?.unheard(Some(subscription), before, limit)
    }

    fn fates(&self, subscription: SubscriptionId, seqs: &[Seq]) -> Result<Vec<Fate>, StoreError> {
        self.view()?.fates(&self.payloads, subscription, seqs)
    }

    fn facts(&self, before: Option<Seq>, limit: usize) -> Result<Vec<EventRecord>, StoreError> {
        self.view()?.facts(before, limit)
    }

    fn overdue(&self, until: Timestamp, limit: usize) -> Result<OverdueFlows, StoreError> {
        self.view()?.overdue(until, limit)
    }

    fn kept(
        &self,
        shelf: Shelf,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.view()?.kept(shelf, prefix, after, limit)
    }

    fn kept_one(&self, shelf: Shelf, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.view()?.kept_one(shelf, name)
    }

    fn find_events(
        &self,
        query: &EventQuery,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Found<FoundEvent>, StoreError> {
        self.search_events(query, before, limit)
    }

    fn find_flows(
        &self,
        query: &FlowQuery,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Found<FoundFlow>, StoreError> {
        self.search_flows(query, before, limit)
    }

    fn undoing(&self, flow: &str) -> Result<Option<Undoing>, StoreError> {
        self.view()?.undoing(flow)
    }

    fn stats(&self) -> StoreStats {
        let files = *self.files.read().unwrap_or_else(PoisonError::into_inner);
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        StoreStats {
            events: view.events_stored(),
            unrouted: view.unrouted_total(),
            journal_bytes: files.journal_bytes,
            checkpoint_lag: if files.is_durable { view.commit().0.saturating_sub(files.folded.0) } else { 0 },
            unfolded_bytes: if files.is_durable { view.active_bytes() } else { 0 },
            disk_free: files.disk_free,
            has_lost_rows: files.has_lost_rows,
            dedupe_window_ms: view.dedupe_reach_ms(),
            delayed: view.delayed(),
            latest: view.latest(),
        }
    }
}
