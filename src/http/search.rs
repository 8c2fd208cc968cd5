//! Search: lists of flows and of events, by what a person knows of them.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Door;
use super::dead_letters::page_limit;
use super::problem::{HttpError, Refusals};
use super::request::query;
use super::status::status_by_query;
use crate::bus::view::{Page, StatusView};
use crate::bus::{EventFilter, EventSummary, FlowFilter, FlowSelection, FlowSummary};
use crate::event::Timestamp;

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FlowsQuery {
    /// Where it stands: `accepted`, `processing`, `done` or `failed` as the flow's own page says; `open` (not
    /// at rest), `rest`, or `dead` (with dead letters).
    status: Option<String>,
    /// The key of one of its events.
    key: Option<String>,
    /// The name of one of its events; with `key` it is one event that has both.
    name: Option<String>,
    /// Its first event was acknowledged at this time or later, RFC 3339.
    since: Option<String>,
    /// Its first event was acknowledged before this time, RFC 3339.
    until: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The event's id: then the answer is its status, and nothing but `source` goes with it. It is for ids
    /// that a path cannot hold (`.` and `..`).
    id: Option<String>,
    /// The event's source, with `id`; `/http` when absent.
    source: Option<String>,
    /// Its key.
    key: Option<String>,
    /// Its name.
    name: Option<String>,
    /// Its flow.
    flow: Option<String>,
    /// Acknowledged at this time or later, RFC 3339.
    since: Option<String>,
    /// Acknowledged before this time, RFC 3339.
    until: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// What `GET /v1/events` answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it says for the API document that there are two answers")]
pub(super) enum EventsAnswer {
    /// Without `id`.
    List(Page<EventSummary>),
    /// With `id`.
    Status(StatusView),
}

/// Lists flows.
///
/// All that is given must hold. The work of one request is bounded: a page may be short, and even empty, and
/// have a `next` all the same.
#[utoipa::path(
    get, path = "/v1/flows", tag = "flows", operation_id = "flows", params(FlowsQuery),
    responses(
        (status = 200, description = "A page of them, the one that began last first", body = Page<FlowSummary>),
        Refusals
    )
)]
pub(super) async fn flows(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: FlowsQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    let filter = FlowFilter {
        status: asked.status.as_deref().map(selection).transpose()?,
        key: asked.key,
        name: asked.name,
        since: time("since", asked.since.as_deref())?,
        until: time("until", asked.until.as_deref())?,
    };
    Ok(HttpResponse::Ok().json(door.bus.search_flows(filter, asked.cursor, limit).await?))
}

/// Lists events, or with `id` tells where an event's flow stands.
///
/// All that is given must hold. The work of one request is bounded: a page may be short, and even empty, and
/// have a `next` all the same. With `id` the answer is that of `/v1/events/{id}`, its headers included.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "events", params(EventsQuery),
    responses(
        (status = 200, description = "A page of them, the newest first; with `id` the status", body = EventsAnswer),
        (status = 304, description = "With `id`: nothing has changed"),
        Refusals
    )
)]
pub(super) async fn events(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: EventsQuery = query(&request)?;
    if asked.id.is_some() {
        return status_by_query(request, door).await;
    }
    if asked.source.is_some() {
        return Err(HttpError::malformed("source", "goes with `id`; a list takes key, name, flow and times"));
    }
    let limit = page_limit(asked.limit)?;
    let filter = EventFilter {
        key: asked.key,
        name: asked.name,
        flow: asked.flow,
        since: time("since", asked.since.as_deref())?,
        until: time("until", asked.until.as_deref())?,
    };
    Ok(HttpResponse::Ok().json(door.bus.search_events(filter, asked.cursor, limit).await?))
}

fn selection(word: &str) -> Result<FlowSelection, HttpError> {
    let wrong = || HttpError::malformed("status", format!("is none of {}", FlowSelection::WORDS.join(", ")));
    FlowSelection::of(word).ok_or_else(wrong)
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, HttpError> {
    let Some(text) = text else { return Ok(None) };
    let wrong = "is no RFC 3339 time; write it like `2026-03-31T14:05:09Z`, and a `+` in it as `%2B`";
    let time: jiff::Timestamp = text.parse().map_err(|_| HttpError::malformed(name, wrong))?;
    // The bus knows no time before 1970; all there is has come later.
    Ok(Some(Timestamp(u64::try_from(time.as_millisecond()).unwrap_or(0))))
}
