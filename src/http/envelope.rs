//! Envelope: an event as it travels, with its data.

use actix_web::{HttpRequest, HttpResponse, web};

use super::Door;
use super::problem::{HttpError, Problem, Refusals};
use super::request::{query, segment};
use super::status::Source;
use crate::event::cloudevents::to_structured;

/// Shows an event as it travels: a `CloudEvent` in the structured JSON format, with its data.
#[utoipa::path(
    get, path = "/v1/events/{id}/envelope", tag = "events", operation_id = "envelope",
    params(("id" = String, Path, description = "The event's id, percent-encoded"), Source),
    responses(
        (status = 200, description = "The event", body = serde_json::Value, content_type = "application/cloudevents+json"),
        (status = 410, description = "Its data is past its retention", body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn envelope(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let Source { source } = query(&request)?;
    let event = door.bus.envelope(&source, &segment(&request, 3)?).await?;
    Ok(HttpResponse::Ok().content_type("application/cloudevents+json").body(to_structured(&event)))
}
