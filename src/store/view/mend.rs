//! Mend: what a person does about a dead letter.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::smallvec;

use super::apply::{fresh_delivery, remember_attempt};
use super::entry::{Act, Entry};
use super::pending::{PendingRow, RowState};
use super::{Effects, Payloads, View};
use crate::event::Timestamp;
use crate::store::{
    AttemptRecord, DeliveryRecord, DeliveryState, Ordinal, Receipt, Repair, RepairAct, Routed, Seq,
    StoreError, SubscriptionId,
};

/// A repair as version 1 wrote it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct RepairV1 {
    subscription: SubscriptionId,
    seq: Seq,
    retry: bool,
    reason: String,
}

/// A repair without the events that it brought: they are entries of their own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::store) struct MendAct {
    subscription: SubscriptionId,
    seq: Seq,
    how: Mend,
    reason: String,
    by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Mend {
    Retry { due: Option<Timestamp> },
    Skip,
    Done { result: Option<Bytes> },
    Supersede { id: String, seq: Seq, in_place: bool },
}

impl From<RepairV1> for MendAct {
    fn from(old: RepairV1) -> Self {
        let how = if old.retry { Mend::Retry { due: None } } else { Mend::Skip };
        Self { subscription: old.subscription, seq: old.seq, how, reason: old.reason, by: String::new() }
    }
}

impl MendAct {
    /// What the timeline says of it: the reason, and who gave it.
    fn note(&self) -> String {
        match (self.reason.as_str(), self.by.as_str()) {
            (reason, "") => reason.to_owned(),
            ("", by) => format!("by {by}"),
            (reason, by) => format!("{reason} (by {by})"),
        }
    }

    /// The delivery's state, and the word for the timeline.
    fn outcome(&self) -> (DeliveryState, Cow<'static, str>) {
        match &self.how {
            Mend::Retry { due: None } => (DeliveryState::Ready, "retried".into()),
            Mend::Retry { due: Some(due) } => {
                (DeliveryState::Waiting { due: *due }, format!("retried, not before {due}").into())
            }
            Mend::Skip => (DeliveryState::Skipped, "skipped by hand".into()),
            Mend::Done { .. } => (DeliveryState::Done, "done by hand".into()),
            Mend::Supersede { id, .. } => (DeliveryState::Skipped, format!("superseded by {id}").into()),
        }
    }

    /// The row that the place of the dead letter has from now on, if something waits there.
    fn row(&self, old: &PendingRow, now: Timestamp) -> Option<PendingRow> {
        let (seq, state, ready) = match &self.how {
            Mend::Retry { due: None } => (old.seq, RowState::Repaired, now),
            Mend::Retry { due: Some(due) } => (old.seq, RowState::Waiting { due: *due }, *due),
            Mend::Supersede { seq, in_place: true, .. } => (*seq, RowState::Repaired, now),
            Mend::Skip | Mend::Done { .. } | Mend::Supersede { in_place: false, .. } => return None,
        };
        Some(PendingRow { seq, state, ready: Some(ready), key: old.key.clone() })
    }
}

impl View {
    /// Decides and applies a repair.
    pub(super) fn stage_repair(
        &mut self,
        payloads: &dyn Payloads,
        repair: Repair,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let Repair { subscription, seq, act, reason, by } = repair;
        if self.dead_ordinal(subscription, seq)?.is_none() {
            return Ok(Receipt::Stale);
        }
        let mend = |how| MendAct { subscription, seq, how, reason, by };
        match act {
            RepairAct::Retry { due } => {
                self.stage_entering(payloads, seq, Some(Act::Mend(mend(Mend::Retry { due }))), entries)
            }
            RepairAct::Skip => self.stage_act(Some(Act::Mend(mend(Mend::Skip))), entries),
            RepairAct::Done { emits, result } => self.stage_done(emits, mend(Mend::Done { result }), entries),
            RepairAct::Supersede { event, in_place } => {
                if self.seen(event.digests.identity)?.is_some() {
                    return Ok(Receipt::Stale);
                }
                let new = Seq(self.head.seqs + 1);
                let how = Mend::Supersede { id: event.event.id.clone(), seq: new, in_place };
                let routes = if in_place { Vec::new() } else { vec![subscription] };
                self.stage_supersede(Routed { routes, ..*event }, mend(how), entries)
            }
        }
    }

