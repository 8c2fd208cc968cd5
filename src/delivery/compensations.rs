//! Compensations: the flows that are being undone, as subscriptions see them.
//!
//! A delivery of such a flow runs no code unless it belongs to the undoing. Who adds a flow looks afterwards
//! which attempts run; an attempt is noted as running before it looks here. So none is missed by both.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::activity::{Activity, Busy};
use crate::event::Envelope;

/// The flows that are being undone, and which of them want to be looked at. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compensations(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many there are: nearly always none, and then looking costs one load.
    count: AtomicUsize,
    flows: Mutex<HashSet<String>>,
    touched: Mutex<Touched>,
    bell: Notify,
    activity: Activity,
}

#[derive(Debug, Default)]
struct Touched {
    flows: BTreeSet<String>,
    busy: Option<Busy>,
}

impl Compensations {
    pub(crate) fn new(activity: Activity) -> Self {
        Self(Arc::new(Inner { activity, ..Inner::default() }))
    }

    /// A flow is being undone from now on.
    pub(crate) fn begin(&self, flow: &str) {
        let mut flows = lock(&self.0.flows);
        flows.insert(flow.to_owned());
        self.0.count.store(flows.len(), Ordering::Release);
        drop(flows);
        self.touch(flow);
    }

    /// Its deliveries may run again.
    pub(crate) fn end(&self, flow: &str) {
        let mut flows = lock(&self.0.flows);
        flows.remove(flow);
        self.0.count.store(flows.len(), Ordering::Release);
    }

    /// Whether this event's delivery must not run.
    pub(crate) fn hold(&self, event: &Envelope) -> bool {
        self.has(&event.flow) && !event.is_undo()
    }

    /// Something of the flow may have changed.
    pub(crate) fn touch(&self, flow: &str) {
        if !self.has(flow) {
            return;
        }
        let mut touched = lock(&self.0.touched);
        touched.flows.insert(flow.to_owned());
        touched.busy.get_or_insert_with(|| self.0.activity.begin());
        drop(touched);
        self.0.bell.notify_one();
    }

    /// Waits until a flow was touched; takes up to `limit` of them.
    pub(crate) async fn touched(&self, limit: usize) -> (Vec<String>, Option<Busy>) {
        loop {
            let taken = self.take(limit);
            if !taken.0.is_empty() {
                return taken;
            }
            self.0.bell.notified().await;
        }
    }

    fn take(&self, limit: usize) -> (Vec<String>, Option<Busy>) {
        let mut touched = lock(&self.0.touched);
        let mut flows = Vec::new();
        while flows.len() < limit
            && let Some(flow) = touched.flows.pop_first()
        {
            flows.push(flow);
        }
        // The rest is in hand as well.
        let busy = if touched.flows.is_empty() { touched.busy.take() } else { Some(self.0.activity.begin()) };
        (flows, busy)
    }

    fn has(&self, flow: &str) -> bool {
        self.0.count.load(Ordering::Acquire) > 0 && lock(&self.0.flows).contains(flow)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::COMPENSATION;

    #[test]
    fn a_flow_on_its_way_back_holds_all_but_what_undoes_it() {
        let flows = Compensations::default();
        let mut event = crate::store::conformance::envelope("e1");
        assert!(!flows.hold(&event));

        flows.begin(&event.flow);

        assert!(flows.hold(&event));
        event.extensions.insert(COMPENSATION.to_owned(), "1".to_owned());
        assert!(!flows.hold(&event));
        event.extensions.clear();
        flows.end(&event.flow);
        assert!(!flows.hold(&event));
    }

    #[tokio::test]
    async fn only_flows_on_their_way_back_are_touched_and_each_once() {
        let activity = Activity::default();
        let flows = Compensations::new(activity.clone());
        flows.begin("b");
        flows.begin("a");

        for flow in ["a", "c", "a"] {
            flows.touch(flow);
        }

        let (first, busy) = flows.touched(1).await;
        assert_eq!(first, ["a"]);
        drop(busy);
        assert_eq!(activity.in_hand(), 1, "the other one is in hand");
        assert_eq!(flows.touched(9).await.0, ["b"]);
        assert_eq!(activity.in_hand(), 0);
    }
}
