//! Apply: the one deterministic function from an entry to rows.
//!
//! An entry was checked when it was staged, so nothing is refused here; what does not fit is left alone,
//! the same way at every replay.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::entry::{Act, Entry, EventEntry, SettleAct};
use super::pending::{PendingRow, RowState, Standing};
use super::queue::Subscription;
use super::{EventLast, EventMore, EventRow, View, keys};
use crate::event::Timestamp;
use crate::store::{
    AttemptRecord, Commit, Deliveries, DeliveryRecord, DeliveryState, EventRecord, Novelty, Ordinal, Outcome,
    Places, Seq, StoreError, SubscriptionId, SubscriptionSpec,
};

/// Attempts kept in a delivery's history.
pub(super) const HISTORY: usize = 16;

/// What an entry did that others have to know.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Effects {
    /// Events that entered queues, with their places.
    pub(in crate::store) appended: Vec<(Seq, Places)>,
    /// The flow whose status may read differently; none where it is told otherwise, as of a new event.
    pub(in crate::store) flow: Option<String>,
    /// More such flows, of a replay.
    pub(in crate::store) flows: Vec<String>,
    /// Events whose status is gone.
    pub(in crate::store) expired: Vec<Seq>,
}

impl Effects {
    fn on_flow(flow: String) -> Self {
        Self { flow: Some(flow), ..Self::default() }
    }
}

impl View {
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<Effects, StoreError> {
        let act = match entry {
            Entry::Event(event) => {
                let appended = vec![(event.rest.seq, self.apply_event(event, Novelty::None)?)];
                return Ok(Effects { appended, ..Effects::default() });
            }
            Entry::Act(act) => &**act,
        };
        match act {
            Act::Settle(settle) => self.apply_settle(settle),
            Act::Defer { subscription, ordinal, key } => self.apply_defer(*subscription, *ordinal, key),
            Act::Effect { subscription, seq, name, value } => {
                self.apply_effect(*subscription, *seq, name, value)
            }
            Act::Progress { subscription, seq, text } => {
                self.change_delivery(*subscription, *seq, |delivery| delivery.progress = Some(text.clone()))
            }
            Act::Release(seq) => self.apply_release(*seq),
            Act::Repair(repair) => self.apply_mend(&repair.clone().into()),
            Act::Mend(mend) => self.apply_mend(mend),
            Act::Reschedule { seq, due, reason } => self.apply_reschedule(*seq, *due, reason),
            Act::Overdue { flow } => self.apply_overdue(flow),
            Act::Subscribe { id, spec, earlier } => self.apply_subscribe(*id, spec, earlier),
            Act::Orphan(id) => {
                Ok(self.change_subscription(*id, |subscription| subscription.is_orphaned = true))
            }
            Act::Pause { subscription, is_paused } => {
                Ok(self
                    .change_subscription(*subscription, |subscription| subscription.is_paused = *is_paused))
            }
            Act::Expire { flows } => {
                let (mut effects, mut gone) = (Effects::default(), Vec::new());
                for flow in flows {
                    let first = self.expiring.remove(flow).unwrap_or_default();
                    effects.expired.extend(self.expire(first, flow, &mut gone)?);
                }
                self.unlist_events(&gone)?;
                Ok(effects)
            }
            Act::Replay { replay, left } => self.apply_replay(replay, *left),
            Act::Undo { flow, undos, is_pivot } => self.apply_undo(flow, undos, *is_pivot),
            Act::GoBack { flow, by, reason } => self.apply_go_back(flow, by, reason),
            Act::Undone(flow) => self.apply_undone(flow),
            Act::GoneBack(flow) => self.apply_gone_back(flow),
            Act::StepStates { subscription, seq, before, after } => {
                self.apply_step_states(*subscription, *seq, before.as_ref(), after.as_ref())
            }
            Act::Keep { shelf, name, value } => Ok(self.apply_keep(*shelf, name, value.as_ref())),
            Act::Forget { bucket, limit, is_pressed } => self.apply_forget_v2(*bucket, *limit, *is_pressed),
            Act::ForgetIds(act) => self.apply_forget(act),
        }
    }

