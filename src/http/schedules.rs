//! Schedules: what the bus publishes itself, and when.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use super::Door;
use super::problem::{HttpError, Refusals};
use super::request::query;
use crate::bus::view::{Page, ScheduleView};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// Lists schedules.
///
/// All of them in one page, by name, each with the time that it was fired for last and the time it is due next.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "schedules", operation_id = "schedules",
    responses(
        (status = 200, description = "All of them", body = Page<ScheduleView>),
        Refusals
    )
)]
pub(super) async fn list(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let NoQuery {} = query(&request)?;
    let items = door.bus.schedules().await?;
    Ok(HttpResponse::Ok().json(Page { items, next: None }))
}
