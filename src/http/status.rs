//! Status: where an event's flow stands; polled, awaited or streamed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::time::Duration;

use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, RETRY_AFTER, VARY,
};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::answer::{json, retry_after, with_json};
use super::guard::AskedFor;
use super::problem::{HttpError, Problem, Refusals};
use super::publish::PREFERENCE_APPLIED;
use super::request::{default_source, preferred_wait, query, segment};
use super::{Door, sse};
use crate::bus::QueryError;
use crate::bus::view::{FlowStatus, StatusView};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Source {
    /// The event's source.
    #[serde(default = "default_source")]
    pub(super) source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceAndId {
    /// The event's id.
    id: String,
    /// The event's source.
    #[serde(default = "default_source")]
    source: String,
}

/// Tells where an event's flow stands.
///
/// Always 200 while the event is known, also when the flow has failed. `ETag` and `If-None-Match` make
/// polling cheap; with `Prefer: wait=N` the answer waits for a change or the end; with
/// `Accept: text/event-stream` every change is sent as it happens, resumable by `Last-Event-ID`.
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "status",
    params(
        ("id" = String, Path, description = "The event's id, percent-encoded"),
        Source,
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds"),
        ("If-None-Match" = Option<String>, Header, description = "`ETag` of the status that is known"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Of a stream: send what came after"),
    ),
    responses(
        (status = 200, description = "The status", body = StatusView, headers(("ETag" = String), ("Retry-After" = u64))),
        (status = 304, description = "Nothing has changed"),
        (status = 410, description = "Its time to live is over", body = Problem, content_type = "application/problem+json"),
        Refusals
    )
)]
pub(super) async fn status(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let Source { source } = query(&request)?;
    answer(&request, &door, source, segment(&request, 3)?).await
}

/// Tells where an event's flow stands, for ids that a path cannot hold (`.` and `..`).
pub(super) async fn status_by_query(
    request: HttpRequest,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let SourceAndId { id, source } = query(&request)?;
    answer(&request, &door, source, id).await
}

async fn answer(
    request: &HttpRequest,
    door: &Door,
    source: String,
    id: String,
) -> Result<HttpResponse, HttpError> {
    tracing::Span::current().record("event_id", &*id);
    if wants_stream(request.headers()) {
        return sse::stream(request, door, source, id).await;
    }
    let view = match door.bus.status(&source, &id).await {
        Ok(view) => view,
        Err(error) => {
            request.extensions_mut().insert(AskedFor(id));
            return Err(error.into());
        }
    };
    let Some(wait) = preferred_wait(request, door.settings.max_wait) else {
        return tagged(request, door, &view, view.version, view.status, None);
    };
    let known = request.headers();
    let is_news = |view: &StatusView| match Tagged::new(view, view.version) {
        Ok(tagged) if known.contains_key(IF_NONE_MATCH) => !tagged.is_known(known) || is_final(view.status),
        Ok(_) | Err(_) => is_final(view.status),
    };
    let view = wait_for(door, &source, &id, &view.flow, wait, is_news).await?;
    tagged(request, door, &view, view.version, view.status, Some(wait))
}

/// Whether a flow has come to its end, as far as it moves by itself.
pub(super) fn is_final(status: FlowStatus) -> bool {
    match status {
        FlowStatus::Done | FlowStatus::Failed | FlowStatus::Compensated | FlowStatus::Stuck => true,
        FlowStatus::Accepted | FlowStatus::Processing | FlowStatus::Compensating => false,
    }
}

/// Reads the status until it is enough or the time is over; then it is the status of that moment.
pub(super) async fn wait_for(
    door: &Door,
    source: &str,
    id: &str,
    flow: &str,
    limit: Duration,
    is_enough: impl Fn(&StatusView) -> bool,
) -> Result<StatusView, QueryError> {
    // Made before the first reading, so that no change falls between the two.
    let mut watch = door.bus.watch(flow);
    let mut timer = pin!(tokio::time::sleep(limit));
    loop {
        let view = door.bus.status(source, id).await?;
        if is_enough(&view) || timer.is_elapsed() || door.closing.is_cancelled() {
            return Ok(view);
        }
        tokio::select! {
            () = watch.changed() => {}
            () = tokio::time::sleep(door.settings.look_again) => {}
            () = &mut timer => {}
            // Not read again: the store may have closed by now, and the last change is in hand.
            () = door.closing.cancelled() => return Ok(view),
        }
    }
}

/// Answers `view` with its tag, or 304 when the client has it already.
pub(super) fn tagged(
    request: &HttpRequest,
    door: &Door,
    view: &impl Serialize,
    version: u64,
    status: FlowStatus,
    waited: Option<Duration>,
) -> Result<HttpResponse, HttpError> {
    let tagged = Tagged::new(view, version)?;
    let is_known = tagged.is_known(request.headers());
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((ETAG, tagged.tag))
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("private, no-cache")))
        .insert_header((VARY, HeaderValue::from_static("accept")));
    if !is_final(status) {
        response.insert_header((RETRY_AFTER, retry_after(door.settings.retry_after)));
    }
    if let Some(wait) = waited {
        response.insert_header((PREFERENCE_APPLIED, format!("wait={}", wait.as_secs())));
    }
    Ok(if is_known { response.finish() } else { with_json(&mut response, tagged.body) })
}

/// A body with its entity tag.
struct Tagged {
    body: Bytes,
    tag: String,
}

impl Tagged {
    /// The tag holds the version, and a digest because attempts start without a commit.
    fn new(view: &impl Serialize, version: u64) -> Result<Self, HttpError> {
        let body = json(view)?;
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let tag = format!("\"{version}-{:016x}\"", hasher.finish());
        Ok(Self { body, tag })
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag
        })
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}