    /// Returns the event's places in queues. A journal does not keep what is new of it: a replay looks for its flow.
    pub(super) fn apply_event(&mut self, entry: &EventEntry, novelty: Novelty) -> Result<Places, StoreError> {
        let (event, rest) = (&entry.event, &entry.rest);
        let seq = rest.seq;
        self.head.seqs = self.head.seqs.max(seq.0);
        self.remember(entry, self.head.at);
        let routes = ascending(&rest.routes);
        let is_routed = routes.iter().any(|id| self.subscriptions.contains_key(id));
        let due = rest.due.filter(|due| *due > self.head.at && is_routed);
        let mut places = Places::with_capacity(routes.len());
        let mut deliveries = Deliveries::with_capacity(routes.len());
        for id in routes.iter().copied() {
            if !self.subscriptions.contains_key(&id) {
                continue;
            }
            let ordinal = if due.is_some() { None } else { self.enqueue(id, seq)? };
            places.extend(ordinal.map(|ordinal| (id, ordinal)));
            deliveries.push(fresh_delivery(id, ordinal, due));
        }
        if let Some(due) = due {
            self.delay(due, seq);
        }
        let open = deliveries.len() as u64;
        let first = self.add_to_flow(&event.flow, seq, open, rest.more.deadline, novelty)?;
        self.list_fact(&event.source, &event.name, seq);
        let record = EventRecord {
            seq,
            commit: self.head.commit,
            label: Arc::clone(&event.label),
            acknowledged: self.head.at,
            deliveries,
            filtered: Vec::new(),
        };
        let last = EventLast { flow: first };
        let more = EventMore { is_undo: event.is_undo(), last, ..EventMore::default() };
        let mut row = EventRow { record, due, effects: Vec::new(), more };
        self.note_unheard(&mut row, &rest.more.filtered);
        self.put_event(seq, row);
        self.list_event(seq, &event.name, &event.key)?;
        Ok(places)
    }

