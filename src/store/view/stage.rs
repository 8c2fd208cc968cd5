//! Stage: what a change means now. Repeats and what does not apply any more are found here, numbers are
//! given, and the entries that result are applied at once, so that the next change stands on them.

use std::sync::Arc;

use foldhash::HashMap;

use super::entry::{Act, Entry, EventEntry, EventRest, RestMore, SettleAct};
use super::{Payloads, View, kept};
use crate::event::{Digests, Envelope, Fingerprint, Identity, PatternSet, Timestamp};
use crate::store::{
    Append, Change, Commit, DeliveryState, Novelty, Published, Receipt, Routed, Seq, Settle, StoreError,
    SubscriptionId, SubscriptionSpec,
};

/// Event rows read at a time when a new subscription looks back.
const PAGE: usize = 256;

/// What one event of a batch turns out to be.
enum Arrival {
    Known(Seq),
    TwinOf(usize),
    New,
}

impl View {
    /// Decides and applies one change of the group `commit`; adds to `entries` what the journal has to keep of it.
    #[expect(clippy::too_many_lines, reason = "one line or two for each kind of change")]
    pub(in crate::store) fn stage(
        &mut self,
        payloads: &dyn Payloads,
        commit: Commit,
        at: Timestamp,
        change: Change,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let (before, so_far) = ((self.head.commit, self.head.at), entries.len());
        self.begin(commit, at);
        let receipt = match change {
            Change::Publish(events) => self.stage_publish(events, entries)?,
            Change::Settle(settle) => self.stage_settle(settle, entries)?,
            Change::Subscribe(spec) => self.stage_subscribe(payloads, spec, entries)?,
            Change::Attach(spec) => self.stage_attach(payloads, spec, entries)?,
            Change::Release(seq) => {
                let is_delayed = self.is_delayed(seq)?;
                self.stage_entering(payloads, seq, is_delayed.then_some(Act::Release(seq)), entries)?
            }
            Change::Reschedule { seq, due, reason } => {
                let is_delayed = self.is_delayed(seq)?;
                self.stage_act(is_delayed.then_some(Act::Reschedule { seq, due, reason }), entries)?
            }
            Change::Overdue { flow } => {
                let is_overdue = self.is_overdue(&flow)?;
                self.stage_act(is_overdue.then_some(Act::Overdue { flow }), entries)?
            }
            Change::Repair(repair) => self.stage_repair(payloads, repair, entries)?,
            Change::Defer { subscription, ordinal, key } => {
                let is_open =
                    self.standing(subscription, ordinal)?.is_some_and(|standing| !standing.is_dead());
                self.stage_act(is_open.then_some(Act::Defer { subscription, ordinal, key }), entries)?
            }
            Change::Effect { subscription, seq, name, value } => {
                let is_open = self.is_open(subscription, seq)?;
                self.stage_act(is_open.then_some(Act::Effect { subscription, seq, name, value }), entries)?
            }
            Change::Progress { subscription, seq, text } => {
                let is_open = self.is_open(subscription, seq)?;
                self.stage_act(is_open.then_some(Act::Progress { subscription, seq, text }), entries)?
            }
            Change::Orphan(id) => {
                let is_known = self.subscriptions.contains_key(&id);
                self.forget_attached(id);
                self.stage_act(is_known.then_some(Act::Orphan(id)), entries)?
            }
            Change::Compensate(act) => self.stage_compensate(act, entries)?,
            Change::With { change, facts } => {
                self.begin(before.0, before.1);
                return self.stage_with(payloads, commit, at, *change, facts, entries);
            }
            Change::Along { change, along } => {
                self.begin(before.0, before.1);
                return self.stage_along(payloads, commit, at, *change, along, entries);
            }
            Change::Keep { shelf, name, value } => {
                let fits = kept::fits(&name, value.as_ref());
                self.stage_act(fits.then_some(Act::Keep { shelf, name, value }), entries)?
            }
            Change::Replay(replay) => self.stage_replay(payloads, &replay, entries)?,
            Change::Pause { subscription, paused } => {
                let is_known = self.subscriptions.contains_key(&subscription);
                self.stage_act(is_known.then_some(Act::Pause { subscription, is_paused: paused }), entries)?
            }
        };
        if entries.len() == so_far {
            // Nothing happened, so no commit may bear this number because of it.
            self.begin(before.0, before.1);
        }
        Ok(receipt)
    }

