//! Audit: which events are facts of the bus's own, the newest first.

use bytes::Bytes;

use super::{View, keys};
use crate::event::{EventName, FACT_SOURCE};
use crate::store::{EventRecord, Seq, StoreError};

impl View {
    /// Lists a new event when it is a fact.
    pub(super) fn list_fact(&mut self, source: &str, name: &EventName, seq: Seq) {
        if is_fact(source, name) {
            self.rows.put(keys::audit(seq).bytes(), Bytes::new());
        }
    }

    /// Takes an event whose status is gone off the list.
    pub(super) fn unlist_fact(&mut self, source: &str, name: &EventName, seq: Seq) {
        if is_fact(source, name) {
            self.rows.delete(keys::audit(seq).bytes());
        }
    }

    /// Up to `limit` facts before `before`, the newest first.
    pub(in crate::store) fn facts(
        &self,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<EventRecord>, StoreError> {
        let all = keys::audits();
        let start = before.map(|seq| [keys::audit(seq).bytes().as_slice(), &[0]].concat());
        let from = start.unwrap_or_else(|| all.clone().bytes());
        let mut found = Vec::new();
        for (key, _) in self.rows.scan(&from, &all.end(), limit)? {
            let Some(seq) = keys::audited(&key) else { continue };
            found.extend(self.event(seq)?);
        }
        Ok(found)
    }
}

fn is_fact(source: &str, name: &EventName) -> bool {
    source == FACT_SOURCE && name.is_reserved()
}
