//! Request: what one caller wants durable, and what comes back. Most hold one change, which needs no list.

use std::ops::Deref;

use super::Reply;
use crate::activity::Busy;
use crate::store::{Change, Receipt};

/// The changes of a request, in order.
#[derive(Debug, Default)]
pub struct Changes {
    first: Option<Change>,
    more: Vec<Change>,
}

impl Changes {
    /// How many.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.first.iter().chain(&self.more)
    }

    pub(super) fn append_to(self, group: &mut Vec<Change>) {
        group.extend(self.first);
        group.extend(self.more);
    }
}

impl From<Change> for Changes {
    fn from(change: Change) -> Self {
        Self { first: Some(change), more: Vec::new() }
    }
}

impl From<Vec<Change>> for Changes {
    fn from(more: Vec<Change>) -> Self {
        Self { first: None, more }
    }
}

/// The receipts of a request, one for each change.
#[derive(Debug, Clone)]
pub enum Receipts {
    /// Of one change.
    One(Receipt),
    /// Of any number.
    Many(Vec<Receipt>),
}

impl Receipts {
    /// The next `count` of a group's.
    pub(super) fn take_from(group: &mut impl Iterator<Item = Receipt>, count: usize) -> Self {
        if count == 1
            && let Some(receipt) = group.next()
        {
            return Self::One(receipt);
        }
        Self::Many(group.take(count).collect())
    }

    /// The last; the only one of a request with one change.
    pub fn into_last(self) -> Option<Receipt> {
        match self {
            Self::One(receipt) => Some(receipt),
            Self::Many(mut receipts) => receipts.pop(),
        }
    }
}

impl Deref for Receipts {
    type Target = [Receipt];

    fn deref(&self) -> &[Receipt] {
        match self {
            Self::One(receipt) => std::slice::from_ref(receipt),
            Self::Many(receipts) => receipts,
        }
    }
}

impl IntoIterator for Receipts {
    type Item = Receipt;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Receipt>, std::vec::IntoIter<Receipt>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Self::One(receipt) => (Some(receipt), Vec::new()),
            Self::Many(receipts) => (None, receipts),
        };
        one.into_iter().chain(many)
    }
}

impl<'r> IntoIterator for &'r Receipts {
    type Item = &'r Receipt;
    type IntoIter = std::slice::Iter<'r, Receipt>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Receipt> for Receipts {
    fn from(receipt: Receipt) -> Self {
        Self::One(receipt)
    }
}

/// Changes that one caller wants durable, and whom to tell.
#[derive(Debug)]
pub struct Request {
    /// The changes, in order.
    pub changes: Changes,
    /// Told when they are durable or refused.
    pub reply: Option<Reply>,
    pub(crate) busy: Busy,
}

impl Request {
    /// What it adds to a group: its changes, and each event of a publication.
    pub fn weight(&self) -> usize {
        let weight = |change: &Change| if let Change::Publish(events) = change { events.len() } else { 1 };
        self.changes.iter().map(weight).sum()
    }
}
