//! From what the store records to what people read.

use bytes::Bytes;
use serde_json::value::RawValue;

use super::handle::Inner;
use super::view::{
    AttemptView, BreakerView, DeadGroupView, DeadLetterView, DeliveryStatus, DeliveryView, FlowStatus,
    SubscriptionView, WaitingView,
};
pub(super) use crate::delivery::facts::dead_letter_id;
use crate::delivery::{BreakerState, Holder, Port};
use crate::event::{Filter, Timestamp};
use crate::store::{
    AttemptRecord, CompensationState, DeadGroup, DeadLetter, DeadReason, DeliveryRecord, DeliveryState,
    EventRecord, FlowRecord, Seq, SubscriptionRecord,
};

/// Where a flow stands (DESIGN 11).
pub(super) fn flow_status(inner: &Inner, flow: &FlowRecord, events: &[EventRecord]) -> FlowStatus {
    match flow.compensation.as_ref() {
        Some(back) if back.is_stuck() => return FlowStatus::Stuck,
        Some(back) if back.state == CompensationState::Undoing => return FlowStatus::Compensating,
        Some(back) if back.state == CompensationState::Done => return FlowStatus::Compensated,
        Some(_) | None => {}
    }
    if flow.result.is_some() || flow.open == 0 {
        return FlowStatus::Done;
    }
    let states = || {
        let deliveries = events.iter().flat_map(|event| event.deliveries.iter().map(move |d| (event.seq, d)));
        deliveries.map(|(seq, delivery)| delivery_status(inner, seq, delivery))
    };
    let moves = |state: DeliveryStatus| {
        matches!(state, DeliveryStatus::Ready | DeliveryStatus::Inflight | DeliveryStatus::Waiting)
    };
    let waits = |state: DeliveryStatus| matches!(state, DeliveryStatus::Dead | DeliveryStatus::Parked);
    // Failed is said when all that is open was seen to wait for a person, never for want of what moves: of a
    // huge flow not all events are looked into.
    let waiting = states().filter(|state| waits(*state)).count() as u64;
    if waiting > 0 && waiting >= flow.open && !states().any(moves) {
        FlowStatus::Failed
    } else if flow.attempts > 0 || states().any(|state| state == DeliveryStatus::Inflight) {
        FlowStatus::Processing
    } else {
        FlowStatus::Accepted
    }
}

fn delivery_status(inner: &Inner, seq: Seq, delivery: &DeliveryRecord) -> DeliveryStatus {
    let port = inner.ports.get(&delivery.subscription);
    match &delivery.state {
        DeliveryState::Done => DeliveryStatus::Done,
        DeliveryState::Skipped => DeliveryStatus::Skipped,
        DeliveryState::Dead { .. } => DeliveryStatus::Dead,
        DeliveryState::Ready | DeliveryState::Deferred | DeliveryState::Waiting { .. } => {
            if port.as_ref().is_some_and(|port| port.running(seq).is_some()) {
                return DeliveryStatus::Inflight;
            }
            let key = delivery.key.as_deref();
            let holder = port.as_ref().zip(key).and_then(|(port, key)| port.holder_of(key));
            // What waits for its time behind a dead letter moves by itself first; nothing does by hand.
            if matches!(delivery.state, DeliveryState::Waiting { .. }) && holder != Some(Holder::Hand) {
                DeliveryStatus::Waiting
            } else if holder.is_some() {
                DeliveryStatus::Parked
            } else if port.is_some_and(|port| port.look().breaker != BreakerState::Closed) {
                DeliveryStatus::Waiting
            } else {
                DeliveryStatus::Ready
            }
        }
    }
}

/// One delivery; with its attempts when `with_history`.
pub(super) fn delivery_view(
    inner: &Inner,
    seq: Seq,
    delivery: &DeliveryRecord,
    with_history: bool,
) -> DeliveryView {
    let state = delivery_status(inner, seq, delivery);
    let running = inner.ports.get(&delivery.subscription).and_then(|port| port.running(seq));
    let due = if let DeliveryState::Waiting { due } = delivery.state
        && state == DeliveryStatus::Waiting
    {
        Some(timestamp(due))
    } else {
        None
    };
    let history = if with_history { delivery.history.iter().map(attempt_view).collect() } else { Vec::new() };
    DeliveryView {
        subscription: inner.name_of(delivery.subscription),
        state,
        attempts: running.unwrap_or(0).max(delivery.attempts),
        error: delivery.error.clone(),
        due,
        progress: delivery.progress.clone(),
        generation: delivery.generation,
        history,
        key: delivery.key.as_deref().map(str::to_owned),
        key_state: None,
    }
}