    fn apply_settle(&mut self, act: &SettleAct) -> Result<Effects, StoreError> {
        let (id, ordinal) = (act.subscription, act.ordinal);
        let standing = match self.read_event(act.seq)? {
            Some(event) => self.standing_of(id, ordinal, &event)?,
            None => self.standing(id, ordinal)?,
        };
        let Some(standing) = standing else { return Ok(Effects::default()) };
        let mut row = self.take_event(act.seq)?.ok_or_else(|| self.lost(&keys::event(act.seq).bytes()))?;
        let changed = Arc::make_mut(&mut row);
        let mut deliveries = changed.record.deliveries.iter_mut();
        if let Some(delivery) = deliveries.find(|delivery| delivery.subscription == id) {
            record_attempt(delivery, act, self.head.commit, self.head.at);
        }
        let (closed, died) = closing(&act.outcome);
        // A dead letter keeps them: what a person retries must not repeat the calls that were made.
        if closed {
            self.drop_effects(id, act.seq, changed)?;
        }
        let (first, flow) = (row.more.last.flow, row.record.flow.clone());
        self.put_event(act.seq, row);
        self.move_settled(act, &standing)?;
        if let Outcome::Dead { reason, error, .. } = &act.outcome {
            self.join_group(id, act.seq, ordinal, *reason, error)?;
        }
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.backlog = subscription.backlog.saturating_sub(u64::from(closed || died));
            subscription.dead += u64::from(died);
            subscription.more.settles += 1;
        }
        self.change_flow_at(first, &flow, |head| {
            head.attempts += 1;
            head.open = head.open.saturating_sub(u64::from(closed));
            head.dead += u64::from(died);
        })?;
        if let Some(state) = &act.state {
            self.rows.put(keys::state(id, &act.key).bytes(), state.value.clone());
        }
        if let Some(result) = &act.result {
            self.resolve(&flow, result.clone())?;
        }
        Ok(Effects::on_flow(flow))
    }

    fn move_settled(&mut self, act: &SettleAct, standing: &Standing) -> Result<(), StoreError> {
        let now = self.head.at;
        let (state, ready) = match &act.outcome {
            Outcome::Done | Outcome::Skipped { .. } => {
                return self.move_pending(act.subscription, act.ordinal, standing.pending.as_ref(), None);
            }
            Outcome::Retry { due, .. } | Outcome::Snooze { due } => {
                (RowState::Waiting { due: *due }, Some(*due))
            }
            Outcome::Dead { reason, parks, .. } => {
                (RowState::Dead { reason: *reason, parks: *parks, since: now }, None)
            }
        };
        let row = PendingRow { seq: act.seq, key: act.key.to_string(), state, ready };
        self.move_pending(act.subscription, act.ordinal, standing.pending.as_ref(), Some(&row))
    }

    fn apply_defer(
        &mut self,
        id: SubscriptionId,
        ordinal: Ordinal,
        key: &str,
    ) -> Result<Effects, StoreError> {
        let Some(standing) = self.standing(id, ordinal)? else { return Ok(Effects::default()) };
        let ready = standing.pending.as_ref().and_then(|row| row.ready);
        let row = PendingRow { seq: standing.seq, key: key.to_owned(), state: RowState::Deferred, ready };
        self.move_pending(id, ordinal, standing.pending.as_ref(), Some(&row))?;
        self.change_delivery(id, standing.seq, |delivery| {
            delivery.state = DeliveryState::Deferred;
            delivery.key = Some(key.into());
        })
    }

    fn apply_effect(
        &mut self,
        id: SubscriptionId,
        seq: Seq,
        name: &str,
        value: &Bytes,
    ) -> Result<Effects, StoreError> {
        let Some(mut row) = self.event_copy(seq)? else { return Ok(Effects::default()) };
        self.put(keys::effect(id, seq, name), &(name, value))?;
        let flow = row.record.flow.clone();
        if !row.effects.contains(&id) {
            row.effects.push(id);
            self.put_event(seq, row);
        }
        Ok(Effects::on_flow(flow))
    }

    pub(super) fn drop_effects(
        &mut self,
        id: SubscriptionId,
        seq: Seq,
        row: &mut EventRow,
    ) -> Result<(), StoreError> {
        if !row.effects.contains(&id) {
            return Ok(());
        }
        row.effects.retain(|other| *other != id);
        let all = keys::effects(id, seq);
        for (key, _) in self.rows.scan(&all.clone().bytes(), &all.end(), usize::MAX)? {
            self.rows.delete(key);
        }
        Ok(())
    }

    fn apply_release(&mut self, seq: Seq) -> Result<Effects, StoreError> {
        let Some(mut row) = self.event_copy(seq)? else { return Ok(Effects::default()) };
        let Some(due) = row.due.take() else { return Ok(Effects::default()) };
        self.end_delay(due, seq);
        let mut places = Places::new();
        for delivery in row.record.deliveries.iter_mut().filter(|delivery| delivery.ordinal.is_none()) {
            delivery.ordinal = self.enqueue(delivery.subscription, seq)?;
            delivery.state = DeliveryState::Ready;
            places.extend(delivery.ordinal.map(|ordinal| (delivery.subscription, ordinal)));
        }
        let (first, flow) = (row.more.last.flow, row.record.flow.clone());
        self.put_event(seq, row);
        self.change_flow_at(first, &flow, |_| {})?;
        Ok(Effects { appended: vec![(seq, places)], flow: Some(flow), ..Effects::default() })
    }

    fn apply_subscribe(
        &mut self,
        id: SubscriptionId,
        spec: &SubscriptionSpec,
        earlier: &[Seq],
    ) -> Result<Effects, StoreError> {
        self.head.subscriptions = self.head.subscriptions.max(id.0);
        let subscription = self.subscriptions.entry(id).or_default();
        subscription.name.clone_from(&spec.name);
        subscription.step.clone_from(&spec.step);
        subscription.on.clone_from(&spec.on);
        subscription.is_orphaned = false;
        for seq in earlier {
            let Some(mut row) = self.event_copy(*seq)? else { continue };
            let due = row.due;
            let ordinal = if due.is_some() { None } else { self.enqueue(id, *seq)? };
            row.record.deliveries.push(fresh_delivery(id, ordinal, due));
            self.note_heard(&mut row, id);
            let (first, flow) = (row.more.last.flow, row.record.flow.clone());
            self.put_event(*seq, row);
            self.change_flow_at(first, &flow, |head| head.open += 1)?;
        }
        Ok(Effects::default())
    }

    fn change_subscription(&mut self, id: SubscriptionId, change: impl FnOnce(&mut Subscription)) -> Effects {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            change(subscription);
        }
        Effects::default()
    }

    /// Changes the record of one delivery; the flow's version grows with it.
    pub(super) fn change_delivery(
        &mut self,
        id: SubscriptionId,
        seq: Seq,
        change: impl FnOnce(&mut DeliveryRecord),
    ) -> Result<Effects, StoreError> {
        let Some(mut row) = self.take_event(seq)? else { return Ok(Effects::default()) };
        let mut deliveries = Arc::make_mut(&mut row).record.deliveries.iter_mut();
        if let Some(delivery) = deliveries.find(|delivery| delivery.subscription == id) {
            change(delivery);
        }
        let (first, flow) = (row.more.last.flow, row.record.flow.clone());
        self.put_event(seq, row);
        self.change_flow_at(first, &flow, |_| {})?;
        Ok(Effects::on_flow(flow))
    }
}

