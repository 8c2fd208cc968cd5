//! Audit: looks at all of a store on disk, changes nothing, and tells what is wrong in words.
//!
//! ```text
//! offline   copy of sled + fold file + journal behind the mark ──> a view of its own ─┐
//! online    the view of the running store, read in short pieces ──────────────────────┤
//!                                                                                     v
//!           journal: every record, every entry, where each event is
//!           rows: every checksum, the counts of the stamp
//!           deliveries: every open one has its event, and that can be read
//!           events and flows: both sides tell the same
//! ```
//!
//! While the store works, what is written at that moment is not looked at: the journal is read up to the
//! commit that was on disk at the beginning, and a row through the layers above it, as readers do.

#[cfg(test)]
mod begin_tests;
mod deliveries;
mod events;
mod journal;
mod offline;
#[cfg(test)]
mod page_tests;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::payloads::JournalPayloads;
use super::slot::BaseSlot;
use crate::store::reader::Shared;
use crate::store::verify::{AffectedEvent, Finding, Progress, VerifyReport};
use crate::store::view::is_open_delivery;
use crate::store::{Commit, EventRecord, Reader as _, Seq, StoreError};

pub(super) use journal::bytes_of;
pub use offline::verify_folder;
pub(super) use offline::{open_stopped, replay, take_lock};

/// Things that a page of a pass holds; the view is locked for one page at a time.
const PAGE: usize = 256;

/// What is looked at.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) dir: PathBuf,
    pub(super) base: Arc<BaseSlot>,
    pub(super) shared: Arc<Shared<JournalPayloads>>,
    /// The store works meanwhile.
    pub(super) is_live: bool,
}

/// The report as it grows.
#[derive(Debug, Default)]
struct Notebook {
    report: VerifyReport,
    /// What was told already: one damaged row is met by several passes.
    told: HashSet<String>,
    /// Events whose loss was told with the journal.
    lost: HashSet<Seq>,
    /// Events that are named already, by the damage that touches them.
    touched: HashSet<(String, Seq)>,
}

impl Notebook {
    fn add(&mut self, finding: Finding) {
        if self.told.insert(finding.problem.clone()) {
            self.report.add(finding);
        }
    }

    /// Names an event with the damage that touches it, which is told already.
    fn touch(&mut self, error: &StoreError, seq: Seq, event: AffectedEvent) {
        let StoreError::Damaged { problem, .. } = error else { return };
        let finding = self.report.findings.iter_mut().find(|finding| finding.problem == *problem);
        if let Some(finding) = finding
            && self.touched.insert((problem.clone(), seq))
        {
            finding.touch(event);
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.report.notes.push(text.into());
    }

    /// Takes damage down and goes on; every other error ends the look.
    fn take<T>(
        &mut self,
        part: &str,
        meaning: &str,
        found: Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error @ StoreError::Damaged { .. }) => {
                self.add(Finding::of(part, &error, meaning));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Scene {
    /// Looks at everything.
    pub(super) fn verify(&self, progress: &Progress) -> Result<VerifyReport, StoreError> {
        let until = self.is_live.then(|| self.shared.durable());
        let mut notes = Notebook::default();
        let mark = crate::store::journal::Mark::read(&self.dir)?.map_or(Commit(0), |mark| mark.commit);
        journal::check(&self.dir, Some(&self.shared), (mark, until), progress, &mut notes)?;
        rows::check(self, progress, &mut notes)?;
        deliveries::check(self, progress, &mut notes)?;
        events::check(self, progress, &mut notes)?;
        Ok(notes.report.ended())
    }

    /// An event for people, with the names of the subscriptions that have not settled it.
    fn affected(&self, record: &EventRecord) -> AffectedEvent {
        affected(&self.shared, record)
    }
}

fn affected(shared: &Shared<JournalPayloads>, record: &EventRecord) -> AffectedEvent {
    let names = shared.subscriptions().unwrap_or_default();
    let open = record.deliveries.iter().filter(|delivery| is_open_delivery(delivery));
    let name = |id| names.iter().find(|known| known.id == id).map(|known| known.name.clone());
    AffectedEvent::of(record, open.filter_map(|delivery| name(delivery.subscription)).collect())
}

/// Where the journal of a data folder is.
fn journal_of(dir: &Path) -> PathBuf {
    dir.join("journal")
}
