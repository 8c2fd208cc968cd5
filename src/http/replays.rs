//! Replays: a subscription gets earlier events again.

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;

use super::dead_letters::{REASON_MAX, page_limit};
use super::problem::{HttpError, Refusals};
use super::request::{operator_name, query, segment};
use super::{Door, body};
use crate::bus::view::{Page, ReplayCounts, ReplayView};
use crate::bus::{Operator, QueryError, ReplayFrom, ReplayRequest};
use crate::event::{Pattern, Timestamp};

/// The most bytes of a key.
const KEY_MAX: usize = 1_024;

/// Which events a subscription is to get again. `since` or `from` says where it begins.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayBody {
    /// Only what was acknowledged at this time or later, RFC 3339.
    since: Option<String>,
    /// The number of the first event, or `"start"` for the oldest one that is kept.
    #[schema(value_type = Option<Object>)]
    from: Option<Place>,
    /// Only what was acknowledged at this time or earlier, RFC 3339.
    until: Option<String>,
    /// Only events with this name; it may be a pattern.
    name: Option<String>,
    /// Only events with this key.
    key: Option<String>,
    /// Only count what it would do.
    #[serde(default)]
    dry_run: bool,
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
}

/// A number, or a word.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Place {
    Number(u64),
    Word(String),
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReplayQuery {
    /// Of this subscription.
    subscription: Option<String>,
    /// `running`, `done`, `stopped` or `failed`.
    state: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Items of the page, 50 when absent; a page holds 500 at most.
    limit: Option<usize>,
}

/// Lets a subscription have earlier events again, or counts what that would do.
///
/// Deliveries at rest are opened again, events that it never had are delivered, what is open or dead is left
/// alone. What its step emits under a replay are new events. Its states are not reset.
#[utoipa::path(
    post, path = "/v1/subscriptions/{name}/replay", tag = "subscriptions", operation_id = "replay",
    params(("name" = String, Path, description = "The subscription's name")),
    request_body = ReplayBody,
    responses(
        (status = 200, description = "With `dry_run`: what it would do", body = ReplayCounts),
        (status = 202, description = "It has begun, and goes on over restarts", body = ReplayView),
        Refusals
    )
)]
pub(super) async fn replay(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let name = segment(&request, 3)?;
    let asked = parse(&body::read(&request, payload, &door).await?)?;
    let wanted = wanted(&asked)?;
    if asked.dry_run {
        return Ok(HttpResponse::Ok().json(door.bus.replay_dry(&name, wanted).await?));
    }
    let operator = Operator { by: operator_name(&request)?, reason: asked.reason };
    let begun = door.bus.replay(&name, wanted, operator).await?;
    let location = (LOCATION, format!("/v1/replays/{}", begun.id));
    Ok(HttpResponse::Accepted().insert_header(location).json(begun))
}

/// Lists replays.
#[utoipa::path(
    get, path = "/v1/replays", tag = "subscriptions", operation_id = "replays", params(ReplayQuery),
    responses(
        (status = 200, description = "A page of them, the newest of each subscription first", body = Page<ReplayView>),
        Refusals
    )
)]
pub(super) async fn list(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    let asked: ReplayQuery = query(&request)?;
    let limit = page_limit(asked.limit)?;
    let all = door.bus.replays().await?;
    let begin = match &asked.cursor {
        None => 0,
        Some(cursor) => match all.iter().position(|view| view.id == *cursor) {
            Some(at) => at + 1,
            None => return Err(QueryError::BadCursor { cursor: cursor.clone() }.into()),
        },
    };
    let agrees = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
    let takes = |view: &ReplayView| {
        agrees(&asked.subscription, &view.subscription) && agrees(&asked.state, &view.state)
    };
    let mut items: Vec<ReplayView> = all.into_iter().skip(begin).filter(takes).take(limit + 1).collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|view| view.id.clone());
    Ok(HttpResponse::Ok().json(Page { items, next }))
}

