//! Tools: what an operator asks of a store beside its work.

use std::io::Write;

use super::{Manifest, Progress, StoreError, VerifyReport};
use crate::event::Timestamp;

/// What a store on disk can be asked while it works, from any thread that may block.
pub trait Tools: Send + Sync + std::fmt::Debug {
    /// Looks at everything that is on disk at this moment.
    ///
    /// # Guarantees
    /// Nothing is changed, and the store works on. The view is held for short pieces only.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the disk cannot be read. Damage is no error: the report tells it.
    fn verify(&self, progress: &Progress) -> Result<VerifyReport, StoreError>;

    /// Writes a backup to `out`.
    ///
    /// # Guarantees
    /// Whatever was durable before the call is in it; it is consistent, and the store works on meanwhile. Until it
    /// returns no segment is removed, so the disk may fill up a while longer than otherwise.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when the store is; [`StoreError::Io`], also when `out` refuses. What was written is no
    /// backup then, and a restore says so.
    fn backup(
        &self,
        now: Timestamp,
        out: &mut dyn Write,
        progress: &Progress,
    ) -> Result<Manifest, StoreError>;
}
