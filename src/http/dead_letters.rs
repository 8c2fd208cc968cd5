//! Dead letters: what waits for a person, and the acts that let it move again.

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::problem::{HttpError, Problem};
use super::request::{operator_name, query, segment};
use super::{Door, body};
use crate::bus::Operator;
use crate::bus::view::{DeadLetterFilter, DeadLetterView, DeliveryStatus, Page};

/// Items of a page when the request does not say.
pub(super) const LIMIT_DEFAULT: usize = 50;
/// The most items of a page.
pub(super) const LIMIT_MAX: usize = 500;
/// The most bytes of a reason.
pub(super) const REASON_MAX: usize = 1000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLetterQuery {
    /// The subscription it failed in.
    subscription: Option<String>,
    /// Its flow.
    flow: Option<String>,
    /// The event's name.
    name: Option<String>,
    /// `attempts`, `fatal`, `undecodable`, `expired` or `crash`.
    reason: Option<String>,
    /// The lane's key.
    key: Option<String>,
    /// The event's id.
    event: Option<String>,
    /// The event's source.
    source: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// The body of a retry or a skip.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RepairRequest {
    /// Why; it is kept with the act. A skip needs one.
    #[serde(default)]
    reason: String,
}

/// The answer to a retry or a skip.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct RepairAnswer {
    /// The dead letter that was.
    id: String,
    /// Where its delivery stands now: `ready` or `skipped`.
    status: DeliveryStatus,
}

/// Lists dead letters.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "dead_letters", params(DeadLetterQuery),
    responses(
        (status = 200, description = "A page of them, oldest first within a subscription", body = Page<DeadLetterView>),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: DeadLetterQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    check_reason("reason", asked.reason.as_deref())?;
    let filter = DeadLetterFilter {
        subscription: asked.subscription,
        flow: asked.flow,
        name: asked.name,
        reason: asked.reason,
        key: asked.key,
        event: asked.event,
        source: asked.source,
    };
    let page = door.bus.dead_letters(filter, asked.cursor, limit).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Shows one dead letter.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "dead letters", operation_id = "dead_letter",
    params(("id" = String, Path, description = "The dead letter's id")),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetterView),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let letter = door.bus.dead_letter(&segment(&request, 3)?).await?;
    Ok(HttpResponse::Ok().json(letter))
}

/// Lets a dead letter be attempted again.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/retry", tag = "dead letters", operation_id = "retry",
    params(("id" = String, Path, description = "The dead letter's id")),
    request_body = RepairRequest,
    responses(
        (status = 200, description = "It is on its way again", body = RepairAnswer),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn retry(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    repair(&request, payload, &door, true).await
}

/// Gives a dead letter up, so that the events of its key that wait behind it go on.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/skip", tag = "dead letters", operation_id = "skip",
    params(("id" = String, Path, description = "The dead letter's id")),
    request_body = RepairRequest,
    responses(
        (status = 200, description = "It is skipped", body = RepairAnswer),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn skip(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    repair(&request, payload, &door, false).await
}

async fn repair(
    request: &HttpRequest,
    payload: web::Payload,
    door: &Door,
    is_retry: bool,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(request, payload, &door.settings).await?;
    let id = segment(request, 3)?;
    let reason = reason_of(&body, is_retry)?;
    let operator = Operator { by: operator_name(request)?, reason };
    door.bus.repair(&id, is_retry, operator).await?;
    let status = if is_retry { DeliveryStatus::Ready } else { DeliveryStatus::Skipped };
    Ok(HttpResponse::Ok().json(RepairAnswer { id, status }))
}

fn reason_of(body: &Bytes, is_retry: bool) -> Result<String, HttpError> {
    let asked = if body.is_empty() {
        RepairRequest::default()
    } else {
        serde_json::from_slice(body).map_err(|error| {
            HttpError::malformed("", format!("the body is not {{\"reason\": \"…\"}}: {error}"))
        })?
    };
    if asked.reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    if asked.reason.trim().is_empty() && !is_retry {
        return Err(HttpError::malformed("/reason", "is missing; say why the event is given up"));
    }
    Ok(asked.reason)
}

/// The size of a page. Who asks for more than there is in one gets a full page, and its `next`.
pub(super) fn page_limit(asked: Option<usize>) -> Result<usize, HttpError> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(0) => Err(HttpError::malformed("limit", "is 0; ask for one item at least, or leave it out")),
        Some(limit) => Ok(limit.min(LIMIT_MAX)),
    }
}

pub(super) fn check_reason(pointer: &str, reason: Option<&str>) -> Result<(), HttpError> {
    const REASONS: [&str; 5] = ["attempts", "fatal", "undecodable", "expired", "crash"];
    match reason {
        Some(reason) if !REASONS.contains(&reason) => {
            Err(HttpError::malformed(pointer, format!("is none of {}", REASONS.join(", "))))
        }
        _ => Ok(()),
    }
}
