//! What is looked at while the load goes on: the server's own counters, its process, and its files.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tidegate::store::Commit;
use tidegate::store::journal::Mark;

use super::histogram::Histogram;
use super::offer::Offered;
use crate::Outcome;
use crate::counters::figure;
use crate::host::Ticks;
use crate::http::fetch;
use crate::process::{disk_bytes, resident};

/// The subscription of what is offered.
const DRAIN: &str = "subscription=\"drain\"";

/// What happened in an interval, and what stood where at its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// The end of the interval, in seconds; below 0 nothing is judged yet.
    pub(super) at: f64,
    /// Events accepted a second.
    pub(super) accepted: f64,
    /// Events handled a second.
    pub(super) handled: f64,
    /// Publications refused.
    pub(super) refused: u64,
    /// Deliveries that wait.
    pub(super) backlog: u64,
    /// Times from when an event was due until it was answered.
    pub(super) times: Histogram,
    /// Memory of the process in bytes.
    pub(super) resident: u64,
    /// Bytes of the journal's folder on disk.
    pub(super) journal: u64,
    /// Bytes of sled's folder on disk.
    pub(super) sled: u64,
    /// Checkpoints so far.
    pub(super) checkpoints: u64,
    /// Journal files removed so far.
    pub(super) removed: u64,
    /// The share of the machine's processor time that its host has taken away.
    pub(super) stolen: f64,
}

/// The names of the columns of [`Sample::line`].
pub(super) const COLUMNS: &str = "seconds,accepted_per_s,handled_per_s,refused,backlog,p50_ms,p99_ms,rss_bytes,journal_bytes,sled_bytes,checkpoints,journal_files_removed,stolen_share";

impl Sample {
    /// Bytes of the data folder on disk.
    pub(super) fn disk(&self) -> u64 {
        self.journal + self.sled
    }

    /// As a line of a file.
    pub(super) fn line(&self) -> String {
        let millis = |share| format!("{:.3}", self.times.percentile(share));
        let (at, accepted, handled) = (self.at, self.accepted, self.handled);
        let first = format!("{at:.1},{accepted:.1},{handled:.1},{},{}", self.refused, self.backlog);
        let sizes = [self.resident, self.journal, self.sled, self.checkpoints, self.removed];
        let sizes = sizes.map(|size| size.to_string()).join(",");
        format!("{first},{},{},{sizes},{:.3}", millis(0.5), millis(0.99), self.stolen)
    }
}

/// Looks at one server.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    address: SocketAddr,
    data: PathBuf,
    journal: PathBuf,
    sled: PathBuf,
    folded: Option<Commit>,
    files: BTreeSet<String>,
    last: Totals,
    checkpoints: u64,
    removed: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    at: f64,
    accepted: u64,
    refused: u64,
    handled: u64,
    ticks: Ticks,
}

impl Watch {
    /// Begins to look at the server with this data.
    pub(super) fn new(pid: u32, address: SocketAddr, data: &Path) -> Self {
        Self {
            pid,
            address,
            data: data.to_owned(),
            journal: data.join("journal"),
            sled: data.join("sled"),
            folded: None,
            files: BTreeSet::new(),
            last: Totals::default(),
            checkpoints: 0,
            removed: 0,
        }
    }

    /// Notes what a sample would be too late for: call it each second. Two checkpoints within a second count as one.
    pub(super) fn glance(&mut self) -> Outcome<()> {
        if let Some(mark) = Mark::read(&self.data)? {
            self.checkpoints += u64::from(self.folded != Some(mark.commit));
            self.folded = Some(mark.commit);
        }
        let mut files = BTreeSet::new();
        for entry in fs::read_dir(&self.journal)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|kind| kind == "journal") {
                files.insert(name);
            }
        }
        self.removed += self.files.difference(&files).count() as u64;
        self.files = files;
        Ok(())
    }

    /// The sample at `at` seconds.
    pub(super) fn sample(&mut self, at: f64, offered: &Offered) -> Outcome<Sample> {
        let text = fetch(self.address, "/metrics")?;
        let now = Totals {
            at,
            accepted: offered.accepted(),
            refused: offered.refused(),
            handled: figure(&text, "tidegate_attempts_total", &[DRAIN, "outcome=\"done\""]),
            ticks: Ticks::now(),
        };
        let seconds = (now.at - self.last.at).max(f64::MIN_POSITIVE);
        let sample = Sample {
            at,
            accepted: (now.accepted - self.last.accepted) as f64 / seconds,
            handled: (now.handled - self.last.handled) as f64 / seconds,
            refused: now.refused - self.last.refused,
            backlog: figure(&text, "tidegate_backlog", &[DRAIN]),
            times: offered.take_times(),
            resident: resident(Some(self.pid)),
            journal: disk_bytes(&self.journal)?,
            sled: disk_bytes(&self.sled)?,
            checkpoints: self.checkpoints,
            removed: self.removed,
            stolen: now.ticks.stolen_since(self.last.ticks),
        };
        self.last = now;
        Ok(sample)
    }

    /// Begins to count at `at` seconds.
    pub(super) fn begin(&mut self, at: f64) {
        (self.last.at, self.last.ticks) = (at, Ticks::now());
    }

    /// Deliveries that wait, and those that are handled, now.
    pub(super) fn backlog(&self) -> Outcome<(u64, u64)> {
        let text = fetch(self.address, "/metrics")?;
        let handled = figure(&text, "tidegate_attempts_total", &[DRAIN, "outcome=\"done\""]);
        Ok((figure(&text, "tidegate_backlog", &[DRAIN]), handled))
    }
}
