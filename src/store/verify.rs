//! Verify: what a look at all that is on disk has found, in words for people and for machines.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::{EventRecord, StoreError};
use crate::event::Envelope;

/// Most findings that a report tells one by one; all are counted.
const FINDINGS_MAX: usize = 200;
/// Most events that a finding names; all are counted.
const EVENTS_MAX: usize = 50;

/// What a verification came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VerifyReport {
    /// Nothing is wrong.
    pub clean: bool,
    /// The newest commit that was looked at.
    pub commit: u64,
    /// Up to which commit sled holds everything.
    pub folded: u64,
    /// Journal segments.
    pub segments: u64,
    /// Journal records read, each with its checksums and its number.
    pub records: u64,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Rows read, each with its checksum.
    pub rows: u64,
    /// Events whose bookkeeping was compared with the queues and with their flow.
    pub events: u64,
    /// Flows whose counts were compared with their deliveries.
    pub flows: u64,
    /// Open deliveries, dead letters included.
    pub deliveries: u64,
    /// Events that were read from the journal and decoded, to the last field.
    pub payloads: u64,
    /// What is wrong; 200 at most.
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub findings_total: u64,
    /// What is no damage and worth knowing, and what was left out, with the reason.
    pub notes: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// `journal`, `checkpoint`, `rows`, `deliveries`, `events` or `flows`.
    pub part: String,
    /// The file or the folder.
    pub file: String,
    /// The byte in the file; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What was found.
    pub problem: String,
    /// What it means for whoever runs the bus.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
    /// Events that it touches; 50 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<AffectedEvent>,
    /// How many events it touches, as far as that is known.
    #[serde(default)]
    pub events_total: u64,
}

/// An event that damage touches.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AffectedEvent {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// Its name.
    pub name: String,
    /// Its flow.
    pub flow: String,
    /// Subscriptions that have not settled it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
}

impl AffectedEvent {
    /// The event of a record; `open` names the subscriptions that have not settled it.
    pub(super) fn of(record: &EventRecord, open: Vec<String>) -> Self {
        Self {
            id: record.id.clone(),
            source: record.source.clone(),
            name: record.name.to_string(),
            flow: record.flow.clone(),
            open,
        }
    }

    /// The event of a payload whose bookkeeping cannot be read: who has not settled it is not known.
    pub(super) fn of_envelope(event: &Envelope) -> Self {
        Self {
            id: event.id.clone(),
            source: event.source.clone(),
            name: event.name.to_string(),
            flow: event.flow.clone(),
            open: Vec::new(),
        }
    }
}

impl Finding {
    /// Names an event that it touches.
    pub(super) fn touch(&mut self, event: AffectedEvent) {
        self.events_total += 1;
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    /// What an error says, as a finding.
    pub(super) fn of(part: &str, error: &StoreError, meaning: &str) -> Self {
        let (file, offset, problem, remedy) =
            if let StoreError::Damaged { path, offset, problem, remedy } = error {
                let offset = Some(*offset).filter(|_| !path.is_dir());
                (path.display().to_string(), offset, problem.clone(), remedy.clone())
            } else {
                (String::new(), None, error.to_string(), "look at the disk".to_owned())
            };
        let (part, meaning) = (part.to_owned(), meaning.to_owned());
        Self { part, file, offset, problem, meaning, remedy, ..Self::default() }
    }
}

impl VerifyReport {
    /// Adds a finding.
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Says whether it is clean.
    pub(super) fn ended(mut self) -> Self {
        self.clean = self.findings_total == 0;
        self
    }
}

/// How far a long work on the store has come. Whoever shares it can read it, and stop the work.
#[derive(Debug, Default)]
pub struct Progress {
    stage: Mutex<&'static str>,
    done: AtomicU64,
    total: AtomicU64,
    is_stopped: AtomicBool,
}

impl Progress {
    /// What is being done, how much of it is done, and how much there is (0: not known).
    pub fn now(&self) -> (&'static str, u64, u64) {
        let stage = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        (stage, self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Has the work end at the next chance, with an error.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn begin(&self, stage: &'static str, total: u64) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.total.store(total, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    pub(super) fn add(&self, done: u64) {
        self.done.fetch_add(done, Ordering::Relaxed);
    }

    /// # Errors
    /// [`StoreError::Io`] of kind `Interrupted` after [`Progress::stop`].
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.is_stopped.load(Ordering::Relaxed) {
            let stopped = std::io::Error::new(std::io::ErrorKind::Interrupted, "it was stopped");
            return Err(StoreError::io("go on with", "the store", &stopped));
        }
        Ok(())
    }
}
