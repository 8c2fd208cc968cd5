//! Steering: pause, resume and drain the whole bus or one subscription, and keys parked by hand.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::dead_letters::page_limit;
use super::problem::{HttpError, Problem, Refusals};
use super::request::{operator_name, preferred_wait, query, segment};
use super::{Door, body};
use crate::bus::Operator;
use crate::bus::view::{BusView, Page, ParkedKeyView, SubscriptionView};

/// The longest reason in bytes.
const REASON_MAX: usize = 4_096;

/// Why a person acts; the body may be left out.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SteerRequest {
    /// In their words; kept with the act.
    #[serde(default)]
    reason: String,
}

/// Which key to park or to resume.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRequest {
    /// The key as the step tells it; it may be empty.
    key: String,
    /// Why, in the person's words; kept with the act.
    #[serde(default)]
    reason: String,
}

/// A key that a person has resumed.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct ResumedKey {
    /// The subscription.
    subscription: String,
    /// The key.
    key: String,
    /// What holds it still, when a dead letter does.
    held: Option<ParkedKeyView>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct KeysQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Shows how the whole bus stands.
#[utoipa::path(
    get, path = "/v1/bus", tag = "operation", operation_id = "bus",
    responses(
        (status = 200, description = "The bus", body = BusView),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn bus(door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::Ok().json(door.bus.bus().await?))
}

/// Pauses the whole bus: no subscription starts anything. Events are taken all the same. It holds over
/// restarts.
#[utoipa::path(
    post, path = "/v1/bus/pause", tag = "operation", operation_id = "pause_bus", request_body = SteerRequest,
    responses(
        (status = 200, description = "It is paused", body = BusView),
        Refusals
    )
)]
pub(super) async fn pause_bus(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let operator = operator(&request, payload, &door).await?;
    Ok(HttpResponse::Ok().json(door.bus.pause_bus(true, operator).await?))
}

/// Resumes the whole bus. A subscription that was paused by itself stays so.
#[utoipa::path(
    post, path = "/v1/bus/resume", tag = "operation", operation_id = "resume_bus", request_body = SteerRequest,
    responses(
        (status = 200, description = "It runs", body = BusView),
        Refusals
    )
)]
pub(super) async fn resume_bus(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let operator = operator(&request, payload, &door).await?;
    Ok(HttpResponse::Ok().json(door.bus.pause_bus(false, operator).await?))
}

/// Pauses the whole bus and, with `Prefer: wait=N`, waits up to N seconds until nothing runs; `inflight` says
/// what still does.
#[utoipa::path(
    post, path = "/v1/bus/drain", tag = "operation", operation_id = "drain_bus", request_body = SteerRequest,
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds until nothing runs")),
    responses(
        (status = 200, description = "It is paused", body = BusView),
        Refusals
    )
)]
pub(super) async fn drain_bus(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let operator = operator(&request, payload, &door).await?;
    Ok(HttpResponse::Ok().json(door.bus.drain_bus(patience(&request, &door), operator).await?))
}

/// Pauses a subscription and, with `Prefer: wait=N`, waits up to N seconds until nothing of it runs;
/// `inflight` says what still does.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/drain", tag = "subscriptions", operation_id = "drain",
    request_body = SteerRequest,
    params(
        ("name" = String, Path, description = "The subscription's name"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds until nothing runs"),
    ),
    responses(
        (status = 200, description = "It is paused", body = SubscriptionView),
        Refusals
    )
)]
pub(super) async fn drain(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let operator = operator(&request, payload, &door).await?;
    let name = segment(&request, 3)?;
    Ok(HttpResponse::Ok().json(door.bus.drain(&name, patience(&request, &door), operator).await?))
}

/// Lists the keys of a subscription that wait for a person: parked by hand, or behind a dead letter.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/keys", tag = "subscriptions", operation_id = "parked_keys",
    params(("name" = String, Path, description = "The subscription's name"), KeysQuery),
    responses(
        (status = 200, description = "A page of them", body = Page<ParkedKeyView>),
        Refusals
    )
)]
pub(super) async fn keys(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: KeysQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    let page = door.bus.parked_keys(&segment(&request, 3)?, asked.cursor, limit).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// Parks a key: everything of it waits, in order, until it is resumed. It holds over restarts.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/keys/park", tag = "subscriptions", operation_id = "park_key",
    request_body = KeyRequest,
    params(("name" = String, Path, description = "The subscription's name")),
    responses(
        (status = 200, description = "It is parked", body = ParkedKeyView),
        Refusals
    )
)]
pub(super) async fn park(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let (key, operator) = key_of(&request, payload, &door).await?;
    let view = door.bus.park_key(&segment(&request, 3)?, &key, operator).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Resumes a key that a person has parked; it goes on where it stood.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/keys/resume", tag = "subscriptions", operation_id = "resume_key",
    request_body = KeyRequest,
    params(("name" = String, Path, description = "The subscription's name")),
    responses(
        (status = 200, description = "It is resumed", body = ResumedKey),
        Refusals
    )
)]
pub(super) async fn resume(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let (key, operator) = key_of(&request, payload, &door).await?;
    let subscription = segment(&request, 3)?;
    let held = door.bus.resume_key(&subscription, &key, operator).await?;
    Ok(HttpResponse::Ok().json(ResumedKey { subscription, key, held }))
}

fn patience(request: &HttpRequest, door: &Door) -> Duration {
    preferred_wait(request, door.settings.max_wait).unwrap_or_default()
}

/// Who acts and why: the header and the body, which may be left out.
pub(super) async fn operator(
    request: &HttpRequest,
    payload: web::Payload,
    door: &Door,
) -> Result<Operator, HttpError> {
    let body = body::read(request, payload, door).await?;
    let asked = if body.is_empty() {
        SteerRequest::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            HttpError::malformed("", format!("the body is not {{\"reason\": \"…\"}}: {error}"))
        })?
    };
    by(request, asked.reason)
}

async fn key_of(
    request: &HttpRequest,
    payload: web::Payload,
    door: &Door,
) -> Result<(String, Operator), HttpError> {
    let body = body::read(request, payload, door).await?;
    let asked: KeyRequest = serde_json::from_slice(&body).map_err(|error| {
        HttpError::malformed("", format!("the body is not {{\"key\": \"…\", \"reason\": \"…\"}}: {error}"))
    })?;
    Ok((asked.key, by(request, asked.reason)?))
}

fn by(request: &HttpRequest, reason: String) -> Result<Operator, HttpError> {
    if reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    Ok(Operator { by: operator_name(request)?, reason })
}
