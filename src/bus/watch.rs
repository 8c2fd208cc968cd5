//! Watching a flow: who polls or streams is woken when it may read differently.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use tokio::sync::watch;

/// All flows that somebody watches. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watches(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    flows: Mutex<HashMap<String, Watched>>,
}

#[derive(Debug)]
struct Watched {
    watchers: usize,
    /// Counts nothing: each watcher has its own mark of what it has seen, which a shared permit is not.
    changed: watch::Sender<()>,
}

/// One watcher of a flow; make it before reading what it watches, so that no change falls in between.
#[derive(Debug)]
pub struct Watch {
    of: Arc<Inner>,
    flow: String,
    changed: watch::Receiver<()>,
}

impl Watches {
    pub(crate) fn watch(&self, flow: &str) -> Watch {
        let mut flows = self.0.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Watched { watchers: 0, changed: watch::Sender::new(()) };
        let watched = flows.entry(flow.to_owned()).or_insert_with(new);
        watched.watchers += 1;
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Watch { of: Arc::clone(&self.0), flow: flow.to_owned(), changed: watched.changed.subscribe() }
    }

    /// Wakes those who watch `flow`. Costs one load when nobody watches anything.
    pub(crate) fn touch(&self, flow: &str) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let flows = self.0.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = flows.get(flow) {
            watched.changed.send_replace(());
        }
    }
}

impl Watch {
    /// Resolves when the flow may read differently. It may wake without a change; read again then.
    pub async fn changed(&mut self) {
        // The sender lives as long as its flow has a watcher.
        let _is_watched: bool = self.changed.changed().await.is_ok();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut flows = self.of.flows.lock().unwrap_or_else(PoisonError::into_inner);
        self.of.count.fetch_sub(1, Ordering::AcqRel);
        if let Some(watched) = flows.get_mut(&self.flow) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                flows.remove(&self.flow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_between_making_the_watch_and_waiting_is_not_missed() {
        let watches = Watches::default();
        let mut watch = watches.watch("f1");

        watches.touch("f1");

        watch.changed().await;
    }

    #[tokio::test]
    async fn every_watcher_between_two_waits_gets_the_change() {
        let watches = Watches::default();
        let mut both = [watches.watch("f1"), watches.watch("f1")];

        watches.touch("f1");

        for watch in &mut both {
            assert!(tokio::time::timeout(std::time::Duration::from_secs(5), watch.changed()).await.is_ok());
        }
    }

    #[test]
    fn a_flow_that_nobody_watches_is_forgotten() {
        let watches = Watches::default();
        let watch = watches.watch("f1");

        drop(watch);

        assert!(watches.0.flows.lock().unwrap().is_empty());
    }
}