/// Each of them once, in order; most lists are so already.
fn ascending(ids: &[SubscriptionId]) -> Cow<'_, [SubscriptionId]> {
    if ids.is_sorted_by(|a, b| a < b) {
        return Cow::Borrowed(ids);
    }
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    Cow::Owned(ids)
}

pub(super) fn fresh_delivery(
    id: SubscriptionId,
    ordinal: Option<Ordinal>,
    due: Option<Timestamp>,
) -> DeliveryRecord {
    DeliveryRecord {
        subscription: id,
        ordinal,
        state: due.map_or(DeliveryState::Ready, |due| DeliveryState::Waiting { due }),
        key: None,
        failures: 0,
        attempts: 0,
        error: None,
        progress: None,
        history: Vec::new(),
        generation: 0,
    }
}

/// Whether an outcome ends the delivery for good, and whether it makes it a dead letter.
const fn closing(outcome: &Outcome) -> (bool, bool) {
    match outcome {
        Outcome::Done | Outcome::Skipped { .. } => (true, false),
        Outcome::Retry { .. } | Outcome::Snooze { .. } => (false, false),
        Outcome::Dead { .. } => (false, true),
    }
}

fn record_attempt(delivery: &mut DeliveryRecord, act: &SettleAct, commit: Commit, at: Timestamp) {
    let (state, outcome, error, reason) = match &act.outcome {
        Outcome::Done => (DeliveryState::Done, "done", None, None),
        Outcome::Skipped { reason } => (DeliveryState::Skipped, "skipped", None, Some(reason)),
        Outcome::Retry { due, error } => (DeliveryState::Waiting { due: *due }, "retry", Some(error), None),
        Outcome::Snooze { due } => (DeliveryState::Waiting { due: *due }, "snooze", None, None),
        Outcome::Dead { reason, error, .. } => {
            (DeliveryState::Dead { reason: *reason }, "dead", Some(error), None)
        }
    };
    delivery.state = state;
    delivery.key = Some(Arc::clone(&act.key));
    delivery.attempts = delivery.attempts.saturating_add(1);
    delivery.failures = delivery.failures.saturating_add(u32::from(act.is_counted));
    if error.is_some() {
        delivery.error = error.cloned();
    }
    let attempt = AttemptRecord {
        commit,
        at,
        outcome: outcome.into(),
        error: error.or(reason).cloned(),
        waited_ms: act.waited_ms,
        ran_ms: act.ran_ms,
    };
    remember_attempt(delivery, attempt);
}

pub(super) fn remember_attempt(delivery: &mut DeliveryRecord, attempt: AttemptRecord) {
    if delivery.history.is_empty() {
        // Most deliveries have one attempt.
        delivery.history.reserve_exact(1);
    }
    delivery.history.push(attempt);
    let surplus = delivery.history.len().saturating_sub(HISTORY);
    delivery.history.drain(..surplus);
}
