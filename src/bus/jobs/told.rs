//! What people are told of jobs, and the facts that are told of them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Job, JobAct, JobState};
use crate::bus::audit::Operator;
use crate::bus::render::timestamp;
use crate::bus::view::{DeadLetterFilter, DeadLetterView};
use crate::event::Fact;
use crate::store::{Reader, StoreError};

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobCounts {
    /// Dead letters that the filter left when it was asked for.
    pub matched: u64,
    /// Those that were repaired.
    pub done: u64,
    /// Those that were taken and could not be repaired: somebody else had acted on them meanwhile.
    pub refused: u64,
    /// Those that somebody else had acted on before they were taken; told when the job is finished.
    pub gone: u64,
}

/// A job as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// What is done.
    pub act: JobAct,
    /// Not before this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// To which dead letters.
    pub filter: DeadLetterFilter,
    /// Dead since this time or later, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Dead before this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How fast, such as `100/s`; `null` is as fast as the disk.
    pub rate: Option<String>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Where it stands.
    pub state: JobState,
    /// How far it is.
    pub counts: JobCounts,
    /// When it was asked for, RFC 3339. What has died later is not taken.
    pub started: String,
    /// When it had been through all, RFC 3339.
    pub finished: Option<String>,
}

/// Dead letters that have failed alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AlikeView {
    /// The group, as the list of dead letters takes it.
    pub group: String,
    /// The subscription.
    pub subscription: String,
    /// Why they are dead.
    pub reason: String,
    /// Their error; what differs from one to the next stands as `#`.
    pub message: String,
    /// How many of them.
    pub count: u64,
}

/// What a job would do.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Rehearsal {
    /// Always `true`: nothing was done or stored.
    pub dry_run: bool,
    /// Dead letters that the filter leaves.
    pub matched: u64,
    /// How they have failed, the most frequent first; the first fifty.
    pub groups: Vec<AlikeView>,
    /// The first twenty of them.
    pub items: Vec<DeadLetterView>,
}

impl Job {
    /// The job as people read it.
    pub(super) fn view(self, reader: &dyn Reader) -> Result<JobView, StoreError> {
        let refused = self.refused.saturating_add(self.missed(reader)?.len() as u64);
        Ok(self.told(refused))
    }

    fn told(self, refused: u64) -> JobView {
        let gone = if self.state == JobState::Finished { self.matched.saturating_sub(self.taken) } else { 0 };
        let counts =
            JobCounts { matched: self.matched, done: self.taken.saturating_sub(refused), refused, gone };
        JobView {
            id: self.id,
            act: self.act,
            at: self.at.map(timestamp),
            filter: self.filter.letters,
            since: self.filter.since.map(timestamp),
            until: self.filter.until.map(timestamp),
            rate: self.pace.map(|pace| pace.to_string()),
            reason: self.reason,
            by: self.by,
            state: self.state,
            counts,
            started: timestamp(self.started),
            finished: self.finished.map(timestamp),
        }
    }

    /// The fact that tells of the job, by the person who acts on it now. `identity` tells it from others of
    /// its name.
    pub(super) fn fact(
        &self,
        name: &'static str,
        identity: &str,
        operator: &Operator,
        before: Option<JobState>,
    ) -> Option<Fact> {
        let view = serde_json::to_value(self.clone().told(self.refused)).ok()?;
        let Value::Object(mut data) = view else { return None };
        let asked_by = data.insert("by".to_owned(), operator.by.clone().into());
        let asked_why = data.insert("reason".to_owned(), operator.reason.clone().into());
        data.insert("asked".to_owned(), json!({ "by": asked_by, "reason": asked_why }));
        data.insert("before".to_owned(), json!(before));
        data.insert("after".to_owned(), json!(self.state));
        Fact::new(name, &[&self.id, identity], &data).map(|fact| fact.about(&self.id, &self.id))
    }
}
