//! Bulk: one act on all dead letters that a filter leaves, as a durable job; and the jobs themselves.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::dead_letters::{check_reason, page_limit};
use super::mend::{REASON_MAX, when};
use super::problem::{HttpError, Refusals};
use super::request::{moment, operator_name, query, segment};
use super::{Door, body};
use crate::bus::view::{DeadLetterFilter, Page};
use crate::bus::{JobAct, JobAsk, JobFilter, JobItem, JobState, JobView, Operator, Pace, Rehearsal, When};

/// The longest text of a filter in bytes.
const FILTER_MAX: usize = 1_024;

/// Which dead letters an act is for, and how it is done.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BulkRequest {
    /// All dead letters; needed when no filter is given.
    all: bool,
    /// Of this subscription.
    subscription: Option<String>,
    /// Of this flow.
    flow: Option<String>,
    /// Of events with this name.
    name: Option<String>,
    /// Dead for this reason: `attempts`, `fatal`, `undecodable`, `expired`, `crash`.
    dead_reason: Option<String>,
    /// Of this key.
    key: Option<String>,
    /// Of the event with this id.
    event: Option<String>,
    /// Of events of this source.
    source: Option<String>,
    /// Dead since this time or later, RFC 3339.
    since: Option<String>,
    /// Dead before this time, RFC 3339.
    until: Option<String>,
    /// Of this group of those that have failed alike.
    group: Option<String>,
    /// For a retry: not before this time, RFC 3339.
    at: Option<String>,
    /// For a retry: not before so much time has passed, such as `90s`, `5m`, `2h`.
    after: Option<String>,
    /// For a retry: also those whose `on_dead` event was stored, so that their flows may be answered twice.
    force: bool,
    /// How fast: a count per second, or a text such as `100/s`, `10/m`, `5/h`.
    #[schema(value_type = Option<String>)]
    rate: Option<RateText>,
    /// Why; it is kept with each act. A skip needs one.
    reason: String,
    /// Only say which ones it would be.
    dry_run: bool,
}

/// A rate, as a text or as a count per second.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum RateText {
    Text(String),
    PerSecond(u32),
}

/// Retries all dead letters that a filter leaves.
///
/// It takes those that are dead now. The job goes on after a restart.
#[utoipa::path(
    post, path = "/v1/dead-letters/retry", tag = "dead letters", operation_id = "retry_many",
    request_body = BulkRequest,
    responses(
        (status = 200, description = "What it would do, for `dry_run`", body = Rehearsal),
        (status = 202, description = "The job, which has begun; `Location` is its URL", body = JobView),
        Refusals
    )
)]
pub(super) async fn retry(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    act(&request, payload, &door, JobAct::Retry).await
}

/// Skips all dead letters that a filter leaves.
///
/// It takes those that are dead now. The job goes on after a restart.
#[utoipa::path(
    post, path = "/v1/dead-letters/skip", tag = "dead letters", operation_id = "skip_many",
    request_body = BulkRequest,
    responses(
        (status = 200, description = "What it would do, for `dry_run`", body = Rehearsal),
        (status = 202, description = "The job, which has begun; `Location` is its URL", body = JobView),
        Refusals
    )
)]
pub(super) async fn skip(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    act(&request, payload, &door, JobAct::Skip).await
}

async fn act(
    request: &HttpRequest,
    payload: web::Payload,
    door: &Door,
    act: JobAct,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(request, payload, door).await?;
    let asked = parse(&body)?;
    let (reason, is_rehearsal) = (asked.reason.clone(), asked.dry_run);
    let ask = asked.ask(act)?;
    if is_rehearsal {
        return Ok(HttpResponse::Ok().json(door.bus.rehearse(ask.filter).await?));
    }
    if reason.trim().is_empty() && act == JobAct::Skip {
        return Err(HttpError::malformed("/reason", "is missing; say why the events are given up"));
    }
    let job = door.bus.start_job(ask, Operator { by: operator_name(request)?, reason }).await?;
    let location = (LOCATION, format!("/v1/jobs/{}", job.id));
    Ok(HttpResponse::Accepted().insert_header(location).json(job))
}

fn parse(body: &Bytes) -> Result<BulkRequest, HttpError> {
    let asked: BulkRequest = if body.is_empty() {
        BulkRequest::default()
    } else {
        let bad = |error| HttpError::malformed("", format!("the body is no bulk act: {error}"));
        serde_json::from_slice(body).map_err(bad)?
    };
    if asked.reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    Ok(asked)
}

