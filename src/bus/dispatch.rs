//! Dispatch: tells subscriptions and watchers what a group commit holds, on the committer's thread.
//!
//! All of that is a hint: a subscription that misses one reads the store.

use std::sync::Arc;
use std::time::Duration;

use foldhash::HashMap;

use super::timers::DelayBell;
use super::watch::Watches;
use super::{Admission, Health};
use crate::clock::Clock;
use crate::committer::Listener;
use crate::delivery::{Compensations, Handed, Ports};
use crate::metrics::Metrics;
use crate::store::{Append, Reader, Receipt, StoreError, SubscriptionId};

/// The listener the bus gives its committer.
#[derive(Debug)]
pub(crate) struct Dispatch {
    pub(crate) ports: Ports,
    pub(crate) watches: Watches,
    pub(crate) delays: DelayBell,
    pub(crate) compensations: Compensations,
    pub(crate) clock: Clock,
    pub(crate) admission: Admission,
    pub(crate) reader: Arc<dyn Reader>,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
    /// What goes to whom; empty between two commits, kept for its room.
    pub(crate) batches: HashMap<SubscriptionId, Vec<Handed>>,
}

impl Listener for Dispatch {
    fn staged(&mut self, receipts: &[Receipt]) {
        if self.ports.now().values().any(|port| port.runs_ahead) {
            self.hand(receipts, true);
        }
    }

    fn durable(&mut self, receipts: &[Receipt]) {
        self.hand(receipts, false);
        let mut is_delayed = false;
        for receipt in receipts {
            for append in appended(receipt) {
                is_delayed |= append.places.is_empty();
                self.watches.touch(&append.event.flow);
                self.compensations.touch(&append.event.flow);
            }
            if let Receipt::Applied { flow: Some(flow), .. } = receipt {
                self.watches.touch(flow);
                self.compensations.touch(flow);
            }
            if let Receipt::Replayed { subscription, tail, flows, .. } = receipt {
                for flow in flows {
                    self.watches.touch(flow);
                }
                // Only the store knows which replay they belong to, so they are read from there.
                if let Some(port) = self.ports.get(subscription) {
                    port.notice(*tail);
                }
            }
        }
        if is_delayed {
            self.delays.ring();
        }
        self.observe();
    }

    fn maintained(&mut self) {
        self.observe();
    }

    fn committed(&mut self, changes: usize, took: Duration) {
        self.metrics.committed(changes, took);
    }

    fn retreated(&mut self) {
        self.health.retreated();
    }

    fn failed(&mut self, failure: &StoreError) {
        self.health.failed(failure.clone());
    }
}

impl Dispatch {
    /// Lets admission know what the disk and the checkpoint say, also when nothing is written.
    fn observe(&self) {
        let stats = self.reader.stats();
        self.admission.observe(stats.disk_free, stats.unfolded_bytes);
    }

    fn hand(&mut self, receipts: &[Receipt], ahead: bool) {
        let ports = self.ports.now();
        let ready = self.clock.now();
        for append in receipts.iter().flat_map(appended) {
            for (id, ordinal) in &append.places {
                // The place is noted in this pass and not in the other, in which the event may not be seen yet.
                if ports.get(id).is_some_and(|port| port.runs_ahead == ahead && port.note_place(*ordinal)) {
                    let event = Arc::clone(&append.event);
                    self.batches.entry(*id).or_default().push(Handed {
                        ordinal: *ordinal,
                        seq: append.seq,
                        event,
                        ready,
                    });
                }
            }
        }
        for (id, batch) in self.batches.drain() {
            if let Some(port) = ports.get(&id) {
                port.hand(batch);
            }
        }
    }
}

fn appended(receipt: &Receipt) -> &[Append] {
    match receipt {
        Receipt::Published { appended, .. }
        | Receipt::Applied { appended, .. }
        | Receipt::Replayed { appended, .. } => appended,
        Receipt::Conflict { .. } | Receipt::Subscribed(_) | Receipt::Stale | Receipt::Unreadable { .. } => {
            &[]
        }
    }
}
