//! Subscriptions: how each of them stands, pause and resume, and the state of a key.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Door;
use super::dead_letters::page_limit;
use super::problem::{HttpError, Refusals};
use super::request::{query, rest, segment};
use super::steering::{SteerRequest, operator};
use crate::bus::QueryError;
use crate::bus::view::{Page, SubscriptionView};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubscriptionQuery {
    /// Its name.
    name: Option<String>,
    /// The step it runs.
    step: Option<String>,
    /// `running`, `paused`, `orphaned` or `broken`.
    state: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

impl SubscriptionQuery {
    fn takes(&self, view: &SubscriptionView) -> bool {
        let agrees =
            |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
        agrees(&self.name, &view.name) && agrees(&self.step, &view.step) && agrees(&self.state, &view.state)
    }
}

/// Lists subscriptions.
#[utoipa::path(
    get, path = "/v1/subscriptions", tag = "subscriptions", operation_id = "subscriptions", params(SubscriptionQuery),
    responses(
        (status = 200, description = "A page of them", body = Page<SubscriptionView>),
        Refusals
    )
)]
pub(super) async fn list(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: SubscriptionQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    let all = door.bus.subscriptions().await?;
    Ok(HttpResponse::Ok().json(page(all, &asked, limit)?))
}

/// The page after the subscription that the cursor names.
fn page(
    all: Vec<SubscriptionView>,
    asked: &SubscriptionQuery,
    limit: usize,
) -> Result<Page<SubscriptionView>, QueryError> {
    let begin = match &asked.cursor {
        None => 0,
        Some(cursor) => match all.iter().position(|view| view.name == *cursor) {
            Some(at) => at + 1,
            None => return Err(QueryError::BadCursor { cursor: cursor.clone() }),
        },
    };
    let mut items: Vec<SubscriptionView> =
        all.into_iter().skip(begin).filter(|view| asked.takes(view)).take(limit + 1).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|view| view.name.clone());
    Ok(Page { items, next })
}

/// Shows one subscription.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}", tag = "subscriptions", operation_id = "subscription",
    params(("name" = String, Path, description = "The subscription's name")),
    responses(
        (status = 200, description = "The subscription", body = SubscriptionView),
        Refusals
    )
)]
pub(super) async fn show(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let view = door.bus.subscription(&segment(&request, 3)?).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Pauses a subscription: attempts that run end, no new one starts, its backlog stays.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/pause", tag = "subscriptions", operation_id = "pause",
    request_body = SteerRequest,
    params(("name" = String, Path, description = "The subscription's name")),
    responses(
        (status = 200, description = "It is paused", body = SubscriptionView),
        Refusals
    )
)]
pub(super) async fn pause(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let operator = operator(&request, payload, &door).await?;
    let view = door.bus.pause(&segment(&request, 3)?, true, operator).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Resumes a subscription that was paused.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/resume", tag = "subscriptions", operation_id = "resume",
    request_body = SteerRequest,
    params(("name" = String, Path, description = "The subscription's name")),
    responses(
        (status = 200, description = "It runs", body = SubscriptionView),
        Refusals
    )
)]
pub(super) async fn resume(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let operator = operator(&request, payload, &door).await?;
    let view = door.bus.pause(&segment(&request, 3)?, false, operator).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Shows the state that a step keeps for a key.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/state/{key}", tag = "subscriptions", operation_id = "state",
    params(
        ("name" = String, Path, description = "The subscription's name"),
        ("key" = String, Path, description = "The key, percent-encoded; it may be empty"),
    ),
    responses(
        (status = 200, description = "The state as JSON", body = serde_json::Value),
        Refusals
    )
)]
pub(super) async fn state(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let state = door.bus.state(&segment(&request, 3)?, &rest(&request, 5)?).await?;
    Ok(HttpResponse::Ok().json(state))
}
