//! Delayed: when a publisher wants an event delivered, and what a person does about one that is not due yet.

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;

use super::problem::{HttpError, Problem, Refusals};
use super::request::{default_source, header_text, operator_name, query, segment};
use super::{Door, body};
use crate::bus::Operator;
use crate::bus::view::StatusView;
use crate::event::cloudevents::parse_time;
use crate::event::{Timestamp, parse_span};

const DELIVER_AT: HeaderName = HeaderName::from_static("tidegate-deliver-at");
const DELAY: HeaderName = HeaderName::from_static("tidegate-delay");
/// How a span is written.
const SPAN_FORM: &str =
    "is no span of time; write a whole number and a unit: `500ms`, `5s`, `10m`, `24h` or `7d`";
/// The most bytes of a reason.
const REASON_MAX: usize = 1000;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SourceQuery {
    /// The event's source, `/http` when absent.
    #[serde(default = "default_source")]
    source: String,
}

/// The body of a cancellation.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelRequest {
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
}

/// The body of a rescheduling: `at` or `after`.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RescheduleRequest {
    /// When it is due instead, RFC 3339; a time that has passed means at once.
    #[serde(default)]
    at: Option<String>,
    /// How long from now it is due instead, as `5m`.
    #[serde(default)]
    after: Option<String>,
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
}

/// When a plain event is to be delivered: `Tidegate-Deliver-At`, a time, or `Tidegate-Delay`, a span from now.
pub(super) fn due_of(request: &HttpRequest, door: &Door) -> Result<Option<Timestamp>, HttpError> {
    match (header_text(request, &DELIVER_AT)?, header_text(request, &DELAY)?) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(HttpError::malformed(
            DELAY.as_str(),
            "is given beside `tidegate-deliver-at`; give one of them",
        )),
        (Some(at), None) => Ok(Some(time(DELIVER_AT.as_str(), at)?)),
        (None, Some(span)) => Ok(Some(after(door, DELAY.as_str(), span)?)),
    }
}

/// Takes a delayed event back.
///
/// Nobody gets it: its deliveries are skipped, and its flow goes on without it.
#[utoipa::path(
    post, path = "/v1/events/{id}/cancel", tag = "events", operation_id = "cancel",
    params(("id" = String, Path, description = "The event's id, percent-encoded"), SourceQuery),
    request_body = CancelRequest,
    responses(
        (status = 200, description = "It is taken back", body = StatusView),
        (status = 409, description = "It is not delayed any more", body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn cancel(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let asked: CancelRequest = parsed(&body, "{\"reason\": \"…\"}")?;
    let (SourceQuery { source }, id) = (query(&request)?, segment(&request, 3)?);
    let view = door.bus.cancel(&source, &id, operator(&request, asked.reason)?).await?;
    Ok(HttpResponse::Ok().json(view))
}

/// Moves a delayed event to another time.
#[utoipa::path(
    post, path = "/v1/events/{id}/reschedule", tag = "events", operation_id = "reschedule",
    params(("id" = String, Path, description = "The event's id, percent-encoded"), SourceQuery),
    request_body = RescheduleRequest,
    responses(
        (status = 200, description = "It is moved", body = StatusView),
        (status = 409, description = "It is not delayed any more", body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn reschedule(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let asked: RescheduleRequest = parsed(&body, "{\"at\": \"…\"} or {\"after\": \"…\"}")?;
    let due = match (asked.at, asked.after) {
        (Some(at), None) => time("/at", &at)?,
        (None, Some(span)) => after(&door, "/after", &span)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(HttpError::malformed("", "the body needs `at` or `after`, and one of them only"));
        }
    };
    let (SourceQuery { source }, id) = (query(&request)?, segment(&request, 3)?);
    let view = door.bus.reschedule(&source, &id, due, operator(&request, asked.reason)?).await?;
    Ok(HttpResponse::Ok().json(view))
}

fn parsed<T: Default + serde::de::DeserializeOwned>(body: &Bytes, form: &str) -> Result<T, HttpError> {
    if body.is_empty() {
        return Ok(T::default());
    }
    let read = serde_json::from_slice(body);
    read.map_err(|error| HttpError::malformed("", format!("the body is not {form}: {error}")))
}

fn operator(request: &HttpRequest, reason: String) -> Result<Operator, HttpError> {
    if reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    Ok(Operator { by: operator_name(request)?, reason })
}

fn time(place: &str, text: &str) -> Result<Timestamp, HttpError> {
    parse_time(text).map_err(|detail| HttpError::malformed(place, detail))
}

fn after(door: &Door, place: &str, text: &str) -> Result<Timestamp, HttpError> {
    let span = parse_span(text).ok_or_else(|| HttpError::malformed(place, SPAN_FORM))?;
    Ok(door.bus.after(span))
}
