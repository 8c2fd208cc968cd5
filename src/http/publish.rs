//! Publish: events come in, as CloudEvents or as plain JSON, and are answered when they are on disk.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;

use super::answer::{json, retry_after, with_json};
use super::code::Code;
use super::delayed::due_of;
use super::problem::{HttpError, Problem};
use super::request::{header_text, preferred_wait, segment_text, status_url, unquote};
use super::{Door, Durability, body, status};
use crate::bus::Accepted;
use crate::bus::view::{FlowStatus, StatusView};
use crate::event::cloudevents::{MediaType, Received, check_identifier, check_json, receive};
use crate::event::{Draft, EventName, Label};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const TIDEGATE_KEY: HeaderName = HeaderName::from_static("tidegate-key");
/// The most characters of a client's text that a message repeats.
const SHOWN_MAX: usize = 80;
/// What curl and forms send when nobody says otherwise.
const FORM: &str = "application/x-www-form-urlencoded";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The answer for one event that is on disk.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct PublishAnswer<'a> {
    /// The event's id.
    id: &'a str,
    /// Its source.
    source: &'a str,
    /// Its flow.
    flow: &'a str,
    /// `accepted`: ask the `Location` for more.
    status: FlowStatus,
    /// Where the event is safe.
    durability: Durability,
}

/// The answer for a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct BatchAnswer<'a> {
    /// One for each event, in order.
    events: Vec<PublishAnswer<'a>>,
}