/// Shows one replay.
#[utoipa::path(
    get, path = "/v1/replays/{id}", tag = "subscriptions", operation_id = "replay_of",
    params(("id" = String, Path, description = "The replay's id")),
    responses(
        (status = 200, description = "The replay", body = ReplayView),
        Refusals
    )
)]
pub(super) async fn show(request: HttpRequest, door: web::Data<Door>) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse::Ok().json(door.bus.replay_of(&segment(&request, 3)?).await?))
}

/// Ends a replay before its end; what it has queued stays queued.
#[utoipa::path(
    post, path = "/v1/replays/{id}/stop", tag = "subscriptions", operation_id = "stop_replay",
    params(("id" = String, Path, description = "The replay's id")),
    request_body = StopBody,
    responses(
        (status = 200, description = "It has ended", body = ReplayView),
        Refusals
    )
)]
pub(super) async fn stop(
    request: HttpRequest,
    payload: web::Payload,
    door: web::Data<Door>,
) -> Result<HttpResponse, HttpError> {
    let body = body::read(&request, payload, &door).await?;
    let asked: StopBody = if body.is_empty() { StopBody::default() } else { json(&body)? };
    check_reason(&asked.reason)?;
    let operator = Operator { by: operator_name(&request)?, reason: asked.reason };
    Ok(HttpResponse::Ok().json(door.bus.stop_replay(&segment(&request, 3)?, operator).await?))
}

/// The body of a stop; it may be left out.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopBody {
    /// Why; it is kept with the act.
    #[serde(default)]
    reason: String,
}

fn json<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|error| HttpError::malformed("", error.to_string()))
}

fn parse(body: &Bytes) -> Result<ReplayBody, HttpError> {
    let asked: ReplayBody = json(body)?;
    check_reason(&asked.reason)?;
    if asked.key.as_ref().is_some_and(|key| key.len() > KEY_MAX) {
        return Err(HttpError::malformed("/key", format!("is over {KEY_MAX} bytes")));
    }
    Ok(asked)
}

fn check_reason(reason: &str) -> Result<(), HttpError> {
    if reason.len() > REASON_MAX {
        return Err(HttpError::malformed("/reason", format!("is over {REASON_MAX} bytes")));
    }
    Ok(())
}

/// What the body asks for.
fn wanted(asked: &ReplayBody) -> Result<ReplayRequest, HttpError> {
    let time = |pointer: &'static str, text: &str| {
        let parsed = text.parse::<jiff::Timestamp>().ok();
        let millis = parsed.and_then(|time| u64::try_from(time.as_millisecond()).ok());
        let bad = || HttpError::malformed(pointer, "is no time such as 2026-03-01T08:00:00Z");
        millis.map(Timestamp).ok_or_else(bad)
    };
    let from = match (&asked.since, &asked.from) {
        (Some(since), None) => ReplayFrom::Time(time("/since", since)?),
        (None, Some(Place::Number(number))) => ReplayFrom::Number(*number),
        (None, Some(Place::Word(word))) if word == "start" => ReplayFrom::Start,
        (None, Some(Place::Word(_))) => {
            return Err(HttpError::malformed("/from", "is neither the number of an event nor \"start\""));
        }
        (Some(_), Some(_)) => {
            return Err(HttpError::malformed("/from", "is given beside `since`; leave one out"));
        }
        (None, None) => {
            return Err(HttpError::malformed("", "say where it begins: `since` a time, or `from` \"start\""));
        }
    };
    let name = asked.name.as_deref().map(Pattern::parse).transpose();
    let name = name.map_err(|error| HttpError::malformed("/name", error.to_string()))?;
    if name.as_ref().is_some_and(Pattern::is_exception) {
        return Err(HttpError::malformed("/name", "is an exception; name what is wanted"));
    }
    let until = asked.until.as_deref().map(|until| time("/until", until)).transpose()?;
    Ok(ReplayRequest { from, until, name, key: asked.key.clone() })
}
