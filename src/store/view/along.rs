//! Along: changes that are made when another one applies, and with it.

use super::entry::Entry;
use super::{Payloads, View};
use crate::event::Timestamp;
use crate::store::{Change, Commit, Receipt, StoreError};

impl View {
    /// A change and, when it applies, what goes along with it. The receipt is that of the change, with all
    /// that has entered queues.
    pub(super) fn stage_along(
        &mut self,
        payloads: &dyn Payloads,
        commit: Commit,
        at: Timestamp,
        change: Change,
        along: Vec<Change>,
        entries: &mut Vec<Entry>,
    ) -> Result<Receipt, StoreError> {
        let so_far = entries.len();
        let mut receipt = self.stage(payloads, commit, at, change, entries)?;
        if entries.len() == so_far {
            return Ok(receipt);
        }
        for change in along {
            let mut told = match self.stage(payloads, commit, at, change, entries)? {
                Receipt::Published { appended, .. } | Receipt::Applied { appended, .. } => appended,
                Receipt::Conflict { .. }
                | Receipt::Subscribed(_)
                | Receipt::Replayed { .. }
                | Receipt::Unreadable { .. }
                | Receipt::Stale => Vec::new(),
            };
            if let Receipt::Published { appended, .. } | Receipt::Applied { appended, .. } = &mut receipt {
                appended.append(&mut told);
            }
        }
        Ok(receipt)
    }
}