/// The answer to `POST /v1/events`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub(super) enum PublishedAnswer<'a> {
    /// For one event.
    One(PublishAnswer<'a>),
    /// For a batch.
    Batch(BatchAnswer<'a>),
}

/// An event in the structured JSON format of CloudEvents 1.0; further members are extension attributes.
#[derive(Debug, utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body for the API document, the parser is our own")]
pub(super) struct CloudEvent {
    /// `1.0`.
    specversion: String,
    /// Unique with `source`.
    id: String,
    /// Who publishes it, a URI-reference.
    source: String,
    /// The event name, such as `payment.completed`.
    r#type: String,
    /// What it is about.
    subject: Option<String>,
    /// When it happened, RFC 3339.
    time: Option<String>,
    /// Media type of the data; `application/json` when absent.
    datacontenttype: Option<String>,
    /// Absolute URI of a schema.
    dataschema: Option<String>,
    /// The key that orders it.
    partitionkey: Option<String>,
    /// The flow it belongs to.
    correlationid: Option<String>,
    /// Id of the event that caused it.
    causationid: Option<String>,
    /// Not to be delivered before, RFC 3339.
    deliverat: Option<String>,
    /// The payload.
    data: Option<serde_json::Value>,
    /// The payload when it is binary; not beside `data`.
    data_base64: Option<String>,
}

/// Publishes CloudEvents.
///
/// One event in structured or binary mode, or a batch, which is taken whole or not at all. The answer
/// comes when the events are on disk. With `Prefer: wait=N` it waits for the end of the flow (not for a
/// batch). Publishing again with the same source and id is always safe.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", operation_id = "publish",
    params(
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds for the end of the flow"),
    ),
    request_body(content(
        (CloudEvent = "application/cloudevents+json"),
        (Vec<CloudEvent> = "application/cloudevents-batch+json"),
        (Vec<u8> = "*/*"),
    ), description = "Any other media type needs `ce-` headers (binary mode)."),
    responses(
        (status = 202, description = "On disk; a batch is answered with `events`", body = PublishedAnswer<'_>,
            headers(("Location" = String), ("Retry-After" = u64), ("Idempotency-Replayed" = bool))),
        (status = 200, description = "The flow ended in the time to wait", body = StatusView,
            headers(("Preference-Applied" = String))),
        (status = "4XX", description = "Refused; nothing was stored", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn publish(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let content_type = header_text(&request, &CONTENT_TYPE)?;
    let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let received = receive(content_type, headers, &body, door.settings.batch_max)?;
    let key = idempotency_key(&request)?;
    match received {
        Received::One(draft) if key.is_none() || key == draft.id => one(&request, &door, *draft).await,
        Received::One(_) => {
            Err(HttpError::malformed("idempotency-key", "differs from the event's id; leave it out"))
        }
        Received::Batch(_) if key.is_some() => Err(HttpError::malformed(
            "idempotency-key",
            "is for one event; those of a batch bear their own ids",
        )),
        Received::Batch(drafts) => batch(&door, drafts).await,
    }
}

/// Publishes plain JSON.
///
/// The body is the payload, the path names the event, the source is `/http`.
#[utoipa::path(
    post, path = "/v1/events/{id}", tag = "events", operation_id = "publish_plain",
    params(
        ("id" = String, Path, description = "The event name, such as `payment.completed`"),
        ("Idempotency-Key" = Option<String>, Header, description = "The event's id, a quoted string; drawn when absent"),
        ("Tidegate-Key" = Option<String>, Header, description = "The key that orders the event"),
        ("Tidegate-Deliver-At" = Option<String>, Header, description = "Not to be delivered before, RFC 3339"),
        ("Tidegate-Delay" = Option<String>, Header, description = "Not to be delivered before so long from now, as `5m`"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds for the end of the flow"),
    ),
    request_body(content = serde_json::Value, content_type = "application/json"),
    responses(
        (status = 202, description = "On disk", body = PublishAnswer<'_>,
            headers(("Location" = String), ("Retry-After" = u64), ("Idempotency-Replayed" = bool))),
        (status = 200, description = "The flow ended in the time to wait", body = StatusView,
            headers(("Preference-Applied" = String))),
        (status = "4XX", description = "Refused; nothing was stored", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn publish_plain(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let mut draft = plain(&request, body)?;
    draft.due = due_of(&request, &door)?;
    one(&request, &door, draft).await
}

fn plain(request: &HttpRequest, body: Bytes) -> Result<Draft, HttpError> {
    let name = segment_text(request, 3)?;
    let name = EventName::new(&name).map_err(|error| HttpError::malformed("name", error.to_string()))?;
    let content_type = plain_media_type(header_text(request, &CONTENT_TYPE)?)?;
    if let Some((header, _)) = request.headers().iter().find(|(name, _)| name.as_str().starts_with("ce-")) {
        return Err(HttpError::malformed(header.as_str(), "is for CloudEvents; post them to `/v1/events`"));
    }
    check_json(&body)
        .map_err(|detail| HttpError::malformed("", format!("the body {detail}; send one JSON value")))?;
    let mut draft = Draft::json(name, body);
    draft.id = idempotency_key(request)?;
    draft.key = header_text(request, &TIDEGATE_KEY)?.map(str::to_owned);
    if let Some(key) = &draft.key {
        check_identifier(key).map_err(|detail| HttpError::malformed("tidegate-key", detail))?;
    }
    draft.content_type = content_type;
    Ok(draft)
}

/// The media type to keep; `None` for `application/json`, which is what none means.
///
/// `application/x-www-form-urlencoded` is what curl says of any `-d '{…}'`: the body has to be JSON all the
/// same, so it is taken for what it is. A form of a foreign page is refused by the guard before.
fn plain_media_type(given: Option<&str>) -> Result<Option<String>, HttpError> {
    let Some(given) = given else { return Ok(None) };
    if given == "application/json" {
        return Ok(None);
    }
    let media = MediaType::parse(given);
    if media.essence == FORM {
        return Ok(None);
    }
    let is_text =
        media.charset.as_deref().is_none_or(|charset| matches!(charset, "utf-8" | "utf8" | "us-ascii"));
    let is_event = media.essence.starts_with("application/cloudevents");
    if !media.is_json() || !is_text || is_event {
        let remedy = if is_event {
            "post CloudEvents to `/v1/events`"
        } else {
            "send the payload as `application/json` in UTF-8"
        };
        let detail = format!("the media type `{}` is not taken here; {remedy}", shorten(given));
        return Err(HttpError::new(Code::UnsupportedMediaType, detail).with_accept_post("application/json"));
    }
    Ok(Some(given.to_owned()).filter(|_| media.essence != "application/json"))
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, HttpError> {
    let Some(text) = header_text(request, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let key = unquote(text).ok_or_else(|| HttpError::malformed("idempotency-key", "is no quoted string"))?;
    check_identifier(&key).map_err(|detail| HttpError::malformed("idempotency-key", detail))?;
    Ok(Some(key))
}

async fn one(request: &HttpRequest, door: &Door, mut draft: Draft) -> Result<HttpResponse, HttpError> {
    if draft.traceparent.is_none() {
        draft.traceparent =
            header_text(request, &TRACEPARENT)?.filter(|t| is_traceparent(t)).map(str::to_owned);
    }
    let accepted =
        door.bus.publish_one(draft).await.map_err(|error| HttpError::from(error).without_faults())?;
    tracing::Span::current().record("event_id", &*accepted.id);
    let mut response = HttpResponse::Accepted();
    if accepted.replayed {
        response.insert_header((IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true")));
    }
    response.insert_header((LOCATION, status_url(&accepted.source, &accepted.id)));
    if let Some((wait, view)) = waited(request, door, &accepted).await {
        response.status(StatusCode::OK).insert_header((PREFERENCE_APPLIED, format!("wait={wait}")));
        return Ok(with_json(&mut response, json(&view)?));
    }
    response.insert_header((RETRY_AFTER, retry_after(door.settings.retry_after)));
    Ok(with_json(&mut response, json(&PublishedAnswer::One(answer(door, &accepted)))?))
}

/// The status, when the client prefers to wait and the flow came to its end in that time.
///
/// A status that cannot be read is no reason to fail: the event is on disk.
async fn waited(request: &HttpRequest, door: &Door, accepted: &Accepted) -> Option<(u64, StatusView)> {
    let wait = preferred_wait(request, door.settings.max_wait)?;
    let Label { id, source, flow, .. } = &*accepted.label;
    let view =
        status::wait_for(door, source, id, flow, wait, |view| status::is_final(view.status)).await.ok()?;
    status::is_final(view.status).then_some((wait.as_secs(), view))
}

async fn batch(door: &Door, drafts: Vec<Draft>) -> Result<HttpResponse, HttpError> {
    let accepted = if drafts.is_empty() { Vec::new() } else { door.bus.publish(drafts).await? };
    let is_repeat = !accepted.is_empty() && accepted.iter().all(|event| event.replayed);
    let events = accepted.iter().map(|event| answer(door, event)).collect();
    let mut response = HttpResponse::Accepted();
    response.insert_header((RETRY_AFTER, retry_after(door.settings.retry_after)));
    if is_repeat {
        response.insert_header((IDEMPOTENCY_REPLAYED, "true"));
    }
    Ok(with_json(&mut response, json(&PublishedAnswer::Batch(BatchAnswer { events }))?))
}

fn answer<'a>(door: &Door, accepted: &'a Accepted) -> PublishAnswer<'a> {
    PublishAnswer {
        id: &accepted.id,
        source: &accepted.source,
        flow: &accepted.flow,
        status: FlowStatus::Accepted,
        durability: door.durability,
    }
}

/// The beginning of what a client sent, for a message.
fn shorten(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

/// `00-` trace id `-` span id `-` flags, in lower-case hex.
fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2] && text.split('-').all(is_hex)
}
