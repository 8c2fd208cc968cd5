//! Polled: statuses that were read a moment ago.
//!
//! Whoever polls asks for the same again and again. What a checkpoint has taken is read on a thread that may block, and
//! looked for in pages that are packed; so it is kept as it was read until its flow moves. A flow that moves is held
//! decoded from then on, and that counts before this; when a checkpoint has taken it, it is forgotten here (docs/adr/0023).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashMap;

use super::{AtHand, DeliveryRecord, EventRecord};
use crate::event::Identity;

/// Bytes of statuses, about, in each of the two generations.
const BYTES: usize = 4 << 20;
/// What a status costs beside its texts.
const STATUS: usize = 512;

/// Statuses by the event that was asked for.
#[derive(Debug, Default)]
pub(super) struct Polled(Mutex<Kept>);

/// What was read last, and what was read before that. When the one is full it takes the place of the other.
#[derive(Debug, Default)]
struct Kept {
    young: HashMap<Identity, Arc<AtHand>>,
    old: HashMap<Identity, Arc<AtHand>>,
    bytes: usize,
}

impl Polled {
    /// The status of an event as it was read last.
    pub(super) fn get(&self, identity: Identity) -> Option<Arc<AtHand>> {
        let mut kept = self.lock();
        if let Some(found) = kept.young.get(&identity) {
            return Some(Arc::clone(found));
        }
        let found = kept.old.remove(&identity)?;
        kept.put(identity, Arc::clone(&found));
        Some(found)
    }

    /// Keeps a status that was read, unless it alone would push out many others.
    pub(super) fn keep(&self, identity: Identity, status: &Arc<AtHand>) {
        if weight(status) <= BYTES / 16 {
            self.lock().put(identity, Arc::clone(status));
        }
    }

    /// Forgets what was asked for by these ids: they may come again, as other events.
    pub(super) fn forget_ids(&self, ids: &[Identity]) {
        if ids.is_empty() {
            return;
        }
        let mut kept = self.lock();
        for id in ids {
            kept.old.remove(id);
            if let Some(gone) = kept.young.remove(id) {
                kept.bytes = kept.bytes.saturating_sub(weight(&gone));
            }
        }
    }

    /// Forgets the statuses of those flows.
    pub(super) fn forget(&self, is_one: impl Fn(&str) -> bool) {
        let mut kept = self.lock();
        let Kept { young, old, bytes } = &mut *kept;
        let stays = |status: &Arc<AtHand>| !status.events.first().is_some_and(|event| is_one(&event.flow));
        old.retain(|_, status| stays(status));
        young.retain(|_, status| stays(status));
        *bytes = young.values().map(|status| weight(status)).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn put(&mut self, identity: Identity, status: Arc<AtHand>) {
        if self.bytes >= BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += weight(&status);
        self.old.remove(&identity);
        if let Some(before) = self.young.insert(identity, status) {
            self.bytes = self.bytes.saturating_sub(weight(&before));
        }
    }
}

/// Bytes that a status takes, about.
fn weight(status: &AtHand) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let delivery = |delivery: &DeliveryRecord| {
        let history = delivery.history.iter().map(|attempt| size_of_val(attempt) + text(&attempt.error));
        size_of_val(delivery)
            + delivery.key.as_ref().map_or(0, |key| key.len())
            + text(&delivery.error)
            + text(&delivery.progress)
            + history.sum::<usize>()
    };
    let event = |event: &EventRecord| {
        let label = &*event.label;
        let texts =
            [&label.id, &label.source, &label.key, &label.flow].into_iter().map(String::len).sum::<usize>();
        STATUS + texts + text(&label.causation) + event.deliveries.iter().map(delivery).sum::<usize>()
    };
    let result = status.flow.result.as_ref().map_or(0, bytes::Bytes::len);
    STATUS + result + status.events.iter().map(event).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::envelope;
    use crate::store::{Commit, Deliveries, FlowRecord, Seq};

    fn status(n: u64, result: usize) -> (Identity, Arc<AtHand>) {
        let event = envelope(&format!("e{n}"));
        let record = EventRecord {
            seq: Seq(n),
            commit: Commit(n),
            label: Arc::clone(&event.label),
            acknowledged: event.time,
            deliveries: Deliveries::new(),
            filtered: Vec::new(),
        };
        let flow = FlowRecord {
            events: vec![Seq(n)],
            open: 0,
            dead: 0,
            attempts: 0,
            result: Some(vec![0; result].into()),
            commit: Commit(n),
            rest_since: None,
            deadline: None,
            overdue: None,
            compensation: None,
        };
        (event.identity(), Arc::new(AtHand { seq: Seq(n), flow, events: vec![record] }))
    }

    #[test]
    fn what_is_asked_for_stays_and_what_is_not_goes_and_the_room_is_bounded() {
        let (polled, (asked, first)) = (Polled::default(), status(0, 1_000));
        polled.keep(asked, &first);

        for n in 1..50_000 {
            let (identity, status) = status(n, 1_000);
            polled.keep(identity, &status);
            assert_eq!(polled.get(asked).as_ref(), Some(&first), "asked for all the time");
        }

        assert!(polled.get(status(1, 0).0).is_none());
        assert!(polled.get(status(49_999, 0).0).is_some());
        let kept = polled.lock();
        let bytes: usize = kept.young.values().chain(kept.old.values()).map(|status| weight(status)).sum();
        assert!(bytes <= 2 * BYTES + 2_048, "{bytes}");
        assert_eq!(kept.bytes, kept.young.values().map(|status| weight(status)).sum::<usize>());
    }

    #[test]
    fn a_very_large_one_is_not_kept() {
        let (polled, (identity, large)) = (Polled::default(), status(1, BYTES));
        polled.keep(identity, &large);
        assert!(polled.get(identity).is_none());
    }

    #[test]
    fn what_was_asked_for_by_an_id_that_is_forgotten_goes_with_it() {
        let (polled, (a, one), (b, other)) = (Polled::default(), status(1, 0), status(2, 0));
        polled.keep(a, &one);
        polled.keep(b, &other);

        polled.forget_ids(&[a]);

        assert_eq!((polled.get(a), polled.get(b).as_ref()), (None, Some(&other)));
        assert_eq!(polled.lock().bytes, weight(&other));
    }

    #[test]
    fn those_of_flows_that_have_moved_are_forgotten_whatever_their_generation() {
        let polled = Polled::default();
        let all: Vec<_> = (0..6_000).map(|n| status(n, 1_000)).collect();
        for (identity, status) in &all {
            polled.keep(*identity, status);
        }
        let last = all.len() - 1;
        assert!(!polled.lock().old.is_empty());

        polled.forget(|flow| flow != format!("flow-e{last}"));

        let left: Vec<_> = all.iter().filter(|(identity, _)| polled.get(*identity).is_some()).collect();
        assert_eq!(left, [&all[last]]);
        assert_eq!(polled.lock().bytes, weight(&all[last].1));
    }
}
