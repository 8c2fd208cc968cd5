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
    ) -> Result<(Receipt, Vec<Entry>), StoreError> {
        let (mut receipt, mut entries) = self.stage(payloads, commit, at, change)?;
        if entries.is_empty() {
            return Ok((receipt, entries));
        }
        for change in along {
            let (other, more) = self.stage(payloads, commit, at, change)?;
            entries.extend(more);
            let mut told = match other {
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
        Ok((receipt, entries))
    }
}
