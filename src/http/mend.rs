//! Mend: the acts that let a dead letter move again.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::problem::{HttpError, Problem, Refusals};
use super::request::{operator_name, segment};
use super::{Door, body};
use crate::bus::view::RepairView;
use crate::bus::{EmitByHand, Operator, RepairRequest, When};
use crate::event::Timestamp;

/// The most bytes of a reason.
pub(super) const REASON_MAX: usize = 1000;
/// The most events that are emitted by hand at once.
const EMITS_MAX: usize = 100;

/// The body of a retry.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
    /// Not before this time, RFC 3339; its key waits for it.
    at: Option<String>,
    /// Not before so much time has passed, such as `90s`, `5m`, `2h`; its key waits for it.
    after: Option<String>,
    /// Also when its `on_dead` event was stored, so that its flow may be answered twice.
    #[serde(default)]
    force: bool,
}

/// The body of a skip.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SkipRequest {
    /// Why; it is kept with the act. A skip needs one.
    #[serde(default)]
    reason: String,
}

/// The body of an edit.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EditRequest {
    /// The event's new data, whole. It is checked against the event's type.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
    /// Also when its `on_dead` event was stored, so that its flow may be answered twice.
    #[serde(default)]
    force: bool,
}

/// The body of what was done by hand.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DoneRequest {
    /// How it was done, and by whom; it is kept with the act.
    #[serde(default)]
    reason: String,
    /// What the step would have emitted, so that the flow goes on.
    #[serde(default)]
    emits: Vec<EmitRequest>,
    /// The flow's result, if this is its end.
    #[schema(value_type = Option<Object>)]
    result: Option<Box<RawValue>>,
    /// Also when its `on_dead` event was stored, so that its flow may be answered twice.
    #[serde(default)]
    force: bool,
}

/// An event that is emitted in the step's place.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EmitRequest {
    /// Its name: one that the step may emit on the dead event.
    name: String,
    /// Its data. It is checked against the event's type.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Its key; its type knows it when this is left out.
    key: Option<String>,
}

/// Lets a dead letter be attempted again, at once or later.
///
/// It starts with a fresh count of attempts at its old place, before what waits behind it.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/retry", tag = "dead letters", operation_id = "retry",
    params(("id" = String, Path, description = "The dead letter's id")),
    request_body = RetryRequest,
    responses(
        (status = 200, description = "It is on its way again", body = RepairView),
        (status = 409, description = "It is no dead letter any more, or its flow was answered by `on_dead`",
            body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn retry(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let RetryRequest { reason, at, after, force } =
        optional(&body, "{\"reason\", \"at\", \"after\", \"force\"}")?;
    let when = when(at.as_deref(), after.as_deref())?;
    repair(&request, &door, RepairRequest::Retry { when, force }, reason).await
}

/// Gives a dead letter up, so that the events of its key that wait behind it go on.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/skip", tag = "dead letters", operation_id = "skip",
    params(("id" = String, Path, description = "The dead letter's id")),
    request_body = SkipRequest,
    responses(
        (status = 200, description = "It is skipped", body = RepairView),
        (status = 409, description = "It is no dead letter any more", body = Problem,
            content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn skip(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let SkipRequest { reason } = optional(&body, "{\"reason\"}")?;
    repair(&request, &door, RepairRequest::Skip, reason).await
}

/// Puts an event with other data in a dead letter's place.
///
/// The new event is of the same flow and name, has the old one as its cause, and goes to this subscription
/// only. While its lane's key is the same it runs before what waits behind the dead letter; otherwise it is
/// the last of the queue. The old delivery is skipped, and says what supersedes it.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/edit", tag = "dead letters", operation_id = "edit",
    params(("id" = String, Path, description = "The dead letter's id")),
    request_body = EditRequest,
    responses(
        (status = 200, description = "The new event is on its way", body = RepairView),
        (status = 409, description = "It is no dead letter any more, or its flow was answered by `on_dead`",
            body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn edit(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let EditRequest { data, reason, force } = parsed(&body, "{\"data\", \"reason\", \"force\"}")?;
    repair(&request, &door, RepairRequest::Edit { data: bytes(&data), force }, reason).await
}

/// Records that what a dead letter is about was done outside of the bus.
///
/// The flow goes on with the events that are given here, as if the step had emitted them. The step's state is
/// not written.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}/done", tag = "dead letters", operation_id = "done",
    params(("id" = String, Path, description = "The dead letter's id")),
    request_body = DoneRequest,
    responses(
        (status = 200, description = "Its delivery is done", body = RepairView),
        (status = 409, description = "It is no dead letter any more, or its flow was answered by `on_dead`",
            body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn done(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let DoneRequest { reason, emits, result, force } =
        parsed(&body, "{\"reason\", \"emits\", \"result\", \"force\"}")?;
    if emits.len() > EMITS_MAX {
        return Err(HttpError::malformed("/emits", format!("has over {EMITS_MAX} events")));
    }
    let by_hand = |emit: EmitRequest| EmitByHand { name: emit.name, data: bytes(&emit.data), key: emit.key };
    let emits = emits.into_iter().map(by_hand).collect();
    let result = result.as_deref().map(bytes);
    repair(&request, &door, RepairRequest::Done { emits, result, force }, reason).await
}

async fn repair(
    request: &HttpRequest,
    door: &Door,
    asked: RepairRequest,
    reason: String,
) -> Result<HttpResponse, HttpError> {
    if reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    let operator = Operator { by: operator_name(request)?, reason };
    let done = door.bus.repair(&segment(request, 3)?, asked, operator).await?;
    Ok(HttpResponse::Ok().json(done))
}

fn optional<T: Default + DeserializeOwned>(body: &Bytes, form: &str) -> Result<T, HttpError> {
    if body.is_empty() { Ok(T::default()) } else { parsed(body, form) }
}

fn parsed<T: DeserializeOwned>(body: &Bytes, form: &str) -> Result<T, HttpError> {
    serde_json::from_slice(body)
        .map_err(|error| HttpError::malformed("", format!("the body is not of the form {form}: {error}")))
}

fn bytes(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

pub(super) fn when(at: Option<&str>, after: Option<&str>) -> Result<When, HttpError> {
    match (at, after) {
        (None, None) => Ok(When::Now),
        (Some(_), Some(_)) => Err(HttpError::malformed("/after", "is given beside `at`; give one of them")),
        (Some(at), None) => match at.parse::<Timestamp>() {
            Ok(at) => Ok(When::At(at)),
            Err(why) => Err(HttpError::malformed("/at", why)),
        },
        (None, Some(after)) => duration(after).map(When::After).ok_or_else(|| {
            HttpError::malformed("/after", "is no duration; write a whole number and ms, s, m, h or d: `5m`")
        }),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_retry_is_told_in_one_way() {
        assert_eq!(when(None, None).unwrap(), When::Now);
        assert_eq!(when(None, Some("5m")).unwrap(), When::After(Duration::from_mins(5)));
        assert_eq!(when(Some("1970-01-01T00:00:01Z"), None).unwrap(), When::At(Timestamp(1_000)));
        for (at, after) in [
            (Some("1970-01-01T00:00:01Z"), Some("5m")),
            (Some("tomorrow"), None),
            (None, Some("5")),
            (None, Some("m")),
            (None, Some("5 m")),
            (None, Some("99999999999999999d")),
        ] {
            assert!(when(at, after).is_err(), "{at:?} {after:?}");
        }
    }
}
