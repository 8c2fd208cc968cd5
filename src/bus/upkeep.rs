//! Upkeep: what an operator asks of the store while the bus works: to look at all of it, and to back it up.
//!
//! Both read the disk on threads that may block. One verification at a time runs on by itself and is asked
//! for its progress; one backup at a time goes straight to whoever asked, and ends when he hangs up.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Bus, QueryError};
use crate::store::{Progress, StoreError, Tools, VerifyReport};

/// Bytes of a piece of a backup.
const PIECE: usize = 256 << 10;
/// Pieces that wait for whoever takes them.
const PIECES_AHEAD: usize = 8;

/// Where a verification stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VerifyView {
    /// `none` when there was none since the start, `running`, `done` or `failed`.
    pub state: String,
    /// What is being looked at.
    pub stage: String,
    /// How much of it was, …
    pub done: u64,
    /// … of how much; 0 when that is not known.
    pub total: u64,
    /// What was found, when it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<VerifyReport>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the bus holds for it.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    tools: Option<Arc<dyn Tools>>,
    run: Mutex<Option<Run>>,
    is_backing_up: Arc<AtomicBool>,
}

/// A verification.
#[derive(Debug, Clone)]
struct Run {
    progress: Arc<Progress>,
    outcome: Arc<Mutex<Option<Result<VerifyReport, StoreError>>>>,
}

impl Run {
    fn outcome(&self) -> Option<Result<VerifyReport, StoreError>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn view(&self) -> VerifyView {
        let (stage, done, total) = self.progress.now();
        let view = VerifyView { stage: stage.to_owned(), done, total, ..VerifyView::default() };
        match self.outcome() {
            None => VerifyView { state: "running".to_owned(), ..view },
            Some(Ok(report)) => VerifyView { state: "done".to_owned(), report: Some(report), ..view },
            Some(Err(error)) => {
                VerifyView { state: "failed".to_owned(), error: Some(error.to_string()), ..view }
            }
        }
    }
}

impl Upkeep {
    pub(super) fn new(tools: Option<Arc<dyn Tools>>) -> Self {
        Self { tools, run: Mutex::default(), is_backing_up: Arc::default() }
    }

    fn tools(&self) -> Result<Arc<dyn Tools>, QueryError> {
        self.tools.clone().ok_or_else(|| QueryError::Refused {
            why: "this engine keeps nothing on disk; set `store.engine = \"sled\"`".to_owned(),
        })
    }
}

impl Drop for Upkeep {
    /// A look that goes on would hold the folder's lock.
    fn drop(&mut self) {
        let run = self.run.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = run {
            run.progress.stop();
        }
    }
}

impl Bus {
    /// Begins to look at everything on disk, unless that is being done, and tells how far it is.
    ///
    /// # Errors
    /// [`QueryError::Refused`] when the engine keeps nothing on disk.
    pub fn verify_store(&self) -> Result<VerifyView, QueryError> {
        let tools = self.0.upkeep.tools()?;
        let mut slot = self.0.upkeep.run.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = slot.as_ref().filter(|run| run.outcome().is_none()) {
            return Ok(run.view());
        }
        let run = Run { progress: Arc::default(), outcome: Arc::default() };
        let begun = run.clone();
        self.0.pool.spawn_blocking(move || {
            let look = || tools.verify(&begun.progress);
            let panicked = |_| Err(StoreError::Poisoned { cause: "the verification panicked".to_owned() });
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).unwrap_or_else(panicked);
            log(&outcome);
            *begun.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        let view = run.view();
        *slot = Some(run);
        Ok(view)
    }

    /// How far the last verification is, or what it has found.
    ///
    /// # Errors
    /// As [`Bus::verify_store`].
    pub fn verification(&self) -> Result<VerifyView, QueryError> {
        self.0.upkeep.tools()?;
        let slot = self.0.upkeep.run.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || VerifyView { state: "none".to_owned(), ..VerifyView::default() };
        Ok(slot.as_ref().map_or_else(none, Run::view))
    }

    /// Begins a backup. Its bytes come piece by piece; an error is the last one, and then what came before is no
    /// backup.
    ///
    /// # Guarantees
    /// Whatever was acknowledged before the call is in it. The bus works on meanwhile.
    ///
    /// # Errors
    /// [`QueryError::Refused`] when one runs already, and when the engine keeps nothing on disk.
    pub fn backup(&self) -> Result<mpsc::Receiver<io::Result<Bytes>>, QueryError> {
        let tools = self.0.upkeep.tools()?;
        let running = Running::begin(&self.0.upkeep.is_backing_up)?;
        let (pieces, taken) = mpsc::channel(PIECES_AHEAD);
        let now = self.0.clock.now();
        self.0.pool.spawn_blocking(move || {
            let _running = running;
            let mut out = BufWriter::with_capacity(PIECE, Pieces(pieces.clone()));
            let made = tools.backup(now, &mut out, &Progress::default());
            drop(out);
            match made {
                Ok(manifest) => tracing::info!(
                    commit = manifest.commit,
                    events = manifest.events,
                    "the store was backed up"
                ),
                Err(error) => {
                    tracing::warn!(%error, "the backup was broken off");
                    // Who has hung up need not be told.
                    drop(pieces.blocking_send(Err(io::Error::other(error.to_string()))));
                }
            }
        });
        Ok(taken)
    }
}

fn log(outcome: &Result<VerifyReport, StoreError>) {
    match outcome {
        Ok(report) if report.clean => {
            tracing::info!(rows = report.rows, "the store was looked at: clean");
        }
        Ok(report) => {
            let findings = report.findings_total;
            tracing::error!(findings, "the store is damaged: `tidegate store verify` tells where");
        }
        Err(error) => tracing::warn!(%error, "the store could not be looked at"),
    }
}

/// Marks a backup as running until it is dropped.
struct Running(Arc<AtomicBool>);

impl Running {
    fn begin(flag: &Arc<AtomicBool>) -> Result<Self, QueryError> {
        if flag.swap(true, Ordering::AcqRel) {
            let why = "a backup is being made at this moment; ask again when it is done".to_owned();
            return Err(QueryError::Refused { why });
        }
        Ok(Self(Arc::clone(flag)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Hands written bytes on.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "whoever wanted the backup has hung up"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
