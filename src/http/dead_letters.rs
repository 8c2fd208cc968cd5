//! Dead letters: what waits for a person.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Door;
use super::problem::{HttpError, Refusals};
use super::request::{query, segment};
use crate::bus::view::{DeadGroupView, DeadLetterFilter, DeadLetterView, Page, WaitingView};

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
    /// The group of those that have failed alike.
    group: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GroupQuery {
    /// Of this subscription only.
    subscription: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitingQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Lists dead letters.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "dead_letters", params(DeadLetterQuery),
    responses(
        (status = 200, description = "A page of them, oldest first within a subscription", body = Page<DeadLetterView>),
        Refusals
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
        group: asked.group,
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
        Refusals
    )
)]
pub(super) async fn show(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let letter = door.bus.dead_letter(&segment(&request, 3)?).await?;
    Ok(HttpResponse::Ok().json(letter))
}

/// Lists what has failed alike: dead letters of one subscription with the same reason and the same message.
///
/// In the message, numbers, ids and quoted texts stand as `#`.
#[utoipa::path(
    get, path = "/v1/dead-letters/groups", tag = "dead letters", operation_id = "dead_letter_groups",
    params(GroupQuery),
    responses(
        (status = 200, description = "A page of the groups", body = Page<DeadGroupView>),
        Refusals
    )
)]
pub(super) async fn groups(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: GroupQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    let page = door.bus.dead_groups(asked.subscription, asked.cursor, limit).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Lists what waits behind a dead letter, in the order in which it will be handled.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}/waiting", tag = "dead letters", operation_id = "waiting_behind",
    params(("id" = String, Path, description = "The dead letter's id"), WaitingQuery),
    responses(
        (status = 200, description = "A page of deliveries", body = Page<WaitingView>),
        Refusals
    )
)]
pub(super) async fn waiting(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: WaitingQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    let page = door.bus.waiting_behind(&segment(&request, 3)?, asked.cursor, limit).await?;
    Ok(HttpResponse::Ok().json(page))
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
