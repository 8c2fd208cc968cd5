//! What the process may have died of: it runs alone, so that the next death tells who it was.
//!
//! Who is under suspicion was found at the start (`suspects.rs`). While somebody is, one attempt runs at a
//! time; the mode ends when all of them have survived, or when so many others have that the suspects cannot
//! be among those that start first.

use std::collections::HashSet;

use super::Finish;
use super::core::Core;
use super::lanes::Held;
use crate::event::Timestamp;
use crate::store::{DeadReason, Ordinal};

#[derive(Debug, Default)]
pub(super) struct Solo {
    suspects: HashSet<Ordinal>,
    /// Attempts of others that may still end before the mode does.
    patience: usize,
    /// The process has died of it while it ran alone.
    convicted: Option<Ordinal>,
}

impl Solo {
    pub(super) fn is_on(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// An attempt has ended, and the process lives.
    pub(super) fn ended(&mut self, ordinal: Ordinal, how: Finish) {
        if self.suspects.is_empty() || matches!(how, Finish::Interrupted | Finish::Held) {
            return;
        }
        if !self.suspects.remove(&ordinal) {
            self.patience = self.patience.saturating_sub(1);
        }
        if self.patience == 0 {
            self.suspects.clear();
        }
    }

    /// Why a delivery whose turn it is gets no attempt.
    pub(super) fn doom<T>(&mut self, held: &Held<T>, now: Timestamp) -> Option<DeadReason> {
        if self.convicted == Some(held.ordinal) {
            self.convicted = None;
            return Some(DeadReason::Crash);
        }
        held.expires.is_some_and(|expires| expires <= now).then_some(DeadReason::Expired)
    }
}

impl<T> Core<T> {
    /// Runs these, and what starts beside them, one at a time. Call it before [`Core::restore`].
    pub fn suspect(&mut self, suspects: impl IntoIterator<Item = Ordinal>) {
        self.solo.suspects.extend(suspects);
        self.solo.patience = self.solo.suspects.len().max(self.settings.concurrency);
    }

    /// Gives this one up as a crash when its turn comes. Call it before [`Core::restore`].
    pub fn convict(&mut self, ordinal: Ordinal) {
        self.solo.convicted = Some(ordinal);
    }

    /// Whether attempts run alone because the process may die of one of them.
    pub fn is_solo(&self) -> bool {
        self.solo.is_on()
    }
}