impl BulkRequest {
    fn ask(self, act: JobAct) -> Result<JobAsk, HttpError> {
        let pace = match &self.rate {
            None => None,
            Some(RateText::PerSecond(0)) => {
                return Err(HttpError::malformed("/rate", "is 0; to hold a job up, stop it"));
            }
            Some(RateText::PerSecond(count)) => Some(Pace { count: *count, per_ms: 1_000 }),
            Some(RateText::Text(text)) => {
                Some(text.parse().map_err(|problem: &str| HttpError::malformed("/rate", problem))?)
            }
        };
        let when = when(self.at.as_deref(), self.after.as_deref())?;
        if act == JobAct::Skip && (when != When::Now || self.force) {
            return Err(HttpError::malformed("/at", "and `after` and `force` are for a retry"));
        }
        let (is_all, force) = (self.all, self.force);
        let filter = self.filter()?;
        if filter.is_all() && !is_all {
            let remedy = "is not given, and no filter either; name some dead letters, or say \"all\": true";
            return Err(HttpError::malformed("/all", remedy));
        }
        Ok(JobAsk { act, when, force, filter, pace })
    }

    fn filter(self) -> Result<JobFilter, HttpError> {
        let time = |pointer: &str, text: Option<String>| text.map(|text| moment(pointer, &text)).transpose();
        let (since, until) = (time("/since", self.since)?, time("/until", self.until)?);
        check_reason("/dead_reason", self.dead_reason.as_deref())?;
        let texts = [
            ("/subscription", &self.subscription),
            ("/flow", &self.flow),
            ("/name", &self.name),
            ("/key", &self.key),
            ("/event", &self.event),
            ("/source", &self.source),
            ("/group", &self.group),
        ];
        for (pointer, text) in texts {
            if text.as_ref().is_some_and(|text| text.len() > FILTER_MAX) {
                return Err(HttpError::malformed(pointer, format!("is over {FILTER_MAX} bytes")));
            }
        }
        let letters = DeadLetterFilter {
            subscription: self.subscription,
            flow: self.flow,
            name: self.name,
            reason: self.dead_reason,
            key: self.key,
            event: self.event,
            source: self.source,
            group: self.group,
        };
        Ok(JobFilter { letters, since, until })
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct JobQuery {
    /// `running`, `stopped` or `finished`.
    state: Option<JobState>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Lists jobs; of the finished ones the last hundred.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "jobs", params(JobQuery),
    responses(
        (status = 200, description = "A page of them, the newest first", body = Page<JobView>),
        Refusals
    )
)]
pub(super) async fn list(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: JobQuery = query(&request)?;
    let page = door.bus.jobs(asked.state, asked.cursor, page_limit(asked.limit)?).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Shows a job with its counts.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "job",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = JobView),
        Refusals
    )
)]
pub(super) async fn show(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::Ok().json(door.bus.job(&segment(&request, 3)?).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ItemQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Lists what came of each dead letter of a job; of a long job the last ten thousand.
#[utoipa::path(
    get, path = "/v1/jobs/{id}/items", tag = "jobs", operation_id = "job_items",
    params(("id" = String, Path, description = "The job's id"), ItemQuery),
    responses(
        (status = 200, description = "A page of them, in the order of the job", body = Page<JobItem>),
        Refusals
    )
)]
pub(super) async fn items(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: ItemQuery = query(&request)?;
    let page = door.bus.job_items(&segment(&request, 3)?, asked.cursor, page_limit(asked.limit)?).await?;
    Ok(HttpResponse::Ok().json(page))
}

fn operator(request: &HttpRequest) -> Result<Operator, HttpError> {
    Ok(Operator { by: operator_name(request)?, reason: String::new() })
}

/// Stops a job: what it has done stays done, the rest waits until it is resumed.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/stop", tag = "jobs", operation_id = "stop_job",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "It is stopped", body = JobView),
        Refusals
    )
)]
pub(super) async fn stop(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let job = door.bus.stop_job(&segment(&request, 3)?, operator(&request)?).await?;
    Ok(HttpResponse::Ok().json(job))
}

/// Lets a stopped job go on where it was.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/resume", tag = "jobs", operation_id = "resume_job",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "It goes on", body = JobView),
        Refusals
    )
)]
pub(super) async fn resume(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let job = door.bus.resume_job(&segment(&request, 3)?, operator(&request)?).await?;
    Ok(HttpResponse::Ok().json(job))
}
