//! Jobs: an act on many dead letters as one durable piece of work.
//!
//! A job takes the letters that its filter leaves and that were dead when it was asked for; what fails later
//! is not taken. Each repair is committed together with the job's progress, so that after a restart it goes
//! on where it was: nothing twice, nothing left out. It may be held to a rate, stopped and resumed.
//!
//! ```text
//! ask ──> Shelf::Job ──> Runner ── page of letters ──> [repair + item]… + progress, one commit ──┐
//!            ^              ^──────────────── pace, stop, shutdown ─────────────────────────────┘
//! ```
//!
//! Records are JSON on the shelves of the store, which does not look into them. What a repair means is the
//! store's, as for a single one.

mod ask;
mod bell;
mod items;
mod pace;
mod plan;
mod runner;
mod told;

use serde::{Deserialize, Serialize};

use super::Operator;
use super::mend::When;
use super::view::DeadLetterFilter;
use crate::event::Timestamp;
use crate::store::{Commit, DeadLetter, Seq, SubscriptionId};

pub(super) use bell::JobBell;
pub use items::JobItem;
pub use pace::Pace;
pub(super) use runner::Runner;
pub use told::{AlikeView, JobCounts, JobView, Rehearsal};

/// Jobs that may run at once.
const RUNNING_MAX: usize = 16;
/// Finished jobs that are kept.
const FINISHED_KEPT: usize = 100;

/// What the parts of the bus that have to do with jobs share.
#[derive(Debug)]
pub(super) struct Jobs {
    /// Held by whoever reads a job's record to write it again.
    pub(super) lock: tokio::sync::Mutex<()>,
    pub(super) bell: JobBell,
}

/// What is done to each dead letter of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobAct {
    /// Tried again with a fresh count of attempts.
    Retry,
    /// Given up.
    Skip,
}

impl JobAct {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
        }
    }
}

/// Which dead letters a job takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFilter {
    /// As for their list.
    #[serde(flatten)]
    pub letters: DeadLetterFilter,
    /// Dead since this time or later.
    pub since: Option<Timestamp>,
    /// Dead before this time.
    pub until: Option<Timestamp>,
}

impl JobFilter {
    /// Whether it leaves every dead letter.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    fn takes(&self, letter: &DeadLetter) -> bool {
        self.since.is_none_or(|since| letter.since >= since)
            && self.until.is_none_or(|until| letter.since < until)
            && self.letters.takes(letter)
    }
}

/// A job as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct JobAsk {
    /// What is done.
    pub act: JobAct,
    /// When, for a retry.
    pub when: When,
    /// Also to those whose `on_dead` event was stored, for a retry.
    pub force: bool,
    /// To which dead letters.
    pub filter: JobFilter,
    /// How fast; `None` is as fast as the disk.
    pub pace: Option<Pace>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It works, or waits for its pace.
    Running,
    /// A person has stopped it.
    Stopped,
    /// It has been through all its dead letters.
    Finished,
}

/// The moment up to which a letter must have died to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cutoff {
    commit: Commit,
    at: Timestamp,
}

impl Cutoff {
    fn takes(self, letter: &DeadLetter) -> bool {
        let own = letter.event.deliveries.iter().find(|d| d.subscription == letter.subscription);
        let death = own.and_then(|d| {
            d.history.iter().rev().find(|attempt| matches!(&*attempt.outcome, "dead" | "expired"))
        });
        // Milliseconds are too coarse to tell a letter that was retried and died again from the old one.
        letter.since <= self.at && death.is_none_or(|death| death.commit <= self.commit)
    }
}

/// The record of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    /// Tells these records from others of the shelf.
    kind: Kind,
    /// Its id; ids sort by age.
    id: String,
    /// What is done.
    act: JobAct,
    /// Not before this time.
    at: Option<Timestamp>,
    /// Also to those whose `on_dead` event was stored.
    force: bool,
    /// To which dead letters.
    filter: JobFilter,
    cutoff: Cutoff,
    /// How fast.
    pace: Option<Pace>,
    /// Why, in the operator's words.
    reason: String,
    /// Who.
    by: String,
    /// Where it stands.
    state: JobState,
    /// The letter that was taken last.
    cursor: Option<(SubscriptionId, Seq)>,
    /// Letters that the filter left when it was asked for.
    matched: u64,
    /// Letters that were taken.
    taken: u64,
    /// Those of them that could not be repaired.
    refused: u64,
    /// Letters of the last commit with their places: whether each of them was repaired is told by whether its item is there.
    open: Vec<(u64, SubscriptionId, Seq)>,
    /// When it was asked for.
    started: Timestamp,
    /// When it had been through all.
    finished: Option<Timestamp>,
}

/// The kind of a record on the shelf of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    DeadLetters,
}

impl Job {
    /// A record of the shelf of jobs; `None` for one of another kind.
    fn decode(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// Who asked for it, and why.
    fn operator(&self) -> Operator {
        Operator { by: self.by.clone(), reason: self.reason.clone() }
    }
}
