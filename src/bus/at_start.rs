//! What a subscription has to know when it starts, beside its queue: whether the bus is paused, which keys a
//! person has parked, and what the process before may have died of.
//!
//! It is read, and the record for the next start is written, before any actor runs.

use std::collections::HashSet;

use super::steer::{BUS_SWITCH, parked_prefix};
use crate::delivery::{AtStart, Order, SUSPECTS_MAX, Subscription, SuspectRecord, examine};
use crate::event::Timestamp;
use crate::store::{
    Change, DeliveryState, Ordinal, PendingState, Reader, Seq, Shelf, StoreError, SubscriptionId,
};

/// Parked keys read at once.
const PAGE: usize = 1_024;
/// Pending deliveries that are looked through for those that are due.
const PENDING_LOOKED: usize = 16_384;
/// Deliveries of the queue that are looked through for those that run first.
const QUEUE_LOOKED: usize = 1_024;

/// Reads what `subscription` has to know; with the change that leaves the record for the next start.
pub(super) fn at_start(
    reader: &dyn Reader,
    now: Timestamp,
    id: SubscriptionId,
    subscription: &Subscription,
) -> Result<(AtStart, Change), StoreError> {
    let name = &subscription.name;
    let parked_keys = parked_keys(reader, name)?;
    let before = reader.kept_one(Shelf::Suspect, name)?;
    let before = before.as_deref().and_then(SuspectRecord::read);
    let settles = reader.subscriptions()?.into_iter().find(|record| record.id == id);
    let settles = settles.map_or(0, |record| record.settles);
    let alone = before.as_ref().and_then(|record| record.alone);
    let untouched = match alone {
        Some((seq, attempt)) => untouched(reader, id, Seq(seq), attempt)?,
        None => None,
    };
    // What cannot be read stops this subscription alone, and its actor says so.
    let window = first_to_run(reader, now, id, subscription, &parked_keys).unwrap_or_else(|error| {
        tracing::warn!(subscription = name, %error, "cannot read what runs first");
        Vec::new()
    });
    let suspicion = examine(before, settles, &window, |_, _| untouched);
    if let Some(ordinal) = suspicion.convicted {
        tracing::error!(
            subscription = name,
            ordinal = ordinal.0,
            "the process died twice while this delivery ran alone: it becomes a dead letter"
        );
    } else if suspicion.record.accused.is_some() {
        tracing::warn!(
            subscription = name,
            ordinal = suspicion.suspects.first().map(|ordinal| ordinal.0),
            "the process died while this delivery ran alone: it runs alone once more"
        );
    } else if !suspicion.suspects.is_empty() {
        tracing::warn!(
            subscription = name,
            suspects = suspicion.suspects.len(),
            "the process has died three times with these deliveries under way: they run alone, one by one"
        );
    }
    let value = Some(suspicion.record.value());
    let change = Change::Keep { shelf: Shelf::Suspect, name: name.clone(), value };
    let bus_paused = reader.kept_one(Shelf::Bus, BUS_SWITCH)?.is_some();
    Ok((AtStart { bus_paused, parked_keys, suspicion }, change))
}

/// The place of a delivery whose attempt of this number has left no trace.
fn untouched(
    reader: &dyn Reader,
    id: SubscriptionId,
    seq: Seq,
    attempt: u32,
) -> Result<Option<Ordinal>, StoreError> {
    let Some(event) = reader.event(seq)? else { return Ok(None) };
    let delivery = event.deliveries.into_iter().find(|delivery| delivery.subscription == id);
    Ok(delivery.and_then(|delivery| match delivery.state {
        DeliveryState::Ready | DeliveryState::Waiting { .. } | DeliveryState::Deferred => {
            delivery.ordinal.filter(|_| delivery.attempts < attempt)
        }
        DeliveryState::Done | DeliveryState::Skipped | DeliveryState::Dead { .. } => None,
    }))
}

/// The deliveries that run first: the ready ones at the head of the queue, one of each key, and what is due.
fn first_to_run(
    reader: &dyn Reader,
    now: Timestamp,
    id: SubscriptionId,
    subscription: &Subscription,
    parked: &[String],
) -> Result<Vec<(Ordinal, Seq)>, StoreError> {
    let most = subscription.limits.concurrency.clamp(1, SUSPECTS_MAX / 2);
    let is_ordered = subscription.limits.order == Order::Key;
    let mut keys: HashSet<String> = parked.iter().cloned().collect();
    let mut window = Vec::new();
    for queued in reader.queue(id, Ordinal(0), QUEUE_LOOKED.max(most))? {
        if window.len() == most {
            break;
        }
        if !is_ordered || keys.insert(subscription.lane(&queued.event).key) {
            window.push((queued.ordinal, queued.seq));
        }
    }
    let (mut after, mut looked) = (Ordinal(0), 0);
    while window.len() < 2 * most && looked < PENDING_LOOKED {
        let page = reader.pending(id, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.ordinal;
        looked += page.len();
        let is_due = |state| matches!(state, PendingState::Waiting { due } if due <= now);
        let due = page.iter().filter(|pending| is_due(pending.state));
        window.extend(due.map(|pending| (pending.ordinal, pending.seq)));
    }
    window.truncate(2 * most);
    Ok(window)
}

/// The keys that a person has parked.
pub(super) fn parked_keys(reader: &dyn Reader, subscription: &str) -> Result<Vec<String>, StoreError> {
    let prefix = parked_prefix(subscription);
    let mut keys = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = reader.kept(Shelf::ParkedKey, &prefix, after.as_deref(), PAGE)?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(name, _)| name.clone());
        keys.extend(page.iter().filter_map(|(name, _)| name.strip_prefix(&prefix)).map(str::to_owned));
        if is_last {
            return Ok(keys);
        }
    }
}