    fn stage_done(
        &mut self,
        emits: Vec<Routed>,
        act: MendAct,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let mut appended = Vec::new();
        // Before the act, so that the flow is not at rest in between.
        for emit in emits {
            if self.seen(emit.digests.identity)?.is_none() {
                self.append_event(emit, &mut appended, entries)?;
            }
        }
        let entry = Entry::Act(Box::new(Act::Mend(act)));
        let flow = self.apply(&entry)?.flow;
        entries.push(entry);
        Ok(Receipt::Applied { commit: self.head.commit, appended, flow })
    }

    fn stage_supersede(
        &mut self,
        event: Routed,
        act: MendAct,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let mut appended = Vec::new();
        self.append_exactly(event, &mut appended, entries)?;
        let entry = Entry::Act(Box::new(Act::Mend(act)));
        let effects = self.apply(&entry)?;
        entries.push(entry);
        // In place the event enters a queue only now.
        for (seq, places) in effects.appended {
            if let Some(append) = appended.iter_mut().find(|append| append.seq == seq) {
                append.places = places;
            }
        }
        Ok(Receipt::Applied { commit: self.head.commit, appended, flow: effects.flow })
    }

    pub(super) fn apply_mend(&mut self, act: &MendAct) -> Result<Effects, StoreError> {
        let (id, seq) = (act.subscription, act.seq);
        let Some(ordinal) = self.dead_ordinal(id, seq)? else { return Ok(Effects::default()) };
        let Some(old) = self.standing(id, ordinal)?.and_then(|standing| standing.pending) else {
            return Ok(Effects::default());
        };
        let is_retry = matches!(act.how, Mend::Retry { .. });
        self.leave_group(id, seq)?;
        if !is_retry && let Some(mut event) = self.event_copy(seq)? {
            self.drop_effects(id, seq, &mut event)?;
            self.put_event(seq, event);
        }
        let row = act.row(&old, self.head.at);
        self.move_pending(id, ordinal, Some(&old), row.as_ref())?;
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.dead = subscription.dead.saturating_sub(1);
            subscription.backlog += u64::from(row.is_some());
        }
        if let Some(row) = row.as_ref().filter(|row| row.seq != seq) {
            self.take_place(id, ordinal, row)?;
        }
        let mut effects = self.note_mend(act)?;
        if let Some(flow) = effects.flow.clone() {
            self.change_flow(&flow, |head| {
                head.dead = head.dead.saturating_sub(1);
                // What takes its place is open, and of the same flow.
                head.open = head.open.saturating_sub(u64::from(row.is_none()));
            })?;
            if let Mend::Done { result: Some(result) } = &act.how {
                self.resolve(&flow, result.clone())?;
            }
        }
        let is_ready = |row: &&PendingRow| row.state == RowState::Repaired;
        effects.appended.extend(row.as_ref().filter(is_ready).map(|row| (row.seq, smallvec![(id, ordinal)])));
        Ok(effects)
    }

    /// Gives an event that supersedes another one its delivery.
    fn take_place(
        &mut self,
        id: SubscriptionId,
        ordinal: Ordinal,
        row: &PendingRow,
    ) -> Result<(), StoreError> {
        let Some(mut event) = self.event_copy(row.seq)? else { return Ok(()) };
        let delivery = fresh_delivery(id, Some(ordinal), None);
        event.record.deliveries.push(DeliveryRecord { key: Some(row.key.as_str().into()), ..delivery });
        // It was stored without a route, to be given one here.
        self.note_heard(&mut event, id);
        self.head.more.unrouted = self.head.more.unrouted.saturating_sub(1);
        self.put_event(row.seq, event);
        Ok(())
    }

    fn note_mend(&mut self, act: &MendAct) -> Result<Effects, StoreError> {
        let (commit, at) = (self.head.commit, self.head.at);
        let (state, outcome) = act.outcome();
        self.change_delivery(act.subscription, act.seq, |delivery| {
            if matches!(act.how, Mend::Retry { .. }) {
                delivery.failures = 0;
            }
            delivery.state = state;
            let error = Some(act.note());
            let attempt = AttemptRecord { commit, at, outcome, error, waited_ms: 0, ran_ms: 0 };
            remember_attempt(delivery, attempt);
        })
    }

    /// Up to `limit` deferred deliveries of `key` over `after`, in order.
    pub(in crate::store) fn waiting(
        &self,
        id: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<Vec<(Ordinal, Seq)>, StoreError> {
        let mut found = Vec::new();
        for ordinal in self.deferred_after(id, key, after, limit)? {
            found.extend(self.standing(id, ordinal)?.map(|standing| (ordinal, standing.seq)));
        }
        Ok(found)
    }

    /// How many of them there are, up to `limit`.
    pub(in crate::store) fn count_waiting(
        &self,
        id: SubscriptionId,
        key: &str,
        after: Ordinal,
        limit: usize,
    ) -> Result<usize, StoreError> {
        Ok(self.deferred_after(id, key, after, limit)?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::view::entry::{EventEntry, EventRest, RestMore};
    use crate::store::view::{Subscription, keys};
    use crate::store::{DeadReason, StoreSettings};

    /// A view with one dead letter, as version 1 has written it: in no group.
    fn one_dead() -> View {
        let rows = crate::store::rows::Rows::default();
        let mut view = View::load(rows, &StoreSettings::default(), "here".into()).unwrap();
        let id = SubscriptionId(1);
        let mut subscription = Subscription::default();
        subscription.dead = 1;
        view.subscriptions.insert(id, subscription);
        let envelope = crate::store::conformance::envelope("e1");
        let rest = EventRest {
            seq: Seq(1),
            at: Timestamp(5),
            bucket: 0,
            routes: vec![id],
            due: None,
            more: RestMore::default(),
        };
        view.begin(crate::store::Commit(1), Timestamp(5));
        view.apply(&Entry::Event(EventEntry::new(std::sync::Arc::new(envelope), rest))).unwrap();
        let state = RowState::Dead { reason: DeadReason::Fatal, parks: true, since: Timestamp(9) };
        let row = PendingRow { seq: Seq(1), key: "k".to_owned(), state, ready: None };
        view.move_pending(id, Ordinal(1), None, Some(&row)).unwrap();
        view.change_delivery(id, Seq(1), |delivery| {
            delivery.state = DeliveryState::Dead { reason: DeadReason::Fatal };
            delivery.error = Some("order 7 is lost".to_owned());
        })
        .unwrap();
        view.change_flow("flow-e1", |head| head.dead = 1).unwrap();
        view
    }

    #[test]
    fn repairs_of_version_1_read_and_apply_as_they_did() {
        // The kind, the variant, subscription, event, retry or not, and the reason.
        for (is_retry, state) in [(1, DeliveryState::Ready), (0, DeliveryState::Skipped)] {
            let bytes = [2, 5, 1, 1, is_retry, 3, b'w', b'h', b'y'];
            let entry = Entry::decode(&bytes).unwrap();
            let mut view = one_dead();

            view.apply(&entry).unwrap();

            let delivery = view.event(Seq(1)).unwrap().unwrap().deliveries.remove(0);
            assert_eq!((&delivery.state, delivery.history[0].error.as_deref()), (&state, Some("why")));
            assert_eq!(view.dead_letters(None, None, 9).unwrap(), []);
            assert_eq!(view.subscription_records().unwrap().remove(0).dead, 0);
            assert_eq!(view.dead_groups(None, None, 9).unwrap(), [], "nothing is counted below zero");
        }
    }

    #[test]
    fn dead_letters_of_version_1_get_their_groups_when_the_store_is_opened() {
        let mut view = one_dead();
        let alone = view.dead_letter(SubscriptionId(1), Seq(1)).unwrap().unwrap();
        assert_eq!(view.dead_groups(None, None, 9).unwrap(), []);

        view.head.more.is_grouped = false;
        view.group_all().unwrap();
        view.group_all().unwrap();

        let group = view.dead_groups(None, None, 9).unwrap().remove(0);
        assert_eq!((group.group, group.count, group.sample), (alone.group, 1, Seq(1)));
        assert_eq!(
            (group.message.as_str(), group.first, group.last),
            ("order # is lost", Timestamp(9), Timestamp(9))
        );
        assert_eq!(view.grouped(SubscriptionId(1), group.group, None, 9).unwrap(), [alone]);
        view.apply(&Entry::decode(&[2, 5, 1, 1, 0, 0]).unwrap()).unwrap();
        assert_eq!(view.dead_groups(None, None, 9).unwrap(), []);
        assert!(view.rows.get(&keys::dead(SubscriptionId(1), Seq(1)).bytes()).unwrap().is_none());
    }
}
