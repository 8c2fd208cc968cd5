//! Slot: sled as everybody reaches it, so that it can be closed and opened anew under them.
//!
//! What sled has failed to write once it remembers, and takes nothing more until it is opened anew. After a full disk
//! that is no reason to end a process: what it has lost stands in a fold file and in the journal.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use super::base::SledBase;
use crate::store::StoreError;
use crate::store::rows::{Base, Row};

/// The place of an open sled.
#[derive(Debug)]
pub(super) struct BaseSlot(RwLock<Option<Arc<SledBase>>>);

impl BaseSlot {
    pub(super) fn new(base: SledBase) -> Self {
        Self(RwLock::new(Some(Arc::new(base))))
    }

    /// sled as it is open now. Let go of it soon: nobody can open it anew before.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] when it could not be opened anew.
    pub(super) fn now(&self) -> Result<Arc<SledBase>, StoreError> {
        self.with(|base| Ok(Arc::clone(base)))
    }

    /// Asks sled as it is open now; who opens it anew waits for the answer.
    fn with<T>(&self, ask: impl FnOnce(&Arc<SledBase>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some(base) => ask(base),
            None => Err(StoreError::Poisoned { cause: "sled could not be opened anew".to_owned() }),
        }
    }

    /// Closes sled and opens it anew, as a start would find it; those who ask for a row meanwhile wait. `false` while somebody
    /// has it ([`BaseSlot::now`]): then it is as it was.
    ///
    /// # Errors
    /// As [`SledBase::open`]; then nothing can be read any more.
    pub(super) fn reopen(&self) -> Result<bool, StoreError> {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match held.take().map(Arc::try_unwrap) {
            Some(Ok(alone)) => *held = Some(Arc::new(alone.reopen()?)),
            Some(Err(in_use)) => {
                *held = Some(in_use);
                return Ok(false);
            }
            None => {}
        }
        Ok(held.is_some())
    }
}

impl Base for BaseSlot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.with(|base| base.get(key))
    }

    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.with(|base| base.scan(from, to, limit))
    }
}
