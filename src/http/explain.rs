//! Explain: why an event does not move.

use actix_web::{HttpRequest, HttpResponse, web};

use super::Door;
use super::problem::{HttpError, Problem, Refusals};
use super::request::{query, segment};
use super::status::Source;
use crate::bus::ExplainView;

/// Tells why an event does not move, in one sentence with the facts behind it.
///
/// `causes` has one entry for each delivery of the event, the one that needs a person most first; `sentence` is
/// that of the first. An event that the bus does not have is explained too when it takes nothing at this moment
/// (the disk is down to its reserve, the queue is full); otherwise it is 404.
#[utoipa::path(
    get, path = "/v1/explain/{id}", tag = "events", operation_id = "explain",
    params(("id" = String, Path, description = "The event's id, percent-encoded"), Source),
    responses(
        (status = 200, description = "The cause", body = ExplainView),
        (status = 410, description = "Its status has outlived its time to live", body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn explain(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let Source { source } = query(&request)?;
    let view = door.bus.explain(&source, &segment(&request, 3)?).await?;
    Ok(HttpResponse::Ok().json(view))
}
