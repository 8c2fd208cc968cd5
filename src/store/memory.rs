//! The engine in memory: for tests, for trying things out, and as the model the durable one is held to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::reader::Shared;
use super::rows::Rows;
use super::view::{Effects, Entry, Payloads, Place, Stored, View};
use super::{Change, Commit, Features, Reader, Receipt, Seq, Store, StoreError, StoreSettings};
use crate::event::Timestamp;

/// A store that forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared<Envelopes>>,
    commit: Commit,
}

/// The payloads, by event number.
#[derive(Debug, Default)]
struct Envelopes(RwLock<BTreeMap<Seq, Stored>>);

impl MemoryStore {
    /// An empty store; of the settings the times to live and the bounds of the dedupe records count.
    ///
    /// # Errors
    /// None that can be met without a disk; the signature is that of the other engines.
    pub fn new(settings: &StoreSettings) -> Result<Self, StoreError> {
        let view = View::load(Rows::default(), settings, PathBuf::from("(memory)"))?;
        Ok(Self { shared: Shared::new(view, Envelopes::default()), commit: Commit(0) })
    }

    fn stage_all(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        let mut view = self.shared.view_mut()?;
        let commit = Commit(self.commit.0 + 1);
        let (mut receipts, mut entries) = (Vec::with_capacity(changes.len()), Vec::new());
        for change in changes.drain(..) {
            receipts.push(view.stage(&self.shared.payloads, commit, now, change, &mut entries)?);
            if !entries.is_empty() {
                self.commit = commit;
            }
            // A later change of the group may read it.
            self.shared.payloads.keep(&entries);
            entries.clear();
        }
        self.shared.set_staged(self.commit);
        self.shared.changed(view);
        Ok(receipts)
    }

    fn maintain_once(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let mut view = self.shared.view_mut()?;
        let commit = Commit(self.commit.0 + 1);
        let due = view.outlived(now)?;
        let (done, has_more) = view.upkeep(commit, now, due)?;
        self.shared.changed(view);
        if done.is_empty() {
            return Ok(has_more);
        }
        self.commit = commit;
        for (_, effects) in &done {
            self.shared.payloads.drop_expired(effects);
        }
        self.shared.set_staged(self.commit);
        Ok(has_more)
    }
}

impl Envelopes {
    fn keep(&self, entries: &[Entry]) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            if let Entry::Event(entry) = entry {
                kept.insert(entry.rest.seq, entry.stored());
            }
        }
    }

    fn drop_expired(&self, effects: &Effects) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for seq in &effects.expired {
            kept.remove(seq);
        }
    }
}

impl Payloads for Envelopes {
    fn places(&self, _view: &View, seqs: &[Seq]) -> Result<Vec<Option<Place>>, StoreError> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(seqs.iter().map(|seq| kept.get(seq).cloned().map(Place::Here)).collect())
    }

    fn fetch(&self, places: Vec<(Seq, Place)>) -> Result<Vec<Stored>, StoreError> {
        let stored = places.into_iter().filter_map(|(_, place)| match place {
            Place::Here(stored) => Some(stored),
            Place::File { .. } => None,
        });
        Ok(stored.collect())
    }

    fn first(&self, _view: &View) -> Result<Seq, StoreError> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.keys().next().copied().unwrap_or_default())
    }
}

impl Store for MemoryStore {
    fn stage(&mut self, now: Timestamp, changes: &mut Vec<Change>) -> Result<Vec<Receipt>, StoreError> {
        self.shared.check()?;
        self.stage_all(now, changes).map_err(|error| self.shared.fail(error))
    }

    fn sync(&mut self) -> Result<Commit, StoreError> {
        self.shared.check()?;
        self.shared.set_durable(self.commit);
        Ok(self.commit)
    }

    fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        self.shared.check()?;
        self.maintain_once(now).map_err(|error| self.shared.fail(error))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }

    fn features(&self) -> Features {
        Features { durable: false }
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::Engine;

    struct InMemory;

    impl Engine for InMemory {
        fn open(&mut self, settings: &StoreSettings) -> Box<dyn Store> {
            Box::new(MemoryStore::new(settings).unwrap())
        }
    }

    fn engine() -> InMemory {
        InMemory
    }

    crate::store_conformance!(engine);
}