fn attempt_view(attempt: &AttemptRecord) -> AttemptView {
    AttemptView {
        commit: attempt.commit.0,
        at: timestamp(attempt.at),
        outcome: attempt.outcome.to_string(),
        error: attempt.error.clone(),
        waited_ms: attempt.waited_ms,
        ran_ms: attempt.ran_ms,
        states: None,
    }
}

/// A dead letter as people read it.
pub(super) fn dead_letter_view(inner: &Inner, letter: DeadLetter) -> DeadLetterView {
    let subscription = inner.name_of(letter.subscription);
    let own = letter.event.deliveries.iter().find(|d| d.subscription == letter.subscription);
    DeadLetterView {
        id: dead_letter_id(&subscription, letter.seq),
        history: own.map(|d| d.history.iter().map(attempt_view).collect()).unwrap_or_default(),
        event: letter.event.id.clone(),
        source: letter.event.source.clone(),
        name: letter.event.name.to_string(),
        flow: letter.event.flow.clone(),
        subscription,
        key: letter.key,
        reason: reason(letter.reason).to_owned(),
        attempts: letter.attempts,
        error: letter.error,
        since: timestamp(letter.since),
        group: letter.group.to_string(),
        parks: letter.parks,
        behind: None,
        data: None,
    }
}

/// A group of dead letters as people read it.
pub(super) fn dead_group_view(inner: &Inner, group: DeadGroup) -> DeadGroupView {
    let subscription = inner.name_of(group.subscription);
    DeadGroupView {
        group: group.group.to_string(),
        sample: dead_letter_id(&subscription, group.sample),
        subscription,
        reason: reason(group.reason).to_owned(),
        message: group.message,
        count: group.count,
        first: timestamp(group.first),
        last: timestamp(group.last),
    }
}

/// What waits behind a dead letter, as people read it.
pub(super) fn waiting_view(event: &EventRecord) -> WaitingView {
    WaitingView {
        seq: event.seq.0,
        event: event.id.clone(),
        source: event.source.clone(),
        name: event.name.to_string(),
        flow: event.flow.clone(),
        since: timestamp(event.acknowledged),
    }
}

pub(super) fn reason(reason: DeadReason) -> &'static str {
    reason.as_str()
}

/// A subscription as people read it.
pub(super) fn subscription_view(
    record: SubscriptionRecord,
    port: Option<&Port>,
    filter: Option<&Filter>,
    is_bus_paused: bool,
    now: Timestamp,
) -> SubscriptionView {
    let state = if record.orphaned {
        "orphaned"
    } else if record.paused || is_bus_paused {
        "paused"
    } else if port.is_none_or(Port::is_broken) {
        "broken"
    } else {
        "running"
    };
    SubscriptionView {
        name: record.name,
        step: record.step,
        on: record.on,
        filter: filter.map(|filter| filter.attributes().clone()).unwrap_or_default(),
        state: state.to_owned(),
        backlog: record.backlog,
        inflight: port.map_or(0, |port| port.inflight() as u64),
        dead: record.dead,
        oldest_seconds: record.oldest.map_or(0, |oldest| now.millis_since(oldest) / 1_000),
        filtered: record.filtered,
        replays: record.generation,
        breaker: port.and_then(|port| breaker_view(port.look().breaker)),
    }
}

fn breaker_view(state: BreakerState) -> Option<BreakerView> {
    let until = match state {
        BreakerState::Closed => return None,
        BreakerState::Open { until } => Some(timestamp(until)),
        BreakerState::HalfOpen => None,
    };
    Some(BreakerView { state: state.word().to_owned(), until })
}

/// RFC 3339 in UTC.
pub(super) fn timestamp(at: Timestamp) -> String {
    at.to_string()
}

/// Stored JSON as JSON.
pub(super) fn raw(json: &Bytes) -> Option<Box<RawValue>> {
    serde_json::from_slice(json).ok()
}
