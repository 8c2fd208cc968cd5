//! What nobody has heard: events without a subscription, and those that a filter has kept out.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Door;
use super::dead_letters::page_limit;
use super::problem::{HttpError, Refusals};
use super::request::{query, segment};
use crate::bus::view::{Page, UnheardView, UnroutedView};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UnheardQuery {
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Lists events that no subscription listens to, the newest first, as long as their status is there.
#[utoipa::path(
    get, path = "/v1/unrouted", tag = "subscriptions", operation_id = "unrouted", params(UnheardQuery),
    responses(
        (status = 200, description = "A page of them; the first one counts them by name", body = UnroutedView),
        Refusals
    )
)]
pub(super) async fn unrouted(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: UnheardQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    Ok(HttpResponse::Ok().json(door.bus.unrouted(asked.cursor, limit).await?))
}

/// Lists events that a subscription's `where` has kept out, the newest first, as long as their status is there.
#[utoipa::path(
    get, path = "/v1/subscriptions/{name}/filtered", tag = "subscriptions", operation_id = "filtered",
    params(("name" = String, Path, description = "The subscription's name"), UnheardQuery),
    responses(
        (status = 200, description = "A page of them", body = Page<UnheardView>),
        Refusals
    )
)]
pub(super) async fn filtered(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: UnheardQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    Ok(HttpResponse::Ok().json(door.bus.filtered(&segment(&request, 3)?, asked.cursor, limit).await?))
}