    /// A change and, when it applies, the facts that tell of it.
    fn stage_with(
        &mut self,
        payloads: &dyn Payloads,
        commit: Commit,
        at: Timestamp,
        change: Change,
        facts: Vec<Routed>,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let so_far = entries.len();
        let mut receipt = self.stage(payloads, commit, at, change, entries)?;
        if entries.len() == so_far {
            return Ok(receipt);
        }
        let mut told = Vec::new();
        for fact in facts {
            if self.seen(fact.digests.identity)?.is_none() {
                self.append_event(fact, &mut told, entries)?;
            }
        }
        if let Receipt::Published { appended, .. }
        | Receipt::Applied { appended, .. }
        | Receipt::Replayed { appended, .. } = &mut receipt
        {
            appended.append(&mut told);
        }
        Ok(receipt)
    }

    fn stage_publish(
        &mut self,
        events: Vec<Routed>,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let arrivals = match self.arrivals(&events)? {
            Ok(arrivals) => arrivals,
            Err(index) => return Ok(Receipt::Conflict { index }),
        };
        let mut published: Vec<Published> = Vec::with_capacity(events.len());
        let new = arrivals.iter().filter(|arrival| matches!(arrival, Arrival::New)).count();
        let mut appended = Vec::with_capacity(new);
        for (routed, arrival) in events.into_iter().zip(arrivals) {
            let place = match arrival {
                Arrival::Known(seq) => self.known(seq, &routed.event.flow)?,
                // Of the same publication, whose flow may still be another one.
                Arrival::TwinOf(index) => match published.get(index).map(|twin| twin.seq) {
                    Some(seq) => self.known(seq, &routed.event.flow)?,
                    None => continue,
                },
                Arrival::New => {
                    let seq = self.append_event(routed, &mut appended, entries)?;
                    Published { seq, replayed: false, flow: None }
                }
            };
            published.push(place);
        }
        Ok(Receipt::Published { events: published, appended })
    }

    /// The place of an event that is there already, to a publisher who says that it belongs to `flow`.
    fn known(&self, seq: Seq, flow: &str) -> Result<Published, StoreError> {
        let first = self.event_row(seq)?.map(|row| row.record.flow.clone());
        Ok(Published { seq, replayed: true, flow: first.filter(|first| first != flow) })
    }

    /// What each event of a batch is; the inner error is the place of one that is another event's repeat.
    fn arrivals(&self, events: &[Routed]) -> Result<Result<Vec<Arrival>, usize>, StoreError> {
        // Most publications are of one event, which has no twin.
        let mut batch: HashMap<Identity, (Fingerprint, usize)> = HashMap::default();
        let mut arrivals = Vec::with_capacity(events.len());
        for (index, routed) in events.iter().enumerate() {
            let Digests { identity, fingerprint } = routed.digests;
            if routed.novelty != Novelty::None {
                debug_assert!(self.seen(identity)?.is_none(), "an id that is said to be new is known");
                arrivals.push(Arrival::New);
                continue;
            }
            let (known, arrival) = match batch.get(&identity) {
                Some((known, twin)) => (*known, Arrival::TwinOf(*twin)),
                None => match self.seen(identity)? {
                    Some(seen) => (seen.fingerprint, Arrival::Known(seen.seq)),
                    None => (fingerprint, Arrival::New),
                },
            };
            if known != fingerprint {
                return Ok(Err(index));
            }
            if events.len() > 1 {
                batch.entry(identity).or_insert((fingerprint, index));
            }
            arrivals.push(arrival);
        }
        Ok(Ok(arrivals))
    }

    pub(super) fn append_event(
        &mut self,
        mut routed: Routed,
        appended: &mut Vec<Append>,
        entries: &mut Vec<Entry>,
    ) -> Result<Seq, StoreError> {
        self.complete_routes(&mut routed);
        self.append_exactly(routed, appended, entries)
    }

