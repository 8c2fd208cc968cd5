//! Items: what came of each dead letter of a job; the last ones are kept.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Job;
use crate::store::{Change, Reader, Seq, Shelf, StoreError, SubscriptionId};

/// Items of a job that are kept: the last ones.
pub(super) const ITEMS_KEPT: u64 = 10_000;

/// What came of one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobItem {
    /// Its place in the job, from 1.
    pub n: u64,
    /// The dead letter.
    pub dead_letter: String,
    /// Its event's id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub event: String,
    /// Its flow.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub flow: String,
    /// Whether it was done.
    pub done: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The name of an item on its shelf.
pub(super) fn name(job: &str, n: u64) -> String {
    format!("{}{n:012}", prefix(job))
}

/// How the names of all items of a job begin.
pub(super) fn prefix(job: &str) -> String {
    format!("{job}/")
}

/// The change that keeps an item.
pub(super) fn keep(job: &str, item: &JobItem) -> Change {
    let value = serde_json::to_vec(item).ok().map(Bytes::from);
    Change::Keep { shelf: Shelf::JobItem, name: name(job, item.n), value }
}

/// The change that forgets an item.
pub(super) fn forget(name: String) -> Change {
    Change::Keep { shelf: Shelf::JobItem, name, value: None }
}

impl Job {
    /// The letters of the last commit that turned out not to be repaired: places in the job and letters.
    pub(super) fn missed(&self, reader: &dyn Reader) -> Result<Vec<(u64, SubscriptionId, Seq)>, StoreError> {
        let mut missed = Vec::new();
        for (n, subscription, seq) in &self.open {
            if reader.kept_one(Shelf::JobItem, &name(&self.id, *n))?.is_none() {
                missed.push((*n, *subscription, *seq));
            }
        }
        Ok(missed)
    }
}