    /// As [`View::append_event`], for an event that goes where it is routed and nowhere else.
    pub(super) fn append_exactly(
        &mut self,
        routed: Routed,
        appended: &mut Vec<Append>,
        entries: &mut Vec<Entry>,
    ) -> Result<Seq, StoreError> {
        let seq = Seq(self.head.seqs + 1);
        let bucket = self.bucket_at(self.head.at);
        let more = RestMore { deadline: routed.deadline, filtered: routed.filtered };
        let rest = EventRest { seq, at: self.head.at, bucket, routes: routed.routes, due: routed.due, more };
        let (digests, novelty) = (routed.digests, routed.novelty);
        debug_assert_eq!(digests, Digests::of(&routed.event), "the digests are another event's");
        let entry = EventEntry { event: Arc::clone(&routed.event), digests, rest };
        let places = self.apply_event(&entry, novelty)?;
        appended.push(Append { seq, event: routed.event, places });
        entries.push(Entry::Event(entry));
        Ok(seq)
    }

    fn stage_settle(&mut self, mut settle: Settle, entries: &mut Vec<Entry>) -> Result<Receipt, StoreError> {
        let standing = match self.read_event(settle.seq)? {
            Some(event) => self.standing_of(settle.subscription, settle.ordinal, &event)?,
            None => self.standing(settle.subscription, settle.ordinal)?,
        };
        let is_open = standing.is_some_and(|standing| standing.seq == settle.seq && !standing.is_dead());
        if !is_open {
            return Ok(Receipt::Stale);
        }
        let beside = [self.states_act(&settle)?, self.undo_act(&mut settle)?];
        let (act, emits) = SettleAct::split(settle);
        let mut appended = Vec::with_capacity(emits.len());
        for act in beside.into_iter().flatten() {
            let entry = Entry::Act(Box::new(act));
            self.apply(&entry)?;
            entries.push(entry);
        }
        // Before the settle, so that the flow is not at rest in between.
        for emit in emits {
            if self.seen(emit.digests.identity)?.is_none() {
                self.append_event(emit, &mut appended, entries)?;
            }
        }
        let entry = Entry::Act(Box::new(Act::Settle(act)));
        let flow = self.apply(&entry)?.flow;
        entries.push(entry);
        Ok(Receipt::Applied { commit: self.head.commit, appended, flow })
    }

    fn stage_subscribe(
        &mut self,
        payloads: &dyn Payloads,
        spec: SubscriptionSpec,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let known = self.subscriptions.iter().find(|(_, known)| known.name == spec.name).map(|(id, _)| *id);
        let (id, earlier) = match (known, spec.since) {
            (Some(id), _) => (id, Vec::new()),
            (None, Some(since)) => (self.next_subscription(), self.earlier(payloads, &spec, since)?),
            (None, None) => (self.next_subscription(), Vec::new()),
        };
        let entry = Entry::Act(Box::new(Act::Subscribe { id, spec, earlier }));
        self.apply(&entry)?;
        entries.push(entry);
        Ok(Receipt::Subscribed(id))
    }

    fn stage_attach(
        &mut self,
        payloads: &dyn Payloads,
        spec: SubscriptionSpec,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let (on, filter) = (spec.on.clone(), spec.filter.clone());
        let receipt = self.stage_subscribe(payloads, spec, entries)?;
        if let Receipt::Subscribed(id) = &receipt {
            self.note_attached(*id, &on, filter);
        }
        Ok(receipt)
    }

    fn next_subscription(&self) -> SubscriptionId {
        SubscriptionId(self.head.subscriptions.saturating_add(1))
    }

    /// Events acknowledged at `since` or later that belong to the patterns and whose payload is there.
    fn earlier(
        &self,
        payloads: &dyn Payloads,
        spec: &SubscriptionSpec,
        since: Timestamp,
    ) -> Result<Vec<Seq>, StoreError> {
        // Patterns are checked where the config is read; one that is malformed belongs to no event.
        let patterns = PatternSet::parse(&spec.on).unwrap_or_default();
        let mut found = Vec::new();
        let mut from = payloads.first(self)?;
        loop {
            let page = self.scan_events(from, Seq(u64::MAX), PAGE)?;
            let Some(last) = page.last() else { return Ok(found) };
            from = Seq(last.record.seq.0 + 1);
            for row in page {
                let matches = row.record.acknowledged >= since && patterns.matches(&row.record.name);
                // The attributes stand in the payload, which is read only where they are asked for.
                // One that cannot be read is taken: its delivery tells the damage, and nothing else stops.
                let takes = || self.payload(payloads, row.record.seq).map_or(true, |e| spec.filter.takes(&e));
                if matches && (spec.filter.is_empty() || takes()) {
                    found.push(row.record.seq);
                }
            }
        }
    }

    fn is_open(&self, id: SubscriptionId, seq: Seq) -> Result<bool, StoreError> {
        let row = self.event_row(seq)?;
        let delivery =
            row.iter().flat_map(|row| &row.record.deliveries).find(|delivery| delivery.subscription == id);
        Ok(delivery.is_some_and(|delivery| match delivery.state {
            DeliveryState::Ready | DeliveryState::Waiting { .. } | DeliveryState::Deferred => {
                delivery.ordinal.is_some()
            }
            DeliveryState::Done | DeliveryState::Skipped | DeliveryState::Dead { .. } => false,
        }))
    }

    /// An act that puts no event into a queue.
    pub(super) fn stage_act(
        &mut self,
        act: Option<Act>,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let Some(act) = act else { return Ok(Receipt::Stale) };
        let entry = Entry::Act(Box::new(act));
        let flow = self.apply(&entry)?.flow;
        entries.push(entry);
        Ok(Receipt::Applied { commit: self.head.commit, appended: Vec::new(), flow })
    }

    /// An act after which the event `seq` stands in queues. It is read before anything is changed: one that is
    /// damaged stays where it is, and holds up nothing else.
    pub(super) fn stage_entering(
        &mut self,
        payloads: &dyn Payloads,
        seq: Seq,
        act: Option<Act>,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let Some(act) = act else { return Ok(Receipt::Stale) };
        let event = match self.payload(payloads, seq) {
            Ok(event) => event,
            Err(error) => return Ok(Receipt::Unreadable { problem: error.to_string() }),
        };
        let entry = Entry::Act(Box::new(act));
        let effects = self.apply(&entry)?;
        let entered = effects.appended.into_iter();
        let appended =
            entered.map(|(seq, places)| Append { seq, event: Arc::clone(&event), places }).collect();
        entries.push(entry);
        Ok(Receipt::Applied { commit: self.head.commit, appended, flow: effects.flow })
    }

    fn payload(&self, payloads: &dyn Payloads, seq: Seq) -> Result<Arc<Envelope>, StoreError> {
        let place = payloads.place(self, seq)?.ok_or_else(|| self.lost_payload(seq))?;
        let stored = payloads.fetch(vec![(seq, place)])?;
        stored.into_iter().next().map(|stored| stored.event).ok_or_else(|| self.lost_payload(seq))
    }

    /// An event without its place in the journal: never by design.
    pub(in crate::store) fn lost_place(&self, seq: Seq) -> StoreError {
        StoreError::Damaged {
            path: self.origin.clone(),
            offset: 0,
            problem: format!("where event {} stands in the journal is lost", seq.0),
            remedy:
                "restart: it is rebuilt when the journal reaches back to the beginning; else restore a backup"
                    .to_owned(),
        }
    }

    /// An event's bookkeeping is gone while its flow is not: never by design.
    pub(in crate::store) fn lost_event(&self, seq: Seq, flow: &str) -> StoreError {
        self.lost_row(&format!("the bookkeeping of event {} is lost, its flow {flow:?} is there", seq.0))
    }

    /// A flow is gone while one of its events is not: never by design.
    pub(super) fn lost_flow(&self, seq: Seq, flow: &str) -> StoreError {
        self.lost_row(&format!("the flow {flow:?} of event {} is lost", seq.0))
    }

    /// A flow is gone while the index of those at rest has it: never by design.
    pub(super) fn lost_at_rest(&self, flow: &str) -> StoreError {
        self.lost_row(&format!("the flow {flow:?}, which is to expire, is lost"))
    }

    fn lost_row(&self, what: &str) -> StoreError {
        StoreError::Damaged {
            path: self.origin.clone(),
            offset: 0,
            problem: format!("{what}; nothing is removed from the journal"),
            remedy: "stop the server, move the folder `sled` and the file `checkpoint.mark` aside, and start: they are rebuilt when the \
                     journal reaches back to commit 1; else restore a backup"
                .to_owned(),
        }
    }

    /// An open delivery whose event is gone: never by design.
    pub(in crate::store) fn lost_payload(&self, seq: Seq) -> StoreError {
        StoreError::Damaged {
            path: self.origin.clone(),
            offset: 0,
            problem: format!("event {} is not settled, but its payload is gone", seq.0),
            remedy: "restore a backup that holds it".to_owned(),
        }
    }
}
